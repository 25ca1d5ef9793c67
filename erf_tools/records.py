"""Records: JSON values that say what a result is of, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from erf_tools.files import canonical_json

#: Signs of a value that are shown.
_SIGNS = 40


def differing_values(
    one: Mapping[str, Any], other: Mapping[str, Any], within: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Yield in what JSON values differ: the name, and both values, short where they are long.

    What only one of them names differs from what the other does not; it is ``null`` there.

    Args:
        one: by name.
        other: by name.
        within: name of what both are of.
    """
    for key in {**one, **other}:
        name, mine, its = f"{within} {key}".strip(), one.get(key), other.get(key)
        if isinstance(mine, Mapping) and isinstance(its, Mapping):
            yield from differing_values(mine, its, name)
        elif canonical_json(mine) != canonical_json(its):
            yield name, _short(mine), _short(its)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= _SIGNS else f"{text[:_SIGNS]}..."
