"""Which results a page is made of: found in files and folders, and read back."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from PIL import Image

from erf_tools.cue_conflict.absolute import MEASURES
from erf_tools.cue_conflict.representation import MEASURES as LAYER_MEASURES
from erf_tools.erf.dead_pixels import PixelContributions
from erf_tools.erf.maps import ERF
from erf_tools.erf.others import OthersMap
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures, FailuresError
from erf_tools.files import read_json
from erf_tools.folders import find_files, read_file, why_unreadable
from erf_tools.models.requests import by_numbers
from erf_tools.perturbation.result import ARCHIVE as CHECK
from erf_tools.perturbation.result import PerturbationERF
from erf_tools.reliance.changes import CHANGES
from erf_tools.reliance.suppressions import Suppression, recorded
from erf_tools.tables import interval_columns, read_csv

if TYPE_CHECKING:
    from typing_extensions import Self

_PROVENANCE = "provenance.json"
#: The file that keeps a map of others, which `erf-tools measure` writes.
MAP_OF_OTHERS = "map.npz"

_SINGLE_COLUMNS = [
    *("model", "weights", "total", "preset", "stimuli", "cues"),
    *interval_columns("accuracy", "mrr", "mrr_classes"),
]
_BIAS_COLUMNS = {
    "shape_bias.csv": [
        *("model", "weights", "shape", "texture", "total", "coverage", "low_coverage"),
        *interval_columns("shape_bias", "kappa_human", *MEASURES),
        *("kind", "stimuli", "weights_sha256"),
        *("cues", "categories", "head"),
    ],
    "shape_bias_by_category.csv": ["model", "category", "shape", "texture", "shape_bias"],
}
_SHEET, _RELIANCE_RECORD = "reliance_versions.jpg", "reliance.json"
_RELIANCE_COLUMNS = {
    "reliance.csv": [
        *("model", "weights", "weights_sha256", "counted", "images", "low_accuracy"),
        *interval_columns("accuracy"),
    ],
    "reliance_curves.csv": [
        *("model", "weights", "counted", "suppression", "strength", "accuracy"),
        *interval_columns("relative_accuracy"),
        *(change.name for change in CHANGES),
    ],
}
_LAYER_COLUMNS = [
    *("model", "weights", "layer", "place", "dimensions", "similarity", "stimuli", "cues"),
    *interval_columns(*LAYER_MEASURES),
]

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
            read_csv(folder / name, _WORDS, own) for name, own in _BIAS_COLUMNS.items()
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
        path = folder / _RELIANCE_RECORD
        if not path.exists():  # results of before
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

    FILES: ClassVar[tuple[str, str]]
    _NEEDED: ClassVar[Sequence[str]]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder.

        Raises:
            UsageError: a file is missing, damaged, or of another version.
        """
        table, provenance = cls.FILES
        found = read_csv(folder / table, _WORDS, cls._NEEDED)
        return cls(folder, found, read_json(folder / provenance))


class HeadFreeLayers(RecordedTable):
    """``head_free.csv`` of ``erf-tools shape-bias --head-free``, a row per network and layer."""

    FILES, _NEEDED = ("head_free.csv", "head_free.json"), _LAYER_COLUMNS


class SingleCue(RecordedTable):
    """``accuracy.csv`` of ``erf-tools shape-bias`` on single-cue stimuli, a row per network."""

    FILES, _NEEDED = ("accuracy.csv", "accuracy.json"), _SINGLE_COLUMNS


@dataclass(frozen=True, eq=False)
class Results:
    """What a page is made of.

    Attributes:
        erfs: measured here.
        others: maps of others.
        biases: results of shape bias.
        reliances: results of reliance.
        layers: results of layers without a head.
        dead: what pixels contribute to all units.
        single_cue: results on single-cue stimuli.
        checks: of some of ``erfs``.
        names: what each of ``erfs`` is called where it cannot be shown; by default its number.
    """

    erfs: Sequence[ERF] = ()
    others: Sequence[OthersMap] = ()
    biases: Sequence[ShapeBias] = ()
    reliances: Sequence[Reliance] = ()
    layers: Sequence[HeadFreeLayers] = ()
    dead: Sequence[PixelContributions] = ()
    single_cue: Sequence[SingleCue] = ()
    checks: Sequence[PerturbationERF] = ()
    names: Sequence[str] = ()


@dataclass(frozen=True)
class _Kind:
    """How a kind of result lies on disk: as one file, or as a folder of several.

    Attributes:
        read: reads the file, or the folder.
        files: that it is read from, first the one by which it is found.
    """

    read: Callable[[Path], Any]
    files: tuple[str, ...]

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of files."""
        return len(self.files) > 1

    def files_of(self, place: Path) -> list[Path]:
        """Return all files of a result."""
        return [place / name for name in self.files] if self.is_folder else [place]


#: By the attribute of :class:`Results` that holds them, in the order in which they are read.
_KINDS = {
    "erfs": _Kind(ERF.load, ("erf.npz",)),
    "others": _Kind(OthersMap.load, (MAP_OF_OTHERS,)),
    "dead": _Kind(PixelContributions.load, (PixelContributions.ARCHIVE,)),
    "biases": _Kind(ShapeBias.read, (*_BIAS_COLUMNS, _PROVENANCE)),
    "reliances": _Kind(Reliance.read, (*_RELIANCE_COLUMNS, _SHEET, _RELIANCE_RECORD)),
    "layers": _Kind(HeadFreeLayers.read, HeadFreeLayers.FILES),
    "single_cue": _Kind(SingleCue.read, SingleCue.FILES),
}
_TELLING = {kind.files[0]: name for name, kind in _KINDS.items()}

#: Where results lie: by kind, in the order of the places that were named.
Places = Mapping[str, tuple[Path, ...]]


def find_results(places: Sequence[Path], failures: Failures) -> Places:
    """Find all results in files and folders, subfolders included, each once.

    Args:
        places: ``erf.npz``, ``map.npz`` and ``dead_pixels.npz`` files, folders of ``erf``,
            ``measure``, ``dead-pixels``, ``shape-bias`` and ``reliance``, or folders that hold
            such folders.
        failures: what of a folder cannot be searched is added here.

    Returns:
        Files and folders by attribute of :class:`Results`, in the order of the places, and within a
        place by name with stage 9 before stage 10.

    Raises:
        UsageError: a place holds no results.
    """
    results: dict[str, list[Path]] = {kind: [] for kind in _KINDS}
    for place in places:
        if not place.is_dir():
            kind = _TELLING.get(place.name, "erfs")
            if not place.exists():
                raise UsageError(f"{place}: there is no such file or folder")
            results["erfs" if _KINDS[kind].is_folder else kind].append(place)
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
                f"{place}: there is no erf.npz, shape_bias.csv or reliance.csv in this folder; "
                "name one that `erf-tools erf`, `shape-bias` or `reliance` has written"
            )
        for path in telling:
            kind = _TELLING[path.name]
            results[kind].append(path.parent if _KINDS[kind].is_folder else path)
    once = ({path.resolve(): path for path in paths} for paths in results.values())
    return {kind: tuple(paths.values()) for kind, paths in zip(results, once, strict=True)}


def read_results(places: Places, failures: Failures) -> Results:
    """Read what was found; what cannot be read is added to the failures.

    Raises:
        FailuresError: no result can be read.
    """
    read: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    checks: list[PerturbationERF] = []
    names: list[str] = []
    for kind, paths in places.items():
        for path in paths:
            with failures.alone(str(path)):
                read[kind].append(_KINDS[kind].read(path))
                names += [str(path)] * (kind == "erfs")
            check = path.with_name(CHECK)
            if kind == "erfs" and check.is_file():
                with failures.alone(str(check)):
                    checks.append(PerturbationERF.load(check))
    if not any(read.values()):
        raise FailuresError(list(failures), all_of_it=True)
    return Results(**read, checks=checks, names=names)


def are_read_from(places: Places, path: Path) -> bool:
    """Tell whether a file is one that results are read from."""
    files = [
        file
        for kind, found in places.items()
        for place in found
        for file in _KINDS[kind].files_of(place)
    ]
    files += [archive.with_name(CHECK) for archive in places["erfs"]]
    return realpath(path) in {realpath(file) for file in files}


def _matters(path: Path) -> bool:
    """Tell whether what is left out of a folder may be a result, or hold one."""
    if path.name in _TELLING or not path.exists():
        return True
    return path.is_dir() and not os.access(path, os.R_OK | os.X_OK)
