"""Finding the names of networks by a part of them, in the catalogue and in the libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from erf_tools.errors import UsageError
from erf_tools.models.catalogue import ENTRIES
from erf_tools.models.names import open_library
from erf_tools.models.prefixes import LIBRARIES


def search(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Find the networks whose names have all words of a text; case, hyphens and dots do not matter.

    Args:
        text: one word or several.

    Returns:
        Names as they are typed, each with where it comes from; and why libraries were left out.
    """
    words = [_plain(word) for word in text.split()]
    left_out: list[str] = []
    found: dict[str, str] = {}
    for place, name, described in _known(left_out):
        if all(word in _plain(described) for word in words):
            found.setdefault(name, place)
    return list(found.items()), left_out


def _known(left_out: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield where a network comes from, its name, and what is searched in."""
    for entry in ENTRIES.values():
        yield "catalogue", entry.name, f"{entry.name} {entry.summary}"
    for key in LIBRARIES:
        try:
            names = open_library(key).names()
        except UsageError as error:
            left_out.append(str(error))
        else:
            yield from ((key, name, name) for name in names)


def _plain(text: str) -> str:
    return re.sub(r"[-_.]", "", text.lower())
