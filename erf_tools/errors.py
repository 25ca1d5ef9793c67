"""The errors a user can cause or has to know about.

Each message is one sentence (or a short list) that says what was wrong and what to do. Only the
command line turns them into exit codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ErfToolsError(Exception):
    """Something failed that was asked for correctly: a missing file, a network that is away."""

    exit_code = 1


class OutputError(ErfToolsError):
    """A file cannot be written: the disk is full, the folder read-only."""


class UsageError(ErfToolsError):
    """What was asked for makes no sense as asked: an unknown name, an empty folder."""

    exit_code = 2


def suggestion(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return ``did you mean a, b or c?`` with the known names nearest to ``name``."""
    # Matching takes time by the square of the length, and no name that is known is as long.
    near = get_close_matches(name[:100], sorted(set(known)), n=count, cutoff=0.0)
    listed = " or ".join(filter(None, [", ".join(near[:-1]), near[-1] if near else ""]))
    return f"did you mean {listed}?"
