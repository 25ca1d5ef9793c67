"""Mean attention distances as a result: of each head, of layers, as tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from erf_tools.erf.intervals import t_interval
from erf_tools.erf.recorded import Recorded
from erf_tools.statistics import Estimate
from erf_tools.tables import with_intervals


class AttentionDistances(Recorded):
    """How far apart tokens are that attend to each other.

    Its arrays are ``distance``, in pixels, ``[images, heads]``, of all heads of all layers;
    ``layer``, the name of each head's; and ``head``, its number there, from 0.
    """

    KIND = "attention distances"
    ARCHIVE = "attention.npz"
    NAMES = ("distance", "layer", "head")

    def layers(self) -> list[tuple[str, np.ndarray]]:
        """Return each layer, in order of depth, with its heads' distances ``[images, heads]``."""
        name = self.arrays["layer"]
        return [
            (str(layer), self.arrays["distance"][:, name == layer]) for layer in dict.fromkeys(name)
        ]


def over_images(values: np.ndarray) -> Estimate:
    """Return the mean of a distance of each image ``[images]``, with Student's interval.

    It does not reach below zero, where no distance is.
    """
    deviations = (values - values.mean()) / np.sqrt(len(values) * max(len(values) - 1, 1))
    return t_interval(float(values.mean()), deviations, len(values)).within(0, np.inf)


def attention_table(results: Sequence[AttentionDistances]) -> pd.DataFrame:
    """Return a row per head: ``layer``, ``depth`` (from 1), ``head`` (from 0), ``distance``.

    The distance is in pixels, with 95 % intervals over images.
    """
    return pd.DataFrame(
        {
            **result.about(layer),
            "depth": depth,
            "head": head,
            **over_images(distance[:, head]).columns("distance"),
        }
        for result in results
        for depth, (layer, distance) in enumerate(result.layers(), 1)
        for head in range(distance.shape[1])
    )


def layer_table(results: Sequence[AttentionDistances]) -> pd.DataFrame:
    """Return a row per layer: ``distance`` is the mean over heads.

    ``nearest`` and ``farthest`` are the smallest and the largest of its heads.
    """
    return pd.DataFrame(
        {
            **result.about(layer),
            "depth": depth,
            "heads": distance.shape[1],
            **over_images(distance.mean(axis=1)).columns("distance"),
            "nearest": distance.mean(axis=0).min(),
            "farthest": distance.mean(axis=0).max(),
        }
        for result in results
        for depth, (layer, distance) in enumerate(result.layers(), 1)
    )


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`layer_table` as text for people."""
    one = "{:.1f}".format
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Weights": table["weights"],
            "Layer": table["layer"],
            "Heads": table["heads"].map(str),
            "Images": table["images"].map(str),
            "Distance, px": with_intervals(table, "distance", one),
            "Nearest head": table["nearest"].map(one),
            "Farthest head": table["farthest"].map(one),
        }
    )


NOTES = (
    "Distance: of the patches that a patch attends to, weighted by the attention, from centre to "
    "centre; the mean over patches, heads and images. Class and register tokens are left out.",
    "Attention is not influence: values, the residual path and later layers decide what a patch "
    "does to the output.",
)
