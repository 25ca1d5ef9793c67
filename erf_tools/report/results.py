"""Which results a page is made of: found in files and folders, and read back."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from PIL import Image

from erf_tools.cue_conflict.absolute import MEASURES
from erf_tools.cue_conflict.representation import MEASURES as LAYER_MEASURES
from erf_tools.erf.dead_pixels import PixelContributions
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures
from erf_tools.files import read_json
from erf_tools.folders import find_files, read_file, why_unreadable
from erf_tools.models.requests import by_numbers
from erf_tools.perturbation.result import ARCHIVE as CHECK
from erf_tools.reliance.changes import CHANGES
from erf_tools.reliance.suppressions import Suppression, recorded
from erf_tools.tables import read_csv

if TYPE_CHECKING:
    from typing_extensions import Self

_ARCHIVE, _TABLE, _PROVENANCE = "erf.npz", "shape_bias.csv", "provenance.json"
_LAYERS, _LAYERS_PROVENANCE = "head_free.csv", "head_free.json"
_SINGLE = "accuracy.csv"
_SINGLE_COLUMNS = [
    *("model", "weights", "total", "preset", "stimuli", "cues"),
    *(
        f"{name}{end}"
        for name in ("accuracy", "mrr", "mrr_classes")
        for end in ("", "_low", "_high")
    ),
]

#: The file that keeps a map of others, which `erf-tools measure` writes.
MAP_OF_OTHERS = "map.npz"

#: Results that are one file: name of the file -> where :class:`Places` lists it.
_ARCHIVES = {
    _ARCHIVE: "archives",
    MAP_OF_OTHERS: "maps",
    PixelContributions.ARCHIVE: "dead",
}

_COLUMNS = {
    _TABLE: [
        *("model", "weights", "shape", "texture", "total", "coverage", "low_coverage"),
        *("shape_bias", "shape_bias_low", "shape_bias_high"),
        *("kappa_human", "kappa_human_low", "kappa_human_high"),
        *("kind", "stimuli", "weights_sha256"),
        *(f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")),
        *("cues", "categories", "head"),
    ],
    "shape_bias_by_category.csv": ["model", "category", "shape", "texture", "shape_bias"],
}
_RELIANCE, _SHEET = "reliance.csv", "reliance_versions.jpg"
_RELIANCE_COLUMNS = {
    _RELIANCE: [
        *("model", "weights", "weights_sha256", "counted", "images", "low_accuracy"),
        *("accuracy", "accuracy_low", "accuracy_high"),
    ],
    "reliance_curves.csv": [
        *("model", "weights", "counted", "suppression", "strength", "accuracy"),
        *("relative_accuracy", "relative_accuracy_low", "relative_accuracy_high"),
        *(change.name for change in CHANGES),
    ],
}
_LAYER_COLUMNS = [
    *("model", "weights", "layer", "place", "dimensions", "similarity", "stimuli", "cues"),
    *(f"{name}{end}" for name in LAYER_MEASURES for end in ("", "_low", "_high")),
]
#: Results that are a folder: where :class:`Places` lists it -> its files, first what it is told by.
_FOLDERS = {
    "folders": (*_COLUMNS, _PROVENANCE),
    "reliances": (*_RELIANCE_COLUMNS, _SHEET, _PROVENANCE),
    "layers": (_LAYERS, _LAYERS_PROVENANCE),
    "single_cue": (_SINGLE, _PROVENANCE),
}
_TELLING = {files[0]: place for place, files in _FOLDERS.items()} | _ARCHIVES

_WORDS = (
    *("model", "weights", "kind", "stimuli", "weights_sha256", "category", "cues", "head"),
    *("counted", "suppression", "cue", "parameters", "layer", "similarity"),
)


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
        makers, categories = (
            read_csv(folder / name, _WORDS, own) for name, own in _COLUMNS.items()
        )
        path = folder / _PROVENANCE
        records = read_json(path).get("decision_makers")
        if not isinstance(records, dict):
            raise UsageError(f"{path} is not of erf-tools shape-bias; measure again")
        return cls(folder, makers, categories, records)


@dataclass(frozen=True, eq=False)
class Reliance:
    """The tables of a folder of ``erf-tools reliance``.

    Attributes:
        folder: where they lie.
        networks: ``reliance.csv``, a row per network and what is counted.
        curves: ``reliance_curves.csv``, a row per strength as well.
        record: provenance, as JSON values.
        rows: the suppressions.
        sheet: one image under all of them, a JPEG of a row each.
    """

    folder: Path
    networks: pd.DataFrame
    curves: pd.DataFrame
    record: dict[str, Any]
    rows: tuple[Suppression, ...]
    sheet: bytes

    @classmethod
    def read(cls, folder: Path) -> Reliance:
        """Read a folder.

        Raises:
            UsageError: a file is missing, damaged, or of another version.
        """
        networks, curves = (
            read_csv(folder / name, _WORDS, own) for name, own in _RELIANCE_COLUMNS.items()
        )
        path = folder / _PROVENANCE
        record = read_json(path)
        try:
            rows = recorded(record["results"][0])
            sheet = read_file(folder / _SHEET)
            Image.open(io.BytesIO(sheet)).verify()
        except (LookupError, TypeError) as error:
            raise UsageError(f"{path} is not of this erf-tools reliance; measure again") from error
        except Exception as error:  # Pillow's decoders raise a dozen kinds
            raise UsageError(
                f"{folder / _SHEET} cannot be read: {why_unreadable(error)}; measure again"
            ) from error
        return cls(folder, networks, curves, record, rows, sheet)


@dataclass(frozen=True, eq=False)
class RecordedTable:
    """The one table of a folder, and where its rows come from.

    Attributes:
        folder: where it lies.
        table: a row per network, or per network and layer.
        records: provenance by the name of the network, as JSON values.
    """

    folder: Path
    table: pd.DataFrame
    records: dict[str, Any]

    _FILES: ClassVar[tuple[str, str]]
    _NEEDED: ClassVar[Sequence[str]]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder.

        Raises:
            UsageError: a file is missing, damaged, or of another version.
        """
        table, provenance = cls._FILES
        found = read_csv(folder / table, _WORDS, cls._NEEDED)
        return cls(folder, found, read_json(folder / provenance))


class HeadFreeLayers(RecordedTable):
    """``head_free.csv`` of ``erf-tools shape-bias --head-free``, a row per network and layer."""

    _FILES, _NEEDED = (_LAYERS, _LAYERS_PROVENANCE), _LAYER_COLUMNS


class SingleCue(RecordedTable):
    """``accuracy.csv`` of ``erf-tools shape-bias`` on single-cue stimuli, a row per network."""

    _FILES, _NEEDED = (_SINGLE, _PROVENANCE), _SINGLE_COLUMNS


@dataclass(frozen=True)
class Places:
    """Where results lie.

    Attributes:
        archives: ``erf.npz`` files.
        folders: of ``erf-tools shape-bias``.
        maps: of others, ``map.npz`` files.
        reliances: folders of ``erf-tools reliance``.
        layers: folders of ``erf-tools shape-bias --head-free``.
        dead: of dead pixels, ``dead_pixels.npz`` files.
        single_cue: folders of ``erf-tools shape-bias`` on single-cue stimuli.
    """

    archives: tuple[Path, ...]
    folders: tuple[Path, ...]
    maps: tuple[Path, ...] = ()
    reliances: tuple[Path, ...] = ()
    layers: tuple[Path, ...] = ()
    dead: tuple[Path, ...] = ()
    single_cue: tuple[Path, ...] = ()

    def hold(self, path: Path) -> bool:
        """Tell whether a file is one that results are read from."""
        checks = (archive.with_name(CHECK) for archive in self.archives)
        archives = (file for place in _ARCHIVES.values() for file in getattr(self, place))
        tables = (
            folder / name
            for place, names in _FOLDERS.items()
            for folder in getattr(self, place)
            for name in names
        )
        files = (*archives, *checks, *tables)
        return realpath(path) in {realpath(file) for file in files}


def find_results(places: Sequence[Path], failures: Failures) -> Places:
    """Find all results in files and folders, subfolders included, each once.

    Args:
        places: ``erf.npz``, ``map.npz`` and ``dead_pixels.npz`` files, folders of ``erf``,
            ``measure``, ``dead-pixels``, ``shape-bias`` and ``reliance``, or folders that hold
            such folders.
        failures: what of a folder cannot be searched is added here.

    Returns:
        Results in the order of the places, and within a place by name with stage 9 before stage 10.

    Raises:
        UsageError: a place holds no results.
    """
    results: dict[str, list[Path]] = {place: [] for place in _TELLING.values()}
    for place in places:
        if not place.is_dir():
            results[_ARCHIVES.get(place.name, _ARCHIVES[_ARCHIVE])].append(_file(place))
            continue
        found = find_files(place)
        left_out = [(place / name, why) for name, why in found.left_out if _matters(place / name)]
        for path, why in left_out:
            with failures.alone(str(path)):
                raise ErfToolsError(f"{path} is left out: {why}")
        files = sorted((path for _, path in found.files), key=lambda path: by_numbers(str(path)))
        telling = [path for path in files if path.name in _TELLING]
        if not telling and not left_out:
            raise UsageError(
                f"{place}: there is no {_ARCHIVE}, {_TABLE} or {_RELIANCE} in this folder; name "
                "one that `erf-tools erf`, `shape-bias` or `reliance` has written"
            )
        for path in telling:
            results[_TELLING[path.name]].append(path if path.name in _ARCHIVES else path.parent)
    return Places(**{place: _once(paths) for place, paths in results.items()})


def _matters(path: Path) -> bool:
    """Tell whether what is left out of a folder may be a result, or hold one."""
    if path.name in _TELLING or not path.exists():
        return True
    return path.is_dir() and not os.access(path, os.R_OK | os.X_OK)


def _file(place: Path) -> Path:
    if not place.exists():
        raise UsageError(f"{place}: there is no such file or folder")
    return place


def _once(paths: Sequence[Path]) -> tuple[Path, ...]:
    return tuple({path.resolve(): path for path in paths}.values())
