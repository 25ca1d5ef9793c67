"""How networks are named wherever they are shown: with what a reader has to know of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from erf_tools.addresses import name_at
from erf_tools.folders import shown

if TYPE_CHECKING:
    import pandas as pd

#: What random weights are called in every table, figure and page.
UNTRAINED = "untrained"

#: What stands in place of weights where a map was not made here: it was given as a file, or its
#: measures come with the package.
OTHERS, PUBLISHED = "map of others", "published map"

#: A line of a name: as long as fits, to the end of one of its parts if there is one.
_LINE = re.compile(r".{1,22}$|.{1,21}[_. /-]|.{1,22}", re.DOTALL)


class WeightsKind(NamedTuple):
    """A kind of weights.

    Attributes:
        label: in a word or two; empty where the name of their file says which they are.
        trained: whether they are anything other than a random initialisation.
        asked: whether the name of the kind is what they are asked for by, as ``--weights``.
    """

    label: str = ""
    trained: bool = True
    asked: bool = False


#: The kinds of weights that a network may have.
WEIGHTS = {
    "pretrained": WeightsKind("pretrained", asked=True),
    "random": WeightsKind(UNTRAINED, trained=False, asked=True),
    "file": WeightsKind(),
    "given": WeightsKind("as given"),
}

#: Those that are no file, as ``--weights`` names them.
ASKED = tuple(name for name, kind in WEIGHTS.items() if kind.asked)


def weights_label(kind: str, source: str = "") -> str:
    """Return weights in a word or two: ``pretrained``, ``untrained``, a file's name, ``as given``.

    Args:
        kind: one of :data:`WEIGHTS`.
        source: path or address of a file.
    """
    return WEIGHTS[kind].label or shown(name_at(source))


def network_label(model: Mapping[str, Any], layer: str = "") -> str:
    """Return a network with what sets it apart: a checkpoint, a layer, that it is untrained.

    Args:
        model: its record.
        layer: a name, where it is not the default one.
    """
    weights = model["weights"]
    kind = WEIGHTS[weights["kind"]]
    words = [model["name"], "" if kind.label else weights["label"], layer]
    return labelled(" ".join(filter(None, words)), kind.trained)


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


def distinct(labels: Sequence[str], *details: Sequence[str]) -> list[str]:
    """Return labels that differ: with details that tell equal ones apart, then with numbers.

    Args:
        labels: of what is shown side by side.
        details: what else is known of each, the most telling first; empty where it is not known.
    """
    labels = list(labels)
    for more in (*details, [str(number + 1) for number in range(len(labels))]):
        told: dict[str, set[str]] = {}
        for label, detail in zip(labels, more, strict=True):
            told.setdefault(label, set()).add(detail)
        labels = [
            f"{label}, {detail}" if detail and len(told[label]) > 1 else label
            for label, detail in zip(labels, more, strict=True)
        ]
    return labels


def rows_named(table: pd.DataFrame, rows: pd.Series) -> list[str]:
    """Return what some rows of a table are of: the model, if all of its rows are among them.

    Else with the weights and the layer, where those tell rows of the model apart.

    Args:
        table: with the columns ``model``, ``weights`` and ``layer``, and ``weights_source`` where
            that is known.
        rows: whether each is meant.
    """
    models = table["model"].tolist()
    columns = [each for each in ("weights", "weights_source", "layer") if each in table]
    details = [table[column].astype(str).tolist() for column in columns]
    whole = rows.groupby(table["model"]).all()
    names = (
        model if whole[model] or full == model else f"{model} ({full[len(model) + 2 :]})"
        for model, full, meant in zip(models, distinct(models, *details), rows, strict=True)
        if meant
    )
    return list(dict.fromkeys(names))
