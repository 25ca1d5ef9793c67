"""Values of a page: JSON without surprises, labels that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from erf_tools.files import without_nan
from erf_tools.labels import distinct
from erf_tools.tables import interval_columns
from erf_tools.text import dimensions, visible

#: Signs of a text that are shown; no name needs more.
_LONGEST = 500

#: Signs of a note, which may name many networks before it says what is the case.
_LONGEST_NOTE = 40 * _LONGEST


def plain(value: Any) -> Any:
    """Return JSON values without NaN, their text without signs that act or deceive, and cut."""
    return _plain(value, _cut)


def _plain(value: Any, cut: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        # What is copied stays as it is.
        return {
            key: item
            if key in ("codes", "command", "png", "sheet")
            else _plain(item, _cut_inside if key == "notes" else cut)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item, cut) for item in value]
    return visible(cut(value)) if isinstance(value, str) else without_nan(value)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\u2026"


def _cut_inside(note: str) -> str:
    """Return a note whose first and last words are kept: names come first, what they are last."""
    if len(note) <= _LONGEST_NOTE:
        return note
    return f"{note[: _LONGEST_NOTE - _LONGEST]}\u2026{note[-_LONGEST:]}"


def set_distinct(contents: Sequence[dict[str, Any]], *more: Sequence[str]) -> None:
    """Make labels differ, by details where two are the same.

    Args:
        contents: what is shown, with its label and its details.
        more: what else is known of each, to tell those apart that have the same details.
    """
    known = ([each[name] for each in contents] for name in ("label", "details"))
    labels = distinct(*known, *more)
    for each, label in zip(contents, labels, strict=True):
        each["label"] = label


def each_once(rows: Iterable[tuple[dict[str, Any], Sequence[str]]]) -> list[dict[str, Any]]:
    """Return what is shown, of equal ones the first, with labels that differ.

    Args:
        rows: each with its label and its details, and what else may tell it apart: words, empty
            where they are not known, as many for each.
    """
    found: list[dict[str, Any]] = []
    apart: list[Sequence[str]] = []
    for row, words in rows:
        if row not in found:
            found.append(row)
            apart.append(words)
    set_distinct(found, *zip(*apart, strict=True))
    return found


def network_lines(model: Mapping[str, Any]) -> list[list[str]]:
    """Return what is known of a network, as terms and what they are, from its record."""
    weights = model["weights"]
    return [
        ["Model", f"{model['name']}, {model['parameters']:,} parameters"],
        ["Weights", f"{weights['label']}: {weights['source']}"],
        ["Weights, SHA-256", weights["sha256"]],
    ]


def versions_line(found: Mapping[str, str]) -> list[str]:
    """Return versions as a term and what they are."""
    return ["Versions", ", ".join(f"{name} {version}" for name, version in found.items())]


def details(setting: Mapping[str, Any]) -> str:
    """Return what tells results of one network apart."""
    size = dimensions(setting["resolution"])
    return f"{size}, {setting['protocol']['name']}, unit {setting['unit']}"


def rounded(values: Iterable[float], digits: int) -> list[float]:
    """Return what is only drawn, in so many digits."""
    return [float(f"{value:.{digits}g}") for value in values]


def value_columns(row: Mapping[Any, Any], *names: str) -> dict[str, Any]:
    """Return values and their intervals."""
    return {column: row[column] for column in interval_columns(*names)}
