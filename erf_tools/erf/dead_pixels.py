"""Dead pixels: what each pixel contributes to all units of a map together (Kim 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr

from erf_tools.erf.cautions import DRAWN
from erf_tools.erf.intervals import FEWEST, jackknife, student, t_interval
from erf_tools.erf.recorded import Recorded
from erf_tools.labels import rows_named
from erf_tools.statistics import Estimate
from erf_tools.tables import NONE, with_intervals

#: A pixel is dead that contributes no more than this share of what the median pixel does.
DEAD = 0.1

#: Contributions are drawn up to this many times that of the median pixel.
BRIGHTEST = 3

#: Groups of images that the interval is made of, at most: each takes a map.
_GROUPS = 16

#: What has to be known of a network with a counter or a running average that decides something.
_MOVED = (
    "each image changes what the network holds, so that the map may be another in another order; "
    "switch that off (a counter, a running average, a memory), if it should not be"
)

#: Of shares.
_ROUNDING = 1e-9

#: Pixels that may be otherwise though no group of images says so: of none that are seen, up to 3.7
#: are expected (Poisson, 97.5 %).
_UNSEEN = 4


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


def relative(contribution: np.ndarray) -> np.ndarray:
    """Return a map relative to the median of the pixels that contribute at all, to be drawn."""
    live = contribution[contribution > 0]
    return contribution / np.median(live) if live.size else contribution


def groups(images: int) -> list[int]:
    """Return how many images are in each of the groups that the interval is made of, in order."""
    return [len(group) for group in np.array_split(np.arange(images), min(images, _GROUPS))]


def doubted_shares(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the share of pixels that are dead beyond doubt, and the share that probably is.

    Dead beyond doubt is a pixel whose 95 % interval over groups of images is below the bound. In
    the other share pixels count by how probable it is that their contribution is below it; those
    whose mean is count in full.

    Args:
        sums: of each group's gradients, ``[groups, height, width]``.
        counts: images in each group.
    """
    total, share = sums.sum(axis=0), (counts / counts.sum())[:, None, None]
    contribution = np.abs(total) / counts.sum()
    if len(counts) < 2 or not contribution.any():
        return np.full(2, nan)
    away = share * (sums / counts[:, None, None] - total / counts.sum())
    error = np.sqrt((away**2).sum(axis=0) * len(counts) / (len(counts) - 1))
    left = DEAD * np.median(contribution) - contribution
    beyond = left >= student(len(counts)) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        probable = np.where(left >= 0, 1.0, ndtr(left / error))
    return np.array([beyond.mean(), probable.mean()])


class PixelContributions(Recorded):
    """What each pixel contributes to all units of a layer's map together.

    Its arrays are ``contribution``, the mean over images, float64 ``[height, width]``, not
    negative; ``without``, the dead share without each group of images; ``counts``, how many images
    each has; and ``doubted``, what :func:`doubted_shares` gives.
    """

    KIND = "dead pixels"
    ARCHIVE = "dead_pixels.npz"
    NAMES = ("contribution", "without", "counts", "doubted")

    @classmethod
    def of_groups(
        cls,
        sums: np.ndarray,
        counts: Sequence[int],
        images: Sequence[Sequence[str]],
        setting: Mapping[str, Any],
        run: Mapping[str, Any],
    ) -> PixelContributions:
        """Make it of the sums of each group's gradients, ``[groups, height, width]``."""
        total, sizes = sums.sum(axis=0), np.array(counts)
        arrays = {
            "contribution": np.abs(total) / sizes.sum(),
            "without": np.array([dead_share(np.abs(total - own)) for own in sums]),
            "counts": sizes,
            "doubted": doubted_shares(sums, sizes),
        }
        return cls(arrays, images, setting, run)

    @property
    def map(self) -> np.ndarray:
        """The mean over images, float64 ``[height, width]``."""
        return self.arrays["contribution"]

    @property
    def dead(self) -> Estimate:
        """The share of dead pixels.

        Few images leave pixels without a contribution by chance, so that the share is too large.
        There is an interval only where that bias, as the jackknife sees it, is smaller than the
        spread. It reaches from twice the bias below the share, since the jackknife sees too little
        of it, by the spread and a few pixels further on either side, and holds
        :func:`doubted_shares`: where pixels change together, leaving out images shows nothing.
        """
        share = dead_share(self.map)
        if self.without_interval:
            return Estimate(share)
        bias, spread = self._bias_and_spread()
        unseen = _UNSEEN / self.map.size
        beyond, probable = self.arrays["doubted"]
        low = min(share - abs(bias) - spread - max(abs(bias), unseen), beyond - unseen)
        high = max(share + max(-bias, 0.0) + spread, probable) + unseen
        return Estimate(share, low, high).within(0.0, 1.0)

    @property
    def without_interval(self) -> str:
        """Why there is no interval; empty where there is one."""
        images, without = len(self.images), self.arrays["without"]
        if not self.map.any():
            return "no pixel contributes at all"
        if len(without) < FEWEST:
            return f"{images} images are fewer than {FEWEST}; raise --num-images"
        if not np.isfinite(without).all():
            return "all that contributes is of one image, or of one group of them"
        bias, spread = self._bias_and_spread()
        if abs(bias) <= spread + _ROUNDING:
            return ""
        if bias < 0:
            return f"the share rises from image to image, and {images} are few; raise --num-images"
        return (
            f"{images} images are so few that pixels are dead by chance, and the share is too "
            "large; raise --num-images"
        )

    def _bias_and_spread(self) -> tuple[float, float]:
        """Return by how much the share is too large, and half of Student's interval."""
        share, without = dead_share(self.map), self.arrays["without"]
        counts = self.arrays["counts"]
        corrected, deviations = jackknife(np.array([share]), without[:, None], counts)
        found = t_interval(share, deviations[:, 0], len(without))
        return share - float(corrected[0]), found.high - share

    @classmethod
    def _format(cls) -> str:
        return f"erf-tools {cls.KIND}, version 3"


def dead_pixel_table(results: Sequence[PixelContributions]) -> pd.DataFrame:
    """Return a row per result: ``dead_pixels`` is the share of its pixels, with its interval.

    ``without_interval`` says why there is none, ``draws`` that the network draws random numbers,
    ``moves`` that each image changes what it holds.
    """
    return pd.DataFrame(
        {
            **result.about(result.setting["tap"]["name"]),
            "protocol": result.setting["protocol"]["name"],
            **result.dead.columns("dead_pixels"),
            "without_interval": result.without_interval,
            "draws": bool(result.run.get("draws")),
            "moves": bool(result.run.get("moves")),
        }
        for result in results
    )


def percentages(table: pd.DataFrame) -> list[str]:
    """Return shares of dead pixels in per cent, with their intervals, as text."""
    return with_intervals(table, "dead_pixels", lambda share: f"{100 * share:.2f}")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`dead_pixel_table` as text for people."""
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Weights": table["weights"],
            "Resolution": table["resolution"],
            "Images": table["images"].map(str),
            "Dead pixels, %": percentages(table),
        }
    )


def notes(table: pd.DataFrame) -> list[str]:
    """Return what a reader of the table has to know, a sentence or two each."""
    found = [
        "Dead pixels: those that contribute at most a tenth of what the median pixel does to all "
        "units of the last map together."
    ]
    known = table["dead_pixels"].notna()
    for why in dict.fromkeys(table["without_interval"][known]):
        if why:
            names = rows_named(table, known & (table["without_interval"] == why))
            found.append(f"{', '.join(names)}: no interval, since {why}.")
    if not known.all():
        found.append(f"{NONE}: no pixel contributes at all.")
    for column, sentence in (("draws", DRAWN), ("moves", _MOVED)):
        if table[column].any():
            found.append(f"warning: {', '.join(rows_named(table, table[column]))}: {sentence}.")
    return found
