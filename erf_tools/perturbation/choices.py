"""How a map is checked: declared here, for the library, the command line and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from erf_tools.choices import choice, declared
from erf_tools.errors import UsageError
from erf_tools.numbers import whole_number
from erf_tools.text import listed

Replacement = Literal["mean", "other", "blur"]

#: The replacements in words.
IN_WORDS: dict[str, str] = {
    "mean": "the image's mean colour",
    "other": "the same cell of the next image",
    "blur": "a blur of itself",
}

_MOST_CELLS = 64


@dataclass(frozen=True)
class Checking:
    """How the units of a network are checked.

    Attributes:
        cells: along the image's shorter side; along the longer one as many of the same size.
        replacement: what cells are replaced by: ``mean``, the image's mean colour; ``other``, the
            same cell of the next image of the selection (of the first, for the last); ``blur``, a
            Gaussian blur of the image whose sigma is half a cell's side.
    """

    cells: int = choice(16, "With --check: cells along the shorter side.", lowest=1)
    replacement: tuple[Replacement, ...] = choice(
        get_args(Replacement),
        "With --check: what a cell is replaced by (repeatable): mean colour, the same cell of "
        "another image, a blur.",
        metavar="|".join(IN_WORDS),
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "replacement", tuple(dict.fromkeys(self.replacement)))
        whole_number(self.cells, "--cells", 1, _MOST_CELLS)
        if not self.replacement:
            raise UsageError(f"--replacement is empty; name {listed(IN_WORDS, 'or')}")
        for each in self.replacement:
            if each not in IN_WORDS:
                raise UsageError(f"--replacement is {each!r}; it is {listed(IN_WORDS, 'or')}")

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"cells": self.cells, "replacement": list(self.replacement)}


#: What can be chosen of a check.
CHECKING = declared(Checking)
