"""What becomes of a unit of work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Why a unit failed.

    Attributes:
        reason: one sentence.
        traceback: for those who look into it; may be empty.
        mended: whether nothing is left of what was wrong, so that it can be tried again at once.
    """

    reason: str
    traceback: str = ""
    mended: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a unit.

    Attributes:
        unit: its identity.
        images: how many it has.
        seconds: that it took, the loading of its network included.
        failure: why it failed; ``None`` if it did not.
    """

    unit: str
    images: int
    seconds: float
    failure: Failure | None = None
