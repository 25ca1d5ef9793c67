"""How networks are named wherever they are shown: with what a reader has to know of them."""

from __future__ import annotations

import re

from erf_tools.addresses import name_at
from erf_tools.folders import shown

#: What random weights are called in every table, figure and page.
UNTRAINED = "untrained"

#: What stands in place of weights where a map was not made here: it was given as a file, or its
#: measures come with the package.
OTHERS, PUBLISHED = "map of others", "published map"

#: A line of a name: as long as fits, to the end of one of its parts if there is one.
_LINE = re.compile(r".{1,22}$|.{1,21}[_. /-]|.{1,22}", re.DOTALL)


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


def in_lines(label: str) -> str:
    """Return what :func:`labelled` gave in short lines, its notes in one of their own."""
    name, sign, notes = label.rpartition(" (")
    if not (sign and label.endswith(")")):
        name, sign, notes = label, "", ""
    lines = [line.strip() for line in _LINE.findall(name)]
    return "\n".join([*lines, *([f"({notes}"] if sign else [])])
