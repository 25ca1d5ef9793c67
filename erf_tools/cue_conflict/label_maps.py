"""Label maps: which classes of a head belong to which category, of files and from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import SupportsIndex

from erf_tools.csv_files import read_index, read_rows
from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.errors import UsageError, suggestion
from erf_tools.numbers import whole_number


def read_label_map(
    path: Path, categories: Iterable[str] | None = CATEGORIES
) -> dict[str, list[int]]:
    """Read which class indices belong to which category, for a head that is not ImageNet-1K's.

    The file is CSV with a header and the columns ``index`` (0-based) and ``category``; classes that
    belong to no category are left out of it.

    Args:
        path: the file.
        categories: all that there are; ``None`` for those that the file names.

    Raises:
        UsageError: the file is missing, malformed, names an unknown category or an index twice, or
            leaves a category without a class; the row is named.
    """
    classes = _Classes(categories)
    for row in read_rows(path, "--label-map", ("index", "category")):
        index = read_index(row["index"])
        if index is None:
            raise UsageError(f"{row.place}: index is {row['index']!r}; it is a number from 0")
        classes.add(row.place, index, row["category"])
    return classes.whole(f"--label-map {path}")


def checked_label_map(
    label_map: Mapping[str, Sequence[SupportsIndex]], categories: Iterable[str] = CATEGORIES
) -> dict[str, list[int]]:
    """Return a label map that was made in Python, in the order of the categories, as whole numbers.

    Args:
        label_map: category -> class indices from 0.
        categories: all that there are.

    Raises:
        UsageError: it is no mapping, names an unknown category or a class twice, an index is no
            whole number from 0, or a category has no class.
    """
    if not isinstance(label_map, Mapping):
        raise UsageError(
            f"label_map is a {type(label_map).__name__}; it maps each category to its classes"
        )
    classes = _Classes(categories)
    for category, indices in label_map.items():
        try:
            listed = list(indices)
        except TypeError:
            raise UsageError(
                f"label_map has {indices!r} for {category}; it has a list of class indices"
            ) from None
        for index in listed:
            number = whole_number(index, f"in label_map, a class of {category}", 0)
            classes.add("label_map", number, category)
    return classes.whole("label_map")


class _Classes:
    """Classes of each category, of which none is there twice."""

    def __init__(self, categories: Iterable[str] | None) -> None:
        self._are_all_known = categories is not None
        self._found: dict[str, list[int]] = {category: [] for category in categories or ()}
        self._seen: set[int] = set()

    def add(self, place: str, index: int, category: str) -> None:
        """Add a class; ``place`` says where it is given."""
        if self._are_all_known and category not in self._found:
            raise UsageError(
                f"{place}: {category!r} is no category: {suggestion(str(category), self._found)}"
            )
        if index in self._seen:
            raise UsageError(f"{place}: index {index} is given twice")
        self._seen.add(index)
        self._found.setdefault(category, []).append(index)

    def whole(self, place: str) -> dict[str, list[int]]:
        """Return all classes, after seeing that each category has some."""
        empty = [category for category, indices in self._found.items() if not indices]
        if empty:
            raise UsageError(f"{place} has no class for {', '.join(empty)}")
        return self._found
