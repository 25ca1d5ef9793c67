"""Which weights a network has, as results say it."""

from __future__ import annotations

from dataclasses import dataclass

from erf_tools.labels import WEIGHTS, weights_label


@dataclass(frozen=True)
class Weights:
    """Which weights a network has.

    Attributes:
        kind: ``pretrained``, ``random``, ``file``, or ``given`` (as a user's network came); see
            :data:`erf_tools.labels.WEIGHTS`.
        source: file, hub name or package they came from, or how they were initialised.
        sha256: of the file where there is one, else of the state dict.
        notes: what had to be done so that they fit, in words.
        head: whether the classifier is among them; without, the network gives no classes.
    """

    kind: str
    source: str
    sha256: str
    notes: tuple[str, ...] = ()
    head: bool = True

    @property
    def trained(self) -> bool:
        """Whether they are anything other than a random initialisation."""
        return WEIGHTS[self.kind].trained

    @property
    def label(self) -> str:
        """The weights in a word or two, for tables and titles."""
        return weights_label(self.kind, self.source)
