"""Which cues are suppressed, in which images, and how networks answer: what can be chosen."""

from __future__ import annotations

from dataclasses import dataclass

from erf_tools.choices import choice


@dataclass(frozen=True)
class Suppressing:
    """What is suppressed, and how an answer is read.

    Attributes:
        cues: see :func:`erf_tools.reliance.suppressions.chosen`.
        output_key: which part of the network's output holds the logits.
    """

    cues: str = choice(
        "all",
        "all (but critical-band), or with commas: cues (global-shape, texture, color, "
        "high-frequencies, ...) and suppressions (patch-shuffle, bilateral, gray, low-pass, ...). "
        "non-local-means takes most of the filters' time.",
        metavar="NAME,...",
    )
    output_key: str | None = choice(
        None,
        "Which part of the network's output holds the logits.",
        metavar="KEY",
        shown_default="logits, where it gives several",
    )
