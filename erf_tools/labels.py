"""How networks are named wherever they are shown: with what a reader has to know of them."""

from __future__ import annotations

from erf_tools.addresses import name_at
from erf_tools.folders import shown

#: What random weights are called in every table, figure and page.
UNTRAINED = "untrained"


def weights_label(kind: str, source: str = "") -> str:
    """Return weights in a word or two: ``pretrained``, ``untrained``, a file's name, ``as given``.

    Args:
        kind: ``pretrained``, ``random``, ``file`` or ``given``.
        source: path or address of a file.
    """
    known = {"pretrained": "pretrained", "random": UNTRAINED, "given": "as given"}
    return known.get(kind) or shown(name_at(source))


def labelled(name: str, trained: bool, *notes: str) -> str:
    """Return a name with its notes: ``resnet50 (untrained)``.

    Args:
        name: of a network or decision maker, with its checkpoint or layer where that matters.
        trained: whether its weights are anything other than a random initialisation.
        notes: what else there is to know, each in a word or two.
    """
    known = [*([] if trained else [UNTRAINED]), *notes]
    return f"{name} ({', '.join(known)})" if known else name


def in_two_lines(label: str) -> str:
    """Return what :func:`labelled` gave with its notes in a line of their own."""
    return label.replace(f" ({UNTRAINED}", f"\n({UNTRAINED}")
