"""Words that spreadsheets would take for formulas: harmless in files, and read as they were."""

from __future__ import annotations

import re

#: How a word begins that is taken for a formula, and how it does once it is harmless.
_FORMULA = re.compile(r"'*(?:[\t\r]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
_HARMLESS = re.compile(r"'+(?:[\t\r]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def harmless(word: str) -> str:
    """Return a word with an apostrophe before it where it would be taken for a formula."""
    return f"'{word}" if _FORMULA.match(word) else word


def as_meant(word: str) -> str:
    """Return a word without the apostrophe of :func:`harmless`."""
    return word[1:] if _HARMLESS.match(word) else word
