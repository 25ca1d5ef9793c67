"""Whole numbers that are given as arguments, checked before the work."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

from erf_tools.errors import UsageError

#: The largest that is taken where nothing else is said.
LARGEST = 2**63 - 1
#: Seeds that every generator takes: Python's, NumPy's and torch's.
LARGEST_SEED = 2**63 - 1
#: Images at once that no machine has the memory for.
LARGEST_BATCH = 100_000


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
