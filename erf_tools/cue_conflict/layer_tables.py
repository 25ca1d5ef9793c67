"""What layers hold of shape and texture, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from erf_tools.cue_conflict.categories import Categories, worded
from erf_tools.cue_conflict.representation import MEASURES, Layered
from erf_tools.cue_conflict.tables import caution, cues_of
from erf_tools.labels import UNTRAINED
from erf_tools.tables import DIFFERENCES, Subject, difference_row, with_intervals


def layer_table(networks: Sequence[Layered]) -> pd.DataFrame:
    """Return a row per network and layer.

    All measures are shares in [0, 1], see :mod:`erf_tools.cue_conflict.representation`, with 95 %
    intervals over shape and texture images; ``place`` counts the layers from 0, in the order in
    which they run where that is known (``ordered``), or else in that of their definition.
    """
    rows = []
    for network in networks:
        record = network.provenance
        categories = Categories.of_record(record["stimuli"].get("categories"))
        for place, layer in enumerate(network.layers):
            row = {
                **_subject(network, layer.layer)._asdict(),
                "place": place,
                "ordered": network.ordered,
                "dimensions": layer.dimensions,
            }
            for name in MEASURES:
                row |= layer.measures[name].estimate.within(0, 1).columns(name)
            row |= {name: record[name] for name in ("similarity", "preset")}
            row |= {"stimuli": record["stimuli"]["label"]}
            row |= {"weights_sha256": record["model"]["weights"]["sha256"]}
            rows.append({**row, "cues": ", ".join(categories.cues)})
    return pd.DataFrame(rows)


def layer_differences(networks: Sequence[Layered]) -> pd.DataFrame:
    """Return the differences of all pairs of layers, with paired intervals.

    Pairs that were measured on different stimuli are left out. The columns are
    :data:`~erf_tools.tables.DIFFERENCES`.
    """
    layers = [(network, layer) for network in networks for layer in network.layers]
    rows = []
    for (one, first), (other, second) in combinations(layers, 2):
        for name in MEASURES:
            numbers = first.measures[name], second.measures[name]
            if numbers[0].stimuli.equals(numbers[1].stimuli):
                subjects = _subject(one, first.layer), _subject(other, second.layer)
                rows.append(difference_row(*subjects, name, (numbers[0] - numbers[1]).estimate))
    return pd.DataFrame(rows, columns=list(DIFFERENCES))


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`layer_table` as text for people."""
    shown = pd.DataFrame(
        {
            "Model": table["model"],
            "Weights": table["weights"],
            "Layer": table["layer"],
            "D": table["dimensions"].map(str),
        }
    )
    for name, title in MEASURES.items():
        shown[title] = with_intervals(table, name, lambda value: f"{value:.3f}")
    return shown.rename(columns=lambda title: worded(title, cues_of(table)))


def notes(table: pd.DataFrame) -> list[str]:
    """Return what a reader of :func:`layer_table` has to know, a sentence or two each."""
    cues = cues_of(table)
    of_measures = [
        "Triplets: an anchor is nearer to a stimulus of its shape category than to one of its "
        f"texture category ({table['similarity'].iloc[0]} of features pooled over all places); .5 "
        "is neither. All triplets count but those that share the very same image.",
        "Dimensions: shares of shape, texture and the rest by a softmax of correlations; where "
        "nothing is shared they are .212, .212 and .576. 95 %: over shape and texture images.",
    ]
    found = [*(worded(each, cues) for each in of_measures), caution(cues)]
    found += [f"Stimuli: {label}." for label in table["stimuli"].unique()]
    if "ordered" in table and not table["ordered"].all():  # earlier tables do not say
        names = ", ".join(table.loc[~table["ordered"], "model"].unique())
        found.append(
            f"Layers of {names} are in the order of their definition: in which they run is not "
            "known."
        )
    if (table["weights"] == UNTRAINED).any():
        names = ", ".join(table.loc[table["weights"] == UNTRAINED, "model"].unique())
        found.append(f"untrained: {names} has random weights; it shows what its architecture does.")
    return found


def _subject(network: Layered, layer: str) -> Subject:
    return Subject(network.name, network.provenance["model"]["weights"]["label"], layer)
