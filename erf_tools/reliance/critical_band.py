"""The critical band: which spatial frequencies a network recognises images by, and how wide a band.

Images are shown in grey at low contrast, and noise of one octave at a time is added. Where noise
hurts most, there the network looks. Source: Subramanian et al., NeurIPS 2023 (arXiv 2309.13190),
who find about one octave for people and two to four for networks, by fits to thresholds; the
definitions of loss, centre and width here are ours, and need no fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2, nan

import numpy as np
import pandas as pd

from erf_tools.reliance import measures
from erf_tools.reliance.measures import Combination
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.reliance.suppressions import (
    BANDS,
    CRITICAL_BAND,
    LOW_CONTRAST,
    SUBRAMANIAN,
    Suppression,
    variants,
)
from erf_tools.reliance.tables import about, cautions, first_columns, unless_low
from erf_tools.statistics import (
    FEWEST_CLUSTERS,
    Estimate,
    percentile_interval,
    wilson_interval,
)
from erf_tools.tables import NONE, with_intervals

#: Bootstrap draws over images, and how many are made at once.
DRAWS, _AT_ONCE = 1000, 50

#: Log2 of the middle of each band, in cycles per image.
_MIDDLES = np.array([log2(low * high) / 2 for low, high in BANDS])


@dataclass(frozen=True)
class CriticalBand:
    """What noise of each octave does to one network.

    Attributes:
        accuracy: on the images of low contrast, without noise.
        losses: of each of :data:`~erf_tools.reliance.suppressions.BANDS`: one minus the accuracy
            under its noise over that without, the mean over strengths.
        center: cycles per image: the mean of the octaves' logarithms, weighted by their losses.
        width: octaves: the sum of the losses over the largest of them, from 1 to 7; what a band of
            that loss throughout, and none beside, would have.
    """

    accuracy: Estimate
    losses: tuple[Estimate, ...]
    center: Estimate
    width: Estimate


def is_measured(rows: Sequence[Suppression]) -> bool:
    """Tell whether the suppressions are there that a critical band needs."""
    return any(row.cue == CRITICAL_BAND for row in rows)


def critical_band(
    hits: np.ndarray,
    rows: Sequence[Suppression],
    stimuli: Sequence[str] | None = None,
    seed: int = 0,
) -> CriticalBand:
    """Return what noise of each octave does, with 95 % intervals over images.

    Those of centre and width are of a bootstrap over images; there are none of stimuli that share
    images, and neither has a value where noise does no harm.

    Args:
        hits: ``[images, 1 + variants]``; see :class:`~erf_tools.reliance.result.SuppressedAnswers`.
        rows: the suppressions.
        stimuli: see :func:`erf_tools.reliance.measures.estimate`.
        seed: of the bootstrap.
    """
    own = _of_bands(hits, rows)
    per_band = (own.shape[1] - 1) // len(BANDS)
    accuracy = wilson_interval(int(own[:, 0].sum()), len(own))
    losses = []
    for band in range(len(BANDS)):
        weights = np.zeros(own.shape[1] - 1)
        weights[band * per_band : (band + 1) * per_band] = -1 / per_band
        losses.append(measures.estimate(own, Combination("loss", "loss", weights, 1.0), stimuli))
    values = _shape(np.array([[each.value for each in losses]]))[0].tolist()
    center, width = (Estimate(value) for value in values)
    if stimuli is None and len(own) >= FEWEST_CLUSTERS:
        drawn = _drawn(own.astype(float), seed)
        center, width = (
            _with_value(percentile_interval(value, draws))
            for value, draws in zip(values, drawn.T, strict=True)
        )
    return CriticalBand(accuracy, tuple(losses), center, width)


def _with_value(found: Estimate) -> Estimate:
    return Estimate(found.value, min(found.low, found.value), max(found.high, found.value))


def _of_bands(hits: np.ndarray, rows: Sequence[Suppression]) -> np.ndarray:
    """Return the hits without noise and under each band's, strength by strength."""
    owners = [row for row, _, _ in variants(rows)]
    clean = [place for place, row in enumerate(owners, 1) if row.name == LOW_CONTRAST]
    noisy = [
        place
        for place, row in enumerate(owners, 1)
        if row.cue == CRITICAL_BAND and row.name != LOW_CONTRAST
    ]
    return hits[:, [*clean, *noisy]]


def _drawn(own: np.ndarray, seed: int) -> np.ndarray:
    """Return centre and width of images drawn with replacement, ``[draws, 2]``."""
    generator = np.random.default_rng(seed)
    shares = np.full(len(own), 1 / len(own))
    found = []
    for _ in range(DRAWS // _AT_ONCE):
        sums = generator.multinomial(len(own), shares, size=_AT_ONCE) @ own
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = sums[:, 1:] / sums[:, :1]
        found.append(_shape(1 - kept.reshape(_AT_ONCE, len(BANDS), -1).mean(axis=2)))
    return np.concatenate(found)


def _shape(losses: np.ndarray) -> np.ndarray:
    """Return centre and width of losses ``[N, bands]``, ``[N, 2]``; NaN where there are none."""
    harm = np.clip(losses, 0, None)
    largest = harm.max(axis=1)
    total = np.where(largest > 0, harm.sum(axis=1), nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.column_stack([2 ** ((harm @ _MIDDLES) / total), total / largest])


def critical_band_table(
    results: Sequence[SuppressedAnswers], rows: Sequence[Suppression]
) -> pd.DataFrame:
    """Return a row per network and what is counted.

    ``loss_1`` to ``loss_7`` are of the bands from low to high, of which ``peak`` has the largest;
    ``center`` is in cycles per image and ``width`` in octaves; see :class:`CriticalBand`.
    """
    table = []
    for result in results:
        for counted, hits in result.hits.items():
            found = critical_band(hits, rows, result.stimuli, int(result.setting["seed"]))
            row = {
                **about(result, counted, found.accuracy),
                "peak": _peak(found),
                **found.center.columns("center"),
                **found.width.columns("width"),
            }
            for number, loss in enumerate(found.losses, 1):
                row |= loss.columns(f"loss_{number}")
            row["weights_sha256"] = result.setting["model"]["weights"]["sha256"]
            table.append(row)
    return pd.DataFrame(table)


def _peak(found: CriticalBand) -> str:
    """Return the band whose noise hurts most, in cycles per image; empty where none does."""
    losses = np.nan_to_num([each.value for each in found.losses])
    return _title(BANDS[int(losses.argmax())]) if losses.max() > 0 else ""


def _title(band: tuple[float, float]) -> str:
    return f"{band[0]:g} to {band[1]:g}"


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`critical_band_table` as text for people."""
    shown = first_columns(table, "Low contrast")
    shown["Hurts most"] = unless_low(table, [peak or NONE for peak in table["peak"]])
    columns = {"center": ("Centre, cycles", "{:.1f}"), "width": ("Width, octaves", "{:.2f}")}
    columns |= {f"loss_{number}": (_title(band), "{:.2f}") for number, band in enumerate(BANDS, 1)}
    for name, (title, form) in columns.items():
        shown[title] = unless_low(table, with_intervals(table, name, form.format))
    return shown


def notes(table: pd.DataFrame) -> list[str]:
    """Return what a reader of :func:`critical_band_table` has to know."""
    found = [
        "Critical band: images in grey at a contrast of .2 about .449, with noise of one octave of "
        "frequencies, in cycles per image of 224 pixels. Loss: one minus the accuracy under noise "
        "over that without (low contrast), the mean over SDs of .02, .04, .08 and .16.",
        "Centre: the mean octave, weighted by losses. Width: the sum of the losses over the "
        "largest, in octaves (1 to 7). The authors find about one octave for people, and two to "
        "four for networks, by fits to thresholds: another definition. 95 % intervals over "
        "images; few of them, and losses near 1, make the width too large.",
    ]
    found += cautions(
        table,
        "{names} recognises too few images of low contrast for losses to mean anything; they are "
        "not shown.",
    )
    return [*found, f"Source: {SUBRAMANIAN}."]
