"""What a click is answered with."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter

from erf_tools.erf.measures.families.squares import smallest_square
from erf_tools.explorer.pictures import Picture
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.labels import labelled

WeightsChoice = Literal["pretrained", "random"]

#: Sigma of the Gaussian by which a map is smoothed to be seen, as a share of its shorter side.
_SMOOTHING = 1 / 56

#: Where the page looks from: row and column as shares of the image's sides, in [0, 1).
Point = tuple[float, float]


@dataclass(frozen=True)
class Decision:
    """What a network takes a cue-conflict stimulus for, among the sixteen categories."""

    category: str
    shape: str
    texture: str

    @property
    def cue(self) -> str:
        """The cue it follows: ``shape``, ``texture`` or ``neither``."""
        return {self.shape: "shape", self.texture: "texture"}.get(self.category, "neither")


@dataclass(frozen=True, eq=False)
class Answer:
    """The ERF of one unit on one image, and what the network takes the image for.

    Attributes:
        model: its name.
        trained: whether its weights are anything but a random initialisation.
        layer: in words.
        picture: the image.
        pixels: the same as the network sees it, uint8 ``[height, width, 3]``.
        contribution: map of the unit, float64 ``[height, width]``, not negative.
        unit: row and column in the feature map.
        units: rows and columns there are.
        field: theoretical receptive field of the layer.
        contradicted: size of a field that was found and that maps reach beyond, so that ``field``
            is not known; ``None`` where none do.
        predictions: names of the likeliest classes and their probabilities, the first the
            likeliest; empty without weights or without an ImageNet-1K head.
        decision: on a cue-conflict stimulus, by a network that has ``predictions``.
    """

    model: str
    trained: bool
    layer: str
    picture: Picture
    pixels: np.ndarray
    contribution: np.ndarray
    unit: tuple[int, int]
    units: tuple[int, int]
    field: ReceptiveField
    contradicted: tuple[int, int] | None = None
    predictions: tuple[tuple[str, float], ...] = ()
    decision: Decision | None = None

    @property
    def label(self) -> str:
        """The model, and whether it is untrained."""
        return labelled(self.model, self.trained)

    @property
    def center(self) -> tuple[float, float]:
        """Row and column of the unit's true centre, in pixels, moved to the nearest in the map."""
        y, x = (
            min(max(place, 0.0), length - 1.0)
            for place, length in zip(
                self.field.center(self.unit), self.contribution.shape, strict=True
            )
        )
        return y, x

    def square(self, threshold: float) -> tuple[int, int, int, int] | None:
        """Return top, bottom, left, right of the smallest square about the centre.

        It holds more than ``threshold`` of the contribution; ``None`` for a map without mass.
        """
        found = smallest_square(self.contribution, threshold, self.center)
        return (found.top, found.bottom, found.left, found.right) if found else None

    @property
    def smoothing(self) -> float:
        """Sigma of the Gaussian that :attr:`smoothed` is smoothed by, in pixels."""
        return min(self.contribution.shape) * _SMOOTHING

    @property
    def smoothed(self) -> np.ndarray:
        """The map smoothed, to be seen only: one image's gradient reads as speckle.

        It holds as much as the map does, and no measure is of it.
        """
        return gaussian_filter(self.contribution, self.smoothing, mode="reflect")

    def share_of_image(self, threshold: float) -> float:
        """Return that square's share of the image's area; NaN for a map without mass."""
        found = smallest_square(self.contribution, threshold, self.center)
        return found.ratio if found else nan


@dataclass(frozen=True, eq=False)
class CheckedUnit:
    """What a unit does where cells of the image are replaced, beside what its gradient says.

    Attributes:
        answer: that was checked.
        gradient: the map's mean over cells, at each of their pixels, ``[height, width]``.
        change: of the unit where a cell is replaced by the image's mean colour, per pixel,
            ``[height, width]``.
        cells: rows and columns of cells.
        reached: how many cells have a pixel in the unit's theoretical field.
        spearman: rank correlation of the two over these; NaN where one is the same everywhere.
    """

    answer: Answer
    gradient: np.ndarray
    change: np.ndarray
    cells: tuple[int, int]
    reached: int
    spearman: float


def nearest_unit(field: ReceptiveField, units: tuple[int, int], pixel: Point) -> tuple[int, int]:
    """Return the unit whose true centre lies nearest to a pixel.

    Args:
        field: of the layer.
        units: rows and columns of its feature map.
        pixel: row and column.
    """
    first = field.center((0, 0))
    row, column = (
        min(max(round((place - start) / step), 0), count - 1) if step else 0
        for place, start, step, count in zip(pixel, first, field.stride, units, strict=True)
    )
    return row, column
