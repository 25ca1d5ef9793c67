"""The result: contribution maps added up, with all that is needed to trace and to merge them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from erf_tools.errors import UsageError
from erf_tools.provenance import canonical_json, read_archive, write_archive

_FORMAT = "erf-tools ERF, version 1"

Outcome = Literal["counted", "zero", "nan"]


@dataclass(frozen=True)
class MeasuredImage:
    """One image and what became of it.

    Attributes:
        name: as in the image source.
        sha256: of its content.
        outcome: ``counted``; ``zero`` if its map is zero everywhere (counted as well: the mean is
            over these too); ``nan`` if its map has a value that is not finite (left out).
    """

    name: str
    sha256: str
    outcome: Outcome


@dataclass(frozen=True, eq=False)
class ERF:
    """An effective receptive field: the mean contribution map over images.

    Attributes:
        total: sum of the images' maps, float64 ``[height, width]``, not negative, read-only.
        images: every image that was run, in order.
        setting: what was measured: protocol, model, weights, tap, unit, resolution. Results merge
            only where this is equal.
        runs: how it was computed, once per merged part: versions, device, image source.
    """

    total: np.ndarray
    images: tuple[MeasuredImage, ...]
    setting: Mapping[str, Any]
    runs: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        total = np.array(self.total, dtype=np.float64)
        if total.ndim != 2:
            raise UsageError(f"an ERF is a map [height, width]; got shape {list(total.shape)}")
        total.setflags(write=False)
        object.__setattr__(self, "total", total)
        # As they will be when read back, so that a result is equal before and after.
        object.__setattr__(self, "setting", json.loads(json.dumps(self.setting)))
        object.__setattr__(self, "runs", tuple(json.loads(json.dumps(self.runs))))

    @property
    def map(self) -> np.ndarray:
        """The ERF itself, float64 ``[height, width]``; NaN where no image counted."""
        count = self.count
        return self.total / count if count else np.full_like(self.total, np.nan)

    @property
    def count(self) -> int:
        """Number of images in the mean."""
        return sum(image.outcome != "nan" for image in self.images)

    def number(self, outcome: Outcome) -> int:
        """Return the number of images with an outcome."""
        return sum(image.outcome == outcome for image in self.images)

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.setting["model"]["name"])

    @property
    def trained(self) -> bool:
        """Whether the weights are anything other than a random initialisation."""
        return bool(self.setting["model"]["weights"]["kind"] != "random")

    @property
    def label(self) -> str:
        """The model's name, and that it is untrained where it is."""
        return self.name if self.trained else f"{self.name} (untrained)"

    @property
    def unit(self) -> tuple[int, int]:
        """Row and column of the unit in the feature map."""
        row, column = self.setting["unit"]
        return int(row), int(column)

    def record(self) -> dict[str, Any]:
        """Return everything but the map, as JSON values."""
        return {
            "format": _FORMAT,
            "setting": dict(self.setting),
            "images": [vars(image) for image in self.images],
            "runs": [dict(run) for run in self.runs],
        }

    def save(self, path: str | Path) -> None:
        """Write ``.npz``: ``erf`` (the mean map), ``total`` and the record."""
        write_archive(Path(path), {"erf": self.map, "total": self.total}, self.record())

    @classmethod
    def load(cls, path: str | Path) -> ERF:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: the file is missing, damaged or something else.
        """
        arrays, record = read_archive(Path(path))
        if record.get("format") != _FORMAT:
            raise UsageError(f"{path} is not an ERF of this version of erf-tools")
        images = tuple(MeasuredImage(**image) for image in record["images"])
        return cls(arrays["total"], images, record["setting"], tuple(record["runs"]))


def merge(results: Sequence[ERF]) -> ERF:
    """Add results of one setting over different images.

    Raises:
        UsageError: nothing to merge, settings differ, or an image is in two of them.
    """
    if not results:
        raise UsageError("there is nothing to merge")
    first = results[0]
    seen: set[tuple[str, str]] = set()
    for result in results:
        for key in first.setting.keys() | result.setting.keys():
            ours, theirs = first.setting.get(key), result.setting.get(key)
            if canonical_json(ours) != canonical_json(theirs):
                raise UsageError(f"results differ in {key} and do not merge: {ours} and {theirs}")
        images = {(image.name, image.sha256) for image in result.images}
        if shared := sorted(seen & images):
            raise UsageError(
                f"{len(shared)} images are in two results, which would count them twice "
                f"(the first is {shared[0][0]})"
            )
        seen |= images
    return ERF(
        np.sum([result.total for result in results], axis=0),
        tuple(image for result in results for image in result.images),
        first.setting,
        tuple(run for result in results for run in result.runs),
    )
