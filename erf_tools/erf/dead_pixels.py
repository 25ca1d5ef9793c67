"""Dead pixels: what each pixel contributes to all units of a map together (Kim 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erf_tools.errors import UsageError
from erf_tools.files import read_archive, understood, write_archive
from erf_tools.labels import labelled
from erf_tools.tables import SUBJECT
from erf_tools.text import dimensions

_FORMAT = "erf-tools dead pixels, version 1"

#: A pixel is dead that contributes no more than this share of what the median pixel does.
DEAD = 0.1


def dead_share(contribution: np.ndarray) -> float:
    """Return the share of pixels that contribute at most a tenth of what the median one does.

    Where most contribute nothing, and so the median does not, dead are those that contribute
    nothing. NaN for a map of zeros, and one with values that are not finite.

    Args:
        contribution: to all units, ``[height, width]``, not negative.
    """
    if not np.isfinite(contribution).all() or not contribution.any():
        return nan
    return float(np.mean(contribution <= DEAD * np.median(contribution)))


@dataclass(frozen=True, eq=False)
class PixelContributions:
    """What each pixel contributes to all units of a layer's map together.

    Attributes:
        map: mean over images, float64 ``[height, width]``.
        images: name and SHA-256 of each.
        setting: what was measured, as in :class:`~erf_tools.erf.maps.ERF`.
        run: how: versions, device, image source.
    """

    map: np.ndarray
    images: Sequence[Sequence[str]]
    setting: Mapping[str, Any]
    run: Mapping[str, Any]

    @property
    def subject(self) -> tuple[str, str, str]:
        """Model, weights and layer, as tables name them."""
        model, tap = self.setting["model"], self.setting["tap"]
        return str(model["name"]), str(model["weights"]["label"]), str(tap["name"])

    @property
    def label(self) -> str:
        """The model, with what sets its weights apart."""
        name, weights, _ = self.subject
        kind = self.setting["model"]["weights"]["kind"]
        return labelled(f"{name} {weights}" if kind == "file" else name, kind != "random")

    def record(self) -> dict[str, Any]:
        """Return everything but the map, as JSON values."""
        own = {"setting": dict(self.setting), "run": dict(self.run)}
        return {"format": _FORMAT, "images": [list(image) for image in self.images], **own}

    def save(self, path: Path) -> None:
        """Write ``.npz``: ``contribution`` and the record."""
        write_archive(path, {"contribution": self.map}, self.record())

    @classmethod
    def load(cls, path: Path) -> PixelContributions:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: the file is missing, damaged or something else.
        """
        arrays, record = read_archive(path)
        if record.get("format") != _FORMAT:
            raise UsageError(f"{path} holds no dead pixels of this version of erf-tools")
        with understood(path):
            return cls(arrays["contribution"], record["images"], record["setting"], record["run"])


def dead_pixel_table(results: Sequence[PixelContributions]) -> pd.DataFrame:
    """Return a row per result: ``dead_pixels`` is :func:`dead_share` of its map."""
    rows = [
        [
            *result.subject,
            dimensions(result.map.shape),
            len(result.images),
            result.setting["protocol"]["name"],
            dead_share(result.map),
        ]
        for result in results
    ]
    return pd.DataFrame(rows, columns=[*SUBJECT, "resolution", "images", "protocol", "dead_pixels"])
