"""Values of a page: JSON without surprises, labels that differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from erf_tools.files import without_nan
from erf_tools.text import visible

#: Signs of a text that are shown; no name needs more.
_LONGEST = 500


def plain(value: Any) -> Any:
    """Return JSON values without NaN, their text without signs that act or deceive, and cut."""
    if isinstance(value, Mapping):
        # What is copied stays as it is.
        return {
            key: item if key in ("codes", "command", "png", "sheet") else plain(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return visible(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}\u2026")
    return without_nan(value)


def set_distinct(contents: Iterable[dict[str, Any]]) -> None:
    """Make labels differ, by details where two are the same."""
    contents = list(contents)
    labels = distinct([each["label"] for each in contents], [each["details"] for each in contents])
    for each, label in zip(contents, labels, strict=True):
        each["label"] = label


def distinct(labels: Sequence[str], details: Sequence[str]) -> list[str]:
    """Return labels that differ: with details where two are the same, then with numbers."""
    labels = list(labels)
    for more in (list(details), [str(number + 1) for number in range(len(labels))]):
        labels = [
            f"{label}, {detail}" if labels.count(label) > 1 else label
            for label, detail in zip(labels, more, strict=True)
        ]
    return labels


def value_columns(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a value and its interval."""
    return {column: row[column] for column in (name, f"{name}_low", f"{name}_high")}
