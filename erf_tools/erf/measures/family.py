"""What a measure is: its name, its words, and where its value and its interval come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Any, ClassVar, Literal

import numpy as np

from erf_tools.erf.intervals import FEWEST, Spread, jackknife, t_interval
from erf_tools.erf.measures.frame import Frame
from erf_tools.statistics import Estimate

#: Pixels of each group's map that are multiplied at once.
_CHUNK = 2**16

#: Peaks of maps of which float32 has all that counts, with room below for what is less.
IN_RANGE = (1e-30, 1e30)


@dataclass(frozen=True)
class Measure:
    """What is known of a measure beside how it is computed.

    Attributes:
        name: its column in tables.
        title: its heading in tables for people; empty for those that have it in CSV only.
        unit: how it is shown: ``per cent`` of a share, ``pixels``, or a plain ``number``.
        meaning: a line of documentation.
        page: its heading in the report's table; empty for those that are not in it.
        interval: whether simulation (``python -m analyses.coverage``) proves an interval.
        corrected: whether the table has the estimate for infinitely many images, where there are
            enough images for one, and not the value of the mean map.
        fewest: images, or groups of them, below which its interval does not hold.
        lowest: end of its range.
        highest: the other end.
    """

    name: str
    title: str
    unit: Literal["per cent", "pixels", "number"]
    meaning: str
    page: str = ""
    interval: bool = True
    corrected: bool = False
    fewest: int = FEWEST
    lowest: float = 0.0
    highest: float = inf

    @property
    def columns(self) -> list[str]:
        """Its columns in tables: the value, and both ends where it may have an interval."""
        ends = [f"{self.name}_low", f"{self.name}_high"] if self.interval else []
        return [self.name, *ends]


class Family(ABC):
    """Measures that are computed together.

    Attributes:
        name: of the family, in files.
        order: where its columns stand among those of all families, the lowest first.
        measures: in the order of every array of values.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    measures: ClassVar[tuple[Measure, ...]]

    @abstractmethod
    def of_map(self, contribution: np.ndarray, frame: Frame) -> Sequence[float] | np.ndarray:
        """Return the values of a map that has mass, float64 ``[height, width]``."""

    def interval(self, place: int, spread: Spread, effective: float) -> Estimate:
        """Return the estimate of the measure at this place, with its interval.

        Args:
            place: of the measure among the family's.
            spread: of the family, over enough units.
            effective: see :func:`~erf_tools.erf.intervals.t_interval`.
        """
        estimate = float(spread.estimate[place])
        return t_interval(estimate, spread.deviations[:, place], effective)

    def rounded_up(self, place: int, value: float, frame: Frame) -> float:
        """Return the smallest value, at least ``value``, that a measure can have."""
        return value


class Summed(Family):
    """Measures of sums that add up over images: a few numbers of each image are all they need."""

    @abstractmethod
    def sums(self, maps: Any, folded: Any, frame: Frame) -> Any:
        """Return ``[..., sums]`` of maps ``[..., height, width]``, of NumPy or of PyTorch."""

    @abstractmethod
    def of_sums(self, sums: np.ndarray, frame: Frame) -> np.ndarray:
        """Return the values ``[..., measures]`` of the maps with these sums, of any scale."""

    def of_map(self, contribution: np.ndarray, frame: Frame) -> np.ndarray:
        """Return the values of a map that has mass."""
        # A power of two changes no digit, and sums of the largest maps are finite.
        scaled = np.ldexp(contribution, -int(np.frexp(contribution.max())[1]))
        return self.of_sums(self.sums(scaled, frame.fold(scaled), frame), frame)

    def spread(self, sums: np.ndarray, frame: Frame) -> Spread:
        """Return values and how they spread over images with these sums ``[images, sums]``."""
        total = sums.sum(axis=0)
        value = self.of_sums(total, frame)
        _, deviations = jackknife(value, self.of_sums(total - sums, frame), np.ones(len(sums)))
        return Spread(value, value, np.zeros(len(value)), deviations)


class Grouped(Family):
    """Measures that need whole maps: their spread is that over a few groups of images."""

    def spread(self, groups: Groups, frame: Frame) -> Spread:
        """Return values and how they spread over groups of images."""
        return self.unknown(groups, frame)

    def unknown(self, groups: Groups, frame: Frame) -> Spread:
        """Return values whose spread is not known."""
        value = np.asarray(self.of_map(groups.mean, frame), dtype=np.float64)
        unknown = np.full((len(groups.counts), len(value)), nan)
        return Spread(value, value, np.zeros(len(value)), unknown)


class Groups:
    """Sums of maps over groups of images.

    Attributes:
        counts: number of images in each group, all above 0.
        mean: of all images, float64 ``[height, width]``.
    """

    def __init__(self, total: np.ndarray, maps: Sequence[np.ndarray], counts: np.ndarray) -> None:
        """See the class.

        Args:
            total: sum over all images, float64 ``[height, width]``.
            maps: sums over each group, float32 ``[height, width]``.
            counts: number of images in each group.
        """
        self.counts, self._maps = counts, maps
        self.mean = total / counts.sum()

    @property
    def in_range(self) -> bool:
        """Whether float32 holds the groups' maps, whichever of them is left out."""
        second, highest = np.sort(self._peaks())[-2:]
        return bool(IN_RANGE[0] <= second and highest <= IN_RANGE[1])

    def means_without(self) -> Iterator[np.ndarray]:
        """Yield the mean of all other images, for each group, float32 ``[height, width]``.

        Each is the caller's own, who may change it.
        """
        counts = self.counts.sum() - self.counts
        nothing = np.zeros_like(self._maps[0])
        for others, count in zip(_sums_without(self._maps, nothing), counts, strict=True):
            others /= np.float32(count)
            yield others

    def products(self) -> np.ndarray:
        """Return the products of the groups' maps with each other ``[groups, groups]``.

        Here and in :meth:`masses`, they are those of maps that are divided by the mean map's peak.
        """
        flat = [own.reshape(-1) for own in self._maps]
        # Each by its own peak: squares of small or large gradients are outside float32's range.
        peaks = self._peaks()
        peaks[peaks == 0] = 1
        found = np.zeros((len(flat), len(flat)))
        for start in range(0, len(flat[0]), _CHUNK):
            chunk = np.stack([own[start : start + _CHUNK] for own in flat])
            chunk /= peaks[:, None].astype(np.float32)
            found += chunk @ chunk.T
        relative = peaks / self.mean.max()
        return found * np.outer(relative, relative)

    def masses(self) -> np.ndarray:
        """Return the sum of each group's map ``[groups]``."""
        return np.array([own.sum(dtype=np.float64) for own in self._maps]) / self.mean.max()

    def _peaks(self) -> np.ndarray:
        return np.array([own.max() for own in self._maps], dtype=np.float64)


def _sums_without(maps: Sequence[np.ndarray], rest: np.ndarray) -> Iterator[np.ndarray]:
    """Yield, for each of some maps, the sum of the others and of ``rest``.

    They are added up, half by half, and not taken from the total: of a map that is far above all
    others, rounding would leave more than they have.
    """
    if len(maps) == 1:
        yield rest
        return
    middle = len(maps) // 2
    for own, others in ((maps[:middle], maps[middle:]), (maps[middle:], maps[:middle])):
        beside = rest.copy()
        for each in others:
            beside += each
        yield from _sums_without(own, beside)
