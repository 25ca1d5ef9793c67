"""Which results a page is made of: found in files and folders, and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from erf_tools.erf.maps import ERF
from erf_tools.errors import UsageError
from erf_tools.files import read_json
from erf_tools.models.requests import by_numbers
from erf_tools.tables import read_csv

_ARCHIVE, _TABLE = "erf.npz", "shape_bias.csv"
_COLUMNS = {
    _TABLE: [
        *("name", "shape", "texture", "total", "coverage", "shape_bias", "ci_low", "ci_high"),
        *("kappa_human", "kappa_low", "kappa_high", "weights", "low_coverage", "kind", "stimuli"),
        "weights_sha256",
    ],
    "shape_bias_by_category.csv": ["name", "category", "shape", "texture", "shape_bias"],
}
_WORDS = ("name", "weights", "kind", "stimuli", "weights_sha256", "category")


@dataclass(frozen=True, eq=False)
class ShapeBias:
    """The tables of a folder of ``erf-tools shape-bias``.

    Attributes:
        folder: where they lie.
        makers: ``shape_bias.csv``, a row per decision maker; words are empty where missing.
        categories: ``shape_bias_by_category.csv``, a row per decision maker and category.
        records: provenance by the name of the decision maker, as JSON values.
    """

    folder: Path
    makers: pd.DataFrame
    categories: pd.DataFrame
    records: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> ShapeBias:
        """Read a folder.

        Raises:
            UsageError: a file is missing, damaged, or of another version.
        """
        makers, categories = (_read_table(folder / name) for name in _COLUMNS)
        path = folder / "provenance.json"
        records = read_json(path).get("decision_makers")
        if not isinstance(records, dict):
            raise UsageError(f"{path} is not of erf-tools shape-bias; measure again")
        return cls(folder, makers, categories, records)


def find_results(places: Sequence[Path]) -> tuple[list[ERF], list[ShapeBias]]:
    """Read all results in files and folders, subfolders included, each once.

    Args:
        places: ``erf.npz`` files, folders of ``erf-tools erf`` and of ``erf-tools shape-bias``, or
            folders that hold such folders.

    Returns:
        ERFs and shape-bias results, in the order of the places, and within a place by name with
        stage 9 before stage 10.

    Raises:
        UsageError: a place holds no results, or a file in it is damaged.
    """
    archives: list[Path] = []
    folders: list[Path] = []
    for place in places:
        if place.is_file():
            archives.append(place)
            continue
        if not place.is_dir():
            raise UsageError(f"{place}: there is no such file or folder")
        found = _sorted(place.rglob(_ARCHIVE))
        tables = [path.parent for path in _sorted(place.rglob(_TABLE))]
        if not found and not tables:
            raise UsageError(
                f"{place}: there is no {_ARCHIVE} and no {_TABLE} in this folder; name one that "
                "`erf-tools erf` or `erf-tools shape-bias` has written"
            )
        archives += found
        folders += tables
    return [ERF.load(path) for path in _once(archives)], [
        ShapeBias.read(folder) for folder in _once(folders)
    ]


def _sorted(paths: Any) -> list[Path]:
    return sorted(paths, key=lambda path: by_numbers(str(path)))


def _once(paths: Sequence[Path]) -> list[Path]:
    return list({path.resolve(): path for path in paths}.values())


def _read_table(path: Path) -> pd.DataFrame:
    table = read_csv(path, _WORDS)
    absent = [column for column in _COLUMNS[path.name] if column not in table.columns]
    if absent:
        raise UsageError(f"{path} lacks the columns {', '.join(absent)}; measure again")
    return table
