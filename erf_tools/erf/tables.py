"""ERFs as a table: one row per model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from erf_tools.erf.maps import ERF
from erf_tools.erf.measures import THRESHOLDS, measure
from erf_tools.erf.published import PUBLISHED, STANDING
from erf_tools.tables import NONE, write_tables

_PERCENT = [f"{threshold * 100:g}" for threshold in THRESHOLDS]


def erf_table(results: Sequence[ERF]) -> pd.DataFrame:
    """Return a row per result: measures, the paper's values, and where it all comes from.

    Ratios are shares of the map's area in (0, 1]; lengths are input pixels; NaN where a measure
    has no value.
    """
    return pd.DataFrame([_row(result) for result in results])


def _row(result: ERF) -> dict[str, object]:
    measures = measure(result.map)
    model = result.setting["model"]
    height, width = result.setting["resolution"]
    row: dict[str, object] = {
        "model": result.name,
        "weights": model["weights"]["label"],
        "resolution": f"{height}x{width}",
        "images": result.count,
        "zero_maps": result.number("zero"),
        "nan_maps": result.number("nan"),
    }
    for kind, ratios in (("legacy", measures.legacy), ("linear", measures.linear)):
        for percent, threshold in zip(_PERCENT, THRESHOLDS, strict=True):
            row[f"{kind}_{percent}"] = ratios[threshold]
    row["effective_side"] = measures.effective_side
    row["sigma_y"] = measures.sigma_y
    row["sigma_x"] = measures.sigma_x
    row["radius"] = measures.radius
    published = PUBLISHED.get(result.name)
    for percent, threshold in zip(_PERCENT, THRESHOLDS, strict=True):
        row[f"paper_{percent}"] = published.ratios[threshold] if published else float("nan")
    row["paper_standing"] = STANDING if published else ""
    row["protocol"] = result.setting["protocol"]["name"]
    row["tap"] = result.setting["tap"]["name"]
    row["parameters"] = model["parameters"]
    row["weights_source"] = model["weights"]["source"]
    row["weights_sha256"] = model["weights"]["sha256"]
    return row


def compact(table: pd.DataFrame) -> str:
    """Return the main columns of :func:`erf_table` as text for a terminal."""
    thresholds = " / ".join(_PERCENT)
    shown = pd.DataFrame(
        {
            "model": table["model"],
            "weights": table["weights"],
            "images": table["images"],
            f"legacy r, % ({thresholds})": _joined(table, "legacy"),
            f"linear r, % ({thresholds})": _joined(table, "linear"),
            "side, px": table["effective_side"].map("{:.0f}".format),
        }
    )
    if table[f"paper_{_PERCENT[0]}"].notna().any():
        shown[f"paper r, % ({thresholds})"] = _joined(table, "paper")
    return tabulate(
        shown, headers="keys", tablefmt="simple", showindex=False, disable_numparse=True
    )


def _joined(table: pd.DataFrame, kind: str) -> list[str]:
    shown = [_ratios(table, kind, percent) for percent in _PERCENT]
    return [" / ".join(row) if row[0] != NONE else NONE for row in zip(*shown, strict=True)]


def _ratios(table: pd.DataFrame, kind: str, percent: str) -> list[str]:
    """Return one column of ratios in per cent; those of the paper with their marks."""
    seen = float(percent) / 100
    return [
        NONE
        if ratio != ratio
        else f"{100 * ratio:.1f}" + "†" * (seen in PUBLISHED[model].seen)
        if kind == "paper"
        else f"{100 * ratio:.2f}"
        for model, ratio in zip(table["model"], table[f"{kind}_{percent}"], strict=True)
    ]


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`erf_table` as text for a paper: per cent, pixels, marks."""
    shown = pd.DataFrame(
        {"Model": table["model"], "Weights": table["weights"], "Images": table["images"].map(str)}
    )
    for kind in ("legacy", "linear"):
        for percent in _PERCENT:
            shown[f"{kind} r at {percent} %, %"] = _ratios(table, kind, percent)
    shown["Effective side, px"] = table["effective_side"].map(_pixels)
    shown["sigma y, px"] = table["sigma_y"].map(_pixels)
    shown["sigma x, px"] = table["sigma_x"].map(_pixels)
    for percent in _PERCENT:
        shown[f"paper r at {percent} %, %"] = _ratios(table, "paper", percent)
    return shown


def notes(table: pd.DataFrame) -> list[str]:
    """Return what a reader of the table has to know, a sentence or two each."""
    protocols = ", ".join(sorted(set(table["protocol"])))
    resolutions = ", ".join(sorted(set(table["resolution"])))
    found = [
        f"Protocol {protocols} at {resolutions}. r is the area of the smallest centred square that "
        "holds more than t of the total contribution, as a share of the map's area.",
        "legacy: on log10(A + 1), as published. It depends on the scale of A: compare it with "
        "published values only.",
        "linear: on A itself, independent of its scale: compare networks by it. Effective side: of "
        "the square with half of A. sigma: standard deviation of A about its centroid.",
    ]
    if table[f"paper_{_PERCENT[0]}"].notna().any():
        found.append(f"paper: {STANDING}.")
    if (table["weights"] == "untrained").any():
        sources = "; ".join(
            f"{row.model}: {row.weights_source}"
            for row in table[table["weights"] == "untrained"].itertuples()
        )
        found.append(f"untrained: random weights, which the paper's values are not of. {sources}.")
    for column, meaning in (
        ("zero_maps", "gave a map of zeros, and count in the mean"),
        ("nan_maps", "gave a map that is not finite, and were left out"),
    ):
        for row in table[table[column] > 0].itertuples():
            found.append(f"{row.model}: {getattr(row, column)} images {meaning}.")
    return found


def write_erf_table(table: pd.DataFrame, stem: Path) -> list[Path]:
    """Write ``.csv`` (everything), ``.md`` and ``.tex`` (for people), with the notes in them."""
    hashes = [
        f"{row.model}: weights sha256 {row.weights_sha256}, tap {row.tap}"
        for row in table.itertuples()
    ]
    return write_tables(stem, table, readable(table), [*notes(table), *hashes])


def _pixels(length: float) -> str:
    return f"{length:.1f}" if length == length else NONE
