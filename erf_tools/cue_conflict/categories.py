"""The sixteen categories, and the ImageNet-1K classes that belong to each.

Source: Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019, and the
repository rgeirhos/texture-vs-shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from erf_tools.csv_files import read_index, read_rows
from erf_tools.errors import UsageError, suggestion

CATEGORIES = (
    "airplane",
    "bear",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "car",
    "cat",
    "chair",
    "clock",
    "dog",
    "elephant",
    "keyboard",
    "knife",
    "oven",
    "truck",
)

#: The answer of an observer who gave none in time.
NO_ANSWER = "na"


def _indices(*ranges: int | tuple[int, int], without: frozenset[int] = frozenset()) -> list[int]:
    found: list[int] = []
    for item in ranges:
        first, last = item if isinstance(item, tuple) else (item, item)
        found += [index for index in range(first, last + 1) if index not in without]
    return found


#: Category -> 0-based ImageNet-1K class indices; 207 in all, none twice.
IMAGENET_CLASSES: Mapping[str, list[int]] = {
    "airplane": _indices(404),
    "bear": _indices((294, 297)),
    "bicycle": _indices(444, 671),
    "bird": _indices(
        *(8, (10, 16), (18, 20), (22, 24), (80, 83), (87, 96), (98, 100), (127, 133), (135, 145))
    ),
    "boat": _indices(472, 554, 625, 814, 914),
    "bottle": _indices(440, 720, 737, (898, 899), 901, 907),
    "car": _indices(436, 511, 817),
    "cat": _indices((281, 286)),
    "chair": _indices(423, 559, 765, 857),
    "clock": _indices(409, 530, 892),
    "dog": _indices((152, 268), without=frozenset({192, 204, 227, 242, 251, 258, 260, 264})),
    "elephant": _indices((385, 386)),
    "keyboard": _indices(508, 878),
    "knife": _indices(499),
    "oven": _indices(766),
    "truck": _indices(555, 569, 656, 675, 717, 734, 864, 867),
}


def read_label_map(path: Path) -> dict[str, list[int]]:
    """Read which class indices belong to which category, for a head that is not ImageNet-1K's.

    The file is CSV with a header and the columns ``index`` (0-based) and ``category``; classes that
    belong to no category are left out of it.

    Raises:
        UsageError: the file is missing, malformed, names an unknown category or an index twice, or
            leaves a category without a class; the row is named.
    """
    classes: dict[str, list[int]] = {category: [] for category in CATEGORIES}
    seen: set[int] = set()
    for row in read_rows(path, "--label-map", ("index", "category")):
        category, index = row["category"], read_index(row["index"])
        if category not in classes:
            raise UsageError(
                f"{row.place}: {category!r} is no category: {suggestion(category, CATEGORIES)}"
            )
        if index is None:
            raise UsageError(f"{row.place}: index is {row['index']!r}; it is a number from 0")
        if index in seen:
            raise UsageError(f"{row.place}: index {index} is given twice")
        seen.add(index)
        classes[category].append(index)
    empty = [category for category, indices in classes.items() if not indices]
    if empty:
        raise UsageError(f"--label-map {path} has no class for {', '.join(empty)}")
    return classes
