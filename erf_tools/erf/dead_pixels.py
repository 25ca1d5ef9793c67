"""Dead pixels: what each pixel contributes to all units of a map together (Kim 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
import pandas as pd

from erf_tools.erf.cautions import DRAWN
from erf_tools.erf.intervals import jackknife, t_interval
from erf_tools.erf.recorded import Recorded
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


class PixelContributions(Recorded):
    """What each pixel contributes to all units of a layer's map together.

    Its arrays are ``contribution``, the mean over images, float64 ``[height, width]``, not
    negative; ``without``, the dead share without each group of images; and ``counts``, how many
    images each has.
    """

    KIND = "dead pixels"
    ARCHIVE = "dead_pixels.npz"
    NAMES = ("contribution", "without", "counts")

    @property
    def map(self) -> np.ndarray:
        """The mean over images, float64 ``[height, width]``."""
        return self.arrays["contribution"]

    @property
    def dead(self) -> Estimate:
        """The share of dead pixels.

        Few images leave pixels without a contribution by chance, so that the share is too large.
        There is an interval only where that bias, as the jackknife sees it, is smaller than the
        spread; simulated maps are covered in 95 % and more then.
        """
        share, without = dead_share(self.map), self.arrays["without"]
        if not np.isfinite([share, *without]).all() or len(without) < 2:
            return Estimate(share)
        corrected, deviations = jackknife(
            np.array([share]), without[:, None], self.arrays["counts"]
        )
        found = t_interval(share, deviations[:, 0], len(without))
        bias = abs(share - corrected[0])
        if not bias <= found.high - share + _ROUNDING:
            return Estimate(share)
        return Estimate(share, max(found.low, 0.0), min(found.high, 1.0))


def dead_pixel_table(results: Sequence[PixelContributions]) -> pd.DataFrame:
    """Return a row per result: ``dead_pixels`` is the share of its pixels, with its interval.

    ``draws`` says that the network draws random numbers, ``moves`` that each image changes what it
    holds.
    """
    return pd.DataFrame(
        {
            **result.about(result.setting["tap"]["name"]),
            "protocol": result.setting["protocol"]["name"],
            **result.dead.columns("dead_pixels"),
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
    if (unsure := table["dead_pixels_low"].isna() & table["dead_pixels"].notna()).any():
        found.append(
            f"{', '.join(table['model'][unsure])}: no interval, since so few images leave pixels "
            "without a contribution by chance, and the share is too large; raise --num-images."
        )
    if (table["dead_pixels"].isna()).any():
        found.append(f"{NONE}: no pixel contributes at all.")
    for column, sentence in (("draws", DRAWN), ("moves", _MOVED)):
        if table[column].any():
            found.append(f"warning: {', '.join(table['model'][table[column]])}: {sentence}.")
    return found
