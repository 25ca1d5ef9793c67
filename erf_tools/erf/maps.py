"""The result: contribution maps added up, with all that is needed to trace them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from erf_tools.erf.measures import Measures
from erf_tools.erf.measures.sample import Sample
from erf_tools.erf.units import central_unit
from erf_tools.errors import UsageError
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.files import read_archive, understood, write_archive
from erf_tools.labels import WEIGHTS, network_label
from erf_tools.tables import Subject

if TYPE_CHECKING:
    import pandas as pd

_KIND = "erf-tools ERF, version"

ImageOutcome = Literal["counted", "zero", "nan"]


@dataclass(frozen=True)
class MeasuredImage:
    """One image and what became of it.

    Attributes:
        name: as in the image source.
        sha256: of its content.
        outcome: ``counted``; ``zero`` if its map is zero everywhere (counted as well: the mean is
            over these too); ``nan`` if its map has a value that is not finite (left out).
        label: its class, where it is known.
        predicted: the class the network gives it at the analysis resolution.
        predicted_natively: the class the network gives it as in its own evaluation.
    """

    name: str
    sha256: str
    outcome: ImageOutcome
    label: int | None = None
    predicted: int | None = None
    predicted_natively: int | None = None


class UnitResult:
    """What results of a layer's units have in common.

    Attributes:
        images: every image that was run, in order.
        setting: what was measured: protocol, model, weights, tap, unit, resolution.
        runs: how it was computed: versions, device, image source.
        FORMAT: name and version of its files.
    """

    images: tuple[MeasuredImage, ...]
    setting: Mapping[str, Any]
    runs: tuple[Mapping[str, Any], ...]

    FORMAT: ClassVar[str]

    def _settle(self) -> None:
        """Have what is recorded as it will be when read back, so that a result is equal then."""
        object.__setattr__(self, "setting", json.loads(json.dumps(self.setting)))
        object.__setattr__(self, "runs", tuple(json.loads(json.dumps(self.runs))))

    @property
    def averaged(self) -> tuple[str, ...]:
        """SHA-256 of the images in the mean, in order."""
        return tuple(image.sha256 for image in self.images if image.outcome != "nan")

    @property
    def count(self) -> int:
        """Number of images in the mean."""
        return len(self.averaged)

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.setting["model"]["name"])

    @property
    def label(self) -> str:
        """The model, with what sets its weights apart, and its layer if not the default one."""
        tap = self.setting["tap"]
        return network_label(self.setting["model"], "" if tap["default"] else tap["name"])

    @property
    def subject(self) -> Subject:
        """Model, weights and layer, as tables name them."""
        setting = self.setting
        return Subject(self.name, setting["model"]["weights"]["label"], setting["tap"]["name"])

    @property
    def center(self) -> tuple[float, float]:
        """Row and column of the unit's true centre, in input pixels; of a grid's central unit."""
        row, column = self.setting["center"]
        return float(row), float(column)

    @property
    def square_center(self) -> tuple[float, float] | None:
        """Where the squares of the linear measures are centred; ``None``: the published pixel."""
        return self.center if self.setting["square"] == "unit" else None

    @property
    def receptive_field(self) -> ReceptiveField:
        """The theoretical receptive field of the layer's units."""
        return ReceptiveField.from_record(self.setting["receptive_field"])

    def record(self) -> dict[str, Any]:
        """Return everything but the arrays, as JSON values."""
        return {
            "format": self.FORMAT,
            "setting": dict(self.setting),
            "images": [vars(image) for image in self.images],
            "runs": [dict(run) for run in self.runs],
        }


@dataclass(frozen=True, eq=False)
class ERF(UnitResult):
    """An effective receptive field: the mean contribution map over images.

    Attributes:
        total: sum of the images' maps, float64 ``[height, width]``, read-only; negative values are
            those of a protocol that averages with the sign.
        images: every image that was run, in order.
        setting: what was measured: protocol, model, weights, tap, unit, resolution. Results merge
            only where this is equal.
        runs: how it was computed, once per merged part: versions, device, image source.
        sample: what intervals are made of; ``None`` where maps add up with their sign.
    """

    total: np.ndarray
    images: tuple[MeasuredImage, ...]
    setting: Mapping[str, Any]
    runs: tuple[Mapping[str, Any], ...] = ()
    sample: Sample | None = field(default=None, repr=False)

    FORMAT: ClassVar[str] = f"{_KIND} 5"

    def __post_init__(self) -> None:
        total = np.array(self.total, dtype=np.float64)
        if total.ndim != 2:
            raise UsageError(f"an ERF is a map [height, width]; got shape {list(total.shape)}")
        total.setflags(write=False)
        object.__setattr__(self, "total", total)
        self._settle()

    @property
    def map(self) -> np.ndarray:
        """The ERF itself, float64 ``[height, width]``; NaN where no image counted."""
        count = self.count
        # The size of the mean: a protocol that averages with the sign takes it here.
        return np.abs(self.total) / count if count else np.full_like(self.total, np.nan)

    def number(self, outcome: ImageOutcome) -> int:
        """Return the number of images with an outcome."""
        return sum(image.outcome == outcome for image in self.images)

    @property
    def trained(self) -> bool:
        """Whether the weights are anything other than a random initialisation."""
        return WEIGHTS[self.setting["model"]["weights"]["kind"]].trained

    @property
    def network_label(self) -> str:
        """The model, with what sets its weights apart: checkpoint, untrained."""
        return network_label(self.setting["model"])

    @property
    def units(self) -> list[tuple[int, int]]:
        """Rows and columns of the units in the feature map."""
        return [(int(row), int(column)) for row, column in self.setting["units"]]

    @property
    def theoretical_size(self) -> tuple[float, float]:
        """Height and width of the theoretical receptive field, in pixels.

        Infinite where a global operation lets every pixel reach the unit, NaN where not known.
        """
        field = self.receptive_field
        return (inf, inf) if field.unbounded else field.size or (nan, nan)

    @property
    def theoretical_side(self) -> float:
        """The longer side of the theoretical receptive field: that of the square around it.

        No square that is centred on the unit needs to be larger to hold all that reaches the unit.
        Infinite and NaN as in :attr:`theoretical_size`.
        """
        return max(self.theoretical_size)

    @property
    def theoretical_box(self) -> tuple[int, int, int, int] | None:
        """Top, bottom, left, right of the unit's receptive field; of a grid's central unit.

        Half-open and not cut off at the rim; ``None`` where it is unbounded or not known.
        """
        _, rows, columns = self.setting["feature_map"]
        single = len(self.units) == 1
        return self.receptive_field.box(self.units[0] if single else central_unit(rows, columns))

    @cached_property
    def measures(self) -> Measures:
        """All measures and their intervals, with squares centred as the setting says."""
        return Measures(self.map, self.square_center, self.sample)

    def top1(self, natively: bool = False) -> float:
        """Return the share of labelled images that are classified right, in [0, 1]; else NaN.

        It is NaN for untrained networks, of which it would say nothing.

        Args:
            natively: as in the network's own evaluation, not at the analysis resolution.
        """
        if not self.trained:
            return nan
        pairs = [
            (image.label, image.predicted_natively if natively else image.predicted)
            for image in self.images
        ]
        known = [label == given for label, given in pairs if None not in (label, given)]
        return sum(known) / len(known) if known else nan

    def to_frame(self) -> pd.DataFrame:
        """Return measures and sources as a row of :func:`~erf_tools.erf.tables.erf_table`."""
        from erf_tools.erf.tables import erf_table

        return erf_table([self])

    def _repr_html_(self) -> str:
        from erf_tools.erf.notebook import as_html

        return as_html([self])

    def _repr_png_(self) -> bytes:
        from erf_tools.erf.notebook import as_png

        return as_png([self])

    def save(self, path: str | Path) -> None:
        """Write ``.npz``: ``erf`` (the mean map), ``total``, the sample and the record."""
        arrays = {"erf": self.map, "total": self.total}
        if self.sample:
            arrays |= self.sample.arrays()
        write_archive(Path(path), arrays, self.record())

    @classmethod
    def load(cls, path: str | Path) -> ERF:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: the file is missing, damaged or something else.
        """
        arrays, record = read_archive(Path(path))
        if record.get("format") != cls.FORMAT:
            raise UsageError(f"{path} is not an ERF of this version of erf-tools")
        with understood(Path(path)):
            images = tuple(MeasuredImage(**image) for image in record["images"])
            total = arrays["total"]
            if total.dtype != np.float64 or list(total.shape) != record["setting"]["resolution"]:
                raise ValueError("its map is none of its setting")
            if not isinstance(record["setting"]["model"]["weights"]["label"], str):
                raise ValueError("its weights have no label")
            found = cls(total, images, record["setting"], tuple(record["runs"]))
            if "counts" not in arrays:
                return found
            return replace(found, sample=Sample.from_arrays(arrays, found.averaged))


def is_of_another_version(path: Path) -> bool:
    """Tell whether a file is an ERF that another version of erf-tools has written.

    Raises:
        UsageError: the file is missing, damaged or something else.
    """
    _, record = read_archive(path, beginning=None)
    written = str(record.get("format"))
    return written.startswith(_KIND) and written != ERF.FORMAT
