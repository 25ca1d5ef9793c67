"""Whole numbers that are given as arguments, checked before the work."""

from __future__ import annotations

from operator import index
from typing import Any, SupportsIndex

from erf_tools.errors import UsageError

#: The largest that is taken where nothing else is said.
LARGEST = 2**63 - 1
#: Seeds that every generator takes: Python's, NumPy's and torch's.
LARGEST_SEED = 2**63 - 1
#: Images at once that no machine has the memory for.
LARGEST_BATCH = 100_000
#: A single image of a larger one takes 3 GB before the network has done anything.
LARGEST_RESOLUTION = 16_384


def whole_number(value: SupportsIndex, option: str, least: int = 1, largest: int = LARGEST) -> int:
    """Return a number as Python's own, NumPy's too.

    Args:
        value: what was given.
        option: what it is called on the command line.
        least: the smallest that is taken.
        largest: the largest that is taken.

    Raises:
        UsageError: it is no whole number, or outside of these.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise UsageError(f"{option} is {value!r}; it is a whole number") from None
    if not least <= number <= largest:
        bound = f"at least {least}" if number < least else f"at most {largest}"
        needed = f"is from {least} to {largest}" if largest < LARGEST else f"has to be {bound}"
        raise UsageError(f"{option} is {number}; it {needed}")
    return number


def side_or_sides(value: Any, option: str, largest: int) -> int | tuple[int, int]:
    """Return a size that is one side, or height and width, each as Python's own number.

    Raises:
        UsageError: it is neither, or a side is no whole number from 1 to ``largest``.
    """
    if not isinstance(value, (tuple, list)):
        return whole_number(value, option, 1, largest)
    if len(value) != 2:
        raise UsageError(f"{option} is {value}; it is a side, or height and width")
    height, width = (whole_number(side, option, 1, largest) for side in value)
    return height, width
