"""Tables of ERFs for people: in the terminal, in papers, and what has to be said below them."""

from __future__ import annotations

from collections.abc import Callable
from math import isinf
from pathlib import Path

import pandas as pd

from erf_tools.erf.measures import MEASURES
from erf_tools.erf.others import NOT_KNOWN
from erf_tools.erf.published import MAPS_STANDING, PUBLISHED, STANDING
from erf_tools.erf.tables import PERCENT, SEPARATOR
from erf_tools.labels import OTHERS, UNTRAINED, rows_named
from erf_tools.labels import PUBLISHED as PUBLISHED_MAP
from erf_tools.tables import NONE, as_text, numbers, with_intervals, write_tables
from erf_tools.text import dimensions


def compact(table: pd.DataFrame) -> str:
    """Return the main columns of :func:`~erf_tools.erf.tables.erf_table` as text for a terminal."""
    return as_text(main_columns(table))


def main_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return the main columns of :func:`~erf_tools.erf.tables.erf_table`, as text for people."""
    thresholds = " / ".join(PERCENT)
    shown = pd.DataFrame(
        {
            "model": table["model"],
            "weights": table["weights"],
            "images": _counts(table["images"]),
            f"legacy r, % ({thresholds})": _joined(table, "legacy"),
            f"linear r, % ({thresholds})": _joined(table, "linear"),
            "side, px": _side(table),
            "theoretical, px": _theoretical(table),
        }
    )
    if not table["default_layer"].all():
        shown.insert(1, "layer", table["layer"])
    if table["top1"].notna().any():
        shown["top-1, % (own size)"] = _top1(table)
    if table[f"paper_{PERCENT[0]}"].notna().any():
        shown[f"paper r, % ({thresholds})"] = _joined(table, "paper")
    return shown


def _joined(table: pd.DataFrame, kind: str) -> list[str]:
    shown = [_ratios(table, kind, percent) for percent in PERCENT]
    return [" / ".join(row) if row[0] != NONE else NONE for row in zip(*shown, strict=True)]


def _ratios(table: pd.DataFrame, kind: str, percent: str) -> list[str]:
    """Return one column of ratios in per cent; those of the paper with their marks."""
    ratios, seen = table[f"{kind}_{percent}"], float(percent) / 100
    if kind != "paper":
        return numbers(ratios, _SHOWN["per cent"])
    return [
        f"{100 * ratio:.1f}" + "†" * (seen in PUBLISHED[model].seen) if ratio == ratio else NONE
        for model, ratio in zip(table["model"], ratios, strict=True)
    ]


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`~erf_tools.erf.tables.erf_table` as text for a paper: per cent, pixels."""
    shown = pd.DataFrame(
        {
            "Model": table["model"],
            "Weights": table["weights"],
            "Layer": table["layer"],
            "Images": _counts(table["images"]),
        }
    )
    for name, measure in MEASURES.items():
        if measure.title:
            shown[measure.title] = numbers(table[name], _SHOWN[measure.unit])
    shown["Effective side, px"] = _side(table)
    shown["Theoretical, px"] = _theoretical(table)
    shown["Side / theoretical"] = numbers(table["side_of_theoretical"], "{:.2f}".format)
    if table["top1"].notna().any():
        shown["top-1, % (own size)"] = _top1(table)
    shown["Warnings"] = [kinds.replace(SEPARATOR, ", ") or NONE for kinds in table["warnings"]]
    for percent in PERCENT:
        shown[f"paper r at {percent} %, %"] = _ratios(table, "paper", percent)
    return shown


def notes(table: pd.DataFrame) -> list[str]:
    """Return what a reader of the table has to know, a sentence or two each."""
    all_rows = table
    table = table[~table["weights"].isin([OTHERS, PUBLISHED_MAP])]
    protocols = ", ".join(sorted(set(table["protocol"])) or ["not known"])
    resolutions = ", ".join(sorted(set((table if len(table) else all_rows)["resolution"])))
    found = [
        f"Protocol {protocols} at {resolutions}. r is the area of the smallest centred square that "
        "holds more than t of the total contribution, as a share of the map's area.",
        "legacy: on log10(A + 1), as published. It depends on the scale of A: compare it with "
        "published values only.",
        "linear: on A itself, independent of its scale: compare networks by it. Effective side: of "
        "the square with half of A, with a 95 % interval over images. sigma: standard deviation of "
        "A about its centroid.",
    ]
    for precision, rows in table[~table["precision"].isin(["fp32", ""])].groupby("precision"):
        names = ", ".join(dict.fromkeys(rows["model"]))
        found.append(f"Computed in {precision}, which is coarser than fp32: {names}.")
    others = all_rows[all_rows["weights"] == OTHERS]
    found += [f"{row.model}: the map {row.weights_source}." for row in others.itertuples()]
    if len(others):
        found.append(f"{OTHERS}: {NOT_KNOWN}.")
    if (all_rows["weights"] == PUBLISHED_MAP).any():
        found.append(f"{PUBLISHED_MAP}: {MAPS_STANDING}.")
    for column, of in (
        ("without_intervals", ""),
        ("without_whole_map_intervals", " of legacy r and participation"),
    ):
        for why in filter(None, dict.fromkeys(table[column])):
            found += [
                f"{name} has no intervals{of}: {why}."
                for name in rows_named(table, table[column] == why)
            ]
    at_unit = all_rows["square"] == "unit"
    if at_unit.any():
        rows = ", ".join(
            f"row {number} ({row.model})"
            for number, row in enumerate(all_rows.itertuples(), 1)
            if row.square == "unit"
        )
        where = "" if at_unit.all() else f" in {rows}, and at the image's centre in all others"
        found.append(f"The squares of linear r and of the side are centred at the unit{where}.")
    if (table["center_basis"] == "grid").any():
        names = ", ".join(rows_named(table, table["center_basis"] == "grid"))
        found.append(
            "The unit's centre is that of equal tiles of the image, since it is not known what "
            f"each unit depends on: {names}."
        )
    if table[f"paper_{PERCENT[0]}"].notna().any():
        found.append(f"paper: {STANDING}.")
    if (table["weights"] == UNTRAINED).any():
        untrained = table[table["weights"] == UNTRAINED].drop_duplicates("model")
        sources = "; ".join(f"{row.model}: {row.weights_source}" for row in untrained.itertuples())
        found.append(f"untrained: random weights, which the paper's values are not of. {sources}.")
    for column, meaning in (
        ("zero_maps", "gave a map of zeros, and count in the mean"),
        ("nan_maps", "gave a map that is not finite, and were left out"),
    ):
        for count in table.loc[table[column] > 0, column].unique():
            found += [
                f"{name}: {count} images {meaning}."
                for name in rows_named(table, table[column] == count)
            ]
    said: dict[str, list[str]] = {}
    for row in table.itertuples():
        for kind, sentence in zip(
            row.warnings.split(SEPARATOR), row.warnings_in_words.split(SEPARATOR), strict=True
        ):
            if kind and kind != UNTRAINED:  # which is said above, with the seed
                said.setdefault(sentence, []).append(f"{row.model} ({row.weights})")
    found += [
        f"warning: {', '.join(dict.fromkeys(names))}: {sentence}."
        for sentence, names in said.items()
    ]
    return found


def write_erf_table(table: pd.DataFrame, stem: Path) -> list[Path]:
    """Write ``.csv`` (everything), ``.md`` and ``.tex`` (for people), with the notes in them."""
    hashes = [
        f"{row.model}: map sha256 {row.map_sha256}"
        if row.map_sha256
        else f"{row.model}: weights {row.weights}, sha256 {row.weights_sha256}, layer {row.layer}, "
        f"unit {row.units} at pixel {row.center_row:g},{row.center_column:g}"
        for row in table.itertuples()
    ]
    return write_tables(stem, table, readable(table), [*notes(table), *hashes])


def _counts(column: pd.Series) -> list[str]:
    return [NONE if pd.isna(count) else str(count) for count in column]


def _side(table: pd.DataFrame) -> list[str]:
    return with_intervals(table, "effective_side", "{:.0f}".format)


def _theoretical(table: pd.DataFrame) -> list[str]:
    sizes = zip(table["theoretical_height"], table["theoretical_width"], strict=True)
    return [
        NONE
        if height != height
        else "unbounded"
        if isinf(height)
        else dimensions((height, width), short=True)
        for height, width in sizes
    ]


def _top1(table: pd.DataFrame) -> list[str]:
    return [
        NONE if here != here else f"{100 * here:.0f} ({NONE if own != own else f'{100 * own:.0f}'})"
        for here, own in zip(table["top1"], table["top1_natively"], strict=True)
    ]


_SHOWN: dict[str, Callable[[float], str]] = {
    "per cent": lambda share: f"{100 * share:.2f}",
    "pixels": "{:.1f}".format,
    "number": "{:.3g}".format,
}
