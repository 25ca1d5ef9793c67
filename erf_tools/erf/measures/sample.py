"""What is kept of the images that a map is the mean of, for intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from erf_tools.erf.intervals import FEWEST, Spread, effective_number
from erf_tools.erf.measures.families.moments import Moments
from erf_tools.erf.measures.family import IN_RANGE, Family, Grouped, Groups, Summed
from erf_tools.erf.measures.frame import Frame
from erf_tools.erf.measures.registry import FAMILIES

#: Draws for each point of the convergence curve, and its numbers of images.
_DRAWS = 50
_SIZES = (1, 2, 5, 10, 20, 50)


def image_sums(maps: Any, frame: Frame) -> dict[str, Any]:
    """Return what each family of measures needs of each image.

    Args:
        maps: ``[images, height, width]``, of NumPy or of PyTorch.
        frame: of the maps, with arrays of the same library.

    Returns:
        By the family's name, ``[images, sums]``.
    """
    folded = frame.fold(maps)
    return {
        family.name: family.sums(maps, folded, frame)
        for family in FAMILIES
        if isinstance(family, Summed)
    }


@dataclass(frozen=True, eq=False)
class Sample:
    """What is kept of the images that a map is the mean of.

    Attributes:
        sums: by family, of each image: ``[images, sums]``; see :func:`image_sums`.
        counts: number of images in each of the groups of consecutive images.
        spreads: by family, over those groups, of measures that need whole maps.
        images: SHA-256 of each image, in order, where it is known.
    """

    sums: Mapping[str, np.ndarray]
    counts: tuple[int, ...]
    spreads: Mapping[str, Spread]
    images: tuple[str, ...] = ()

    @classmethod
    def of_groups(
        cls,
        total: np.ndarray,
        maps: Sequence[np.ndarray],
        counts: Sequence[int],
        sums: Mapping[str, np.ndarray],
        frame: Frame,
        images: Sequence[str] = (),
    ) -> Sample:
        """Keep what is needed of sums of maps.

        Args:
            total: sum over all images, float64 ``[height, width]``, with mass.
            maps: sums over groups of images, float32 ``[height, width]``.
            counts: number of images in each group, all above 0.
            sums: see the class.
            frame: of the maps.
            images: see the class.
        """
        groups = Groups(total, maps, np.array(counts))
        enough = len(counts) >= FEWEST and groups.in_range
        # The products are too small for a second thread to pay, and bits would hang on it.
        with threadpool_limits(1):
            spreads = {
                family.name: (family.spread if enough else family.unknown)(groups, frame)
                for family in FAMILIES
                if isinstance(family, Grouped)
            }
        return cls(sums, tuple(int(count) for count in counts), spreads, tuple(images))

    def __len__(self) -> int:
        return len(self.sums[Moments.name])

    def has(self, family: Family) -> bool:
        """Tell whether a family was measured: those added since are not in earlier results."""
        return family.name in (self.sums if isinstance(family, Summed) else self.spreads)

    @property
    def with_mass(self) -> int:
        """Number of images whose maps are not zero everywhere."""
        return int(np.count_nonzero(self.sums[Moments.name][:, 0]))

    @property
    def without_spreads(self) -> str:
        """Why it is not known how measures that need whole maps spread; empty where it is."""
        if not self.spreads or any(
            np.isfinite(spread.deviations).any() for spread in self.spreads.values()
        ):
            return ""
        groups = len(self.counts)
        if groups < FEWEST:
            return f"{groups} groups of images are fewer than {FEWEST}"
        if np.count_nonzero(self._masses(by_groups=True)) < 2:
            return f"the maps of all but one of {groups} groups of images are zero"
        low, high = IN_RANGE
        return f"gradients are outside {low:g} to {high:g}, where float32 does not hold the maps"

    def pairs_with(self, other: Sample, by_groups: bool) -> bool:
        """Tell whether it is of the same images as another, in the same order.

        Args:
            other: of another network.
            by_groups: they have to be grouped alike, too.
        """
        same = self.images == other.images and len(self) == len(other)
        return same and (self.counts == other.counts or not by_groups)

    def effective(self, by_groups: bool) -> float:
        """Return the effective number of images, or of groups of them."""
        return effective_number(self._masses(by_groups))

    def _masses(self, by_groups: bool) -> np.ndarray:
        masses = self.sums[Moments.name][:, 0]
        if not by_groups:
            return masses
        return np.add.reduceat(masses, np.cumsum([0, *self.counts[:-1]]))

    def sizes(self) -> list[int]:
        """Return the numbers of images of the convergence curve."""
        images = len(self)
        return sorted({size for size in (*_SIZES, images) if size <= images})

    def drawn(self, family: str, size: int) -> np.ndarray:
        """Return the sums of a family over so many images, drawn anew: ``[draws, sums]``."""
        return _drawn_weights(len(self), size) @ self.sums[family]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything but the images as arrays by name."""
        return {
            "counts": np.array(self.counts),
            **{f"sums.{name}": sums for name, sums in self.sums.items()},
            **{f"spread.{name}": spread.array() for name, spread in self.spreads.items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], images: Sequence[str] = ()) -> Sample:
        """Make again what :meth:`arrays` gave, of these images."""
        kinds: dict[str, dict[str, np.ndarray]] = {"sums": {}, "spread": {}}
        for name, array in arrays.items():
            kind, _, family = name.partition(".")
            if kind in kinds:
                kinds[kind][family] = array
        spreads = {name: Spread.from_array(array) for name, array in kinds["spread"].items()}
        return cls(kinds["sums"], tuple(arrays["counts"].tolist()), spreads, tuple(images))


@lru_cache(maxsize=32)
def _drawn_weights(images: int, size: int) -> np.ndarray:
    """Return how often each image is drawn: ``[draws, images]`` with rows of sum ``size``."""
    generator = np.random.default_rng(size)
    weights = generator.multinomial(size, np.full(images, 1 / images), size=_DRAWS)
    weights = weights.astype(np.float64)
    weights.setflags(write=False)
    return weights
