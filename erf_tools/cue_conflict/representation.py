"""What a representation holds of shape and of texture, without a head.

Both measures ask how alike the features of two stimuli are that share a shape category, and of two
that share a texture category. All triplets and pairs count, no sample of them; those that share the
very same shape image or texture image are left out, since what they share is more than a category.

Sources: triplets: Tartaglini, Vong and Lake, arXiv 2202.08340; dimensions: Islam et al., ICLR 2021,
arXiv 2101.11604.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erf_tools.cue_conflict.measures import Influenced, source_images
from erf_tools.errors import UsageError
from erf_tools.features.depths import depths
from erf_tools.files import read_archive, understood, write_archive

#: Name of each measure, as a column, and what it is called where it is shown.
MEASURES = {
    "triplets_shape": "Triplets won by shape",
    "shape_dimensions": "Dimensions, shape",
    "texture_dimensions": "Dimensions, texture",
    "residual_dimensions": "Dimensions, neither",
}

#: What is kept of each measure of each layer, as :class:`Influenced` has it.
_OF_MEASURES = ("values", "influences", "pseudo", "shifts", "ends")


@dataclass(frozen=True, eq=False)
class Sharing:
    """Which stimuli share what.

    Attributes:
        stimuli: their names, all with a conflict.
        shape: ``[N, N]``: both have this shape category, of different shape images, and different
            texture categories.
        texture: the same, with shape and texture exchanged.
    """

    stimuli: pd.Index
    shape: np.ndarray
    texture: np.ndarray

    @classmethod
    def among(cls, frame: pd.DataFrame) -> Sharing:
        """Return what stimuli share.

        Args:
            frame: indexed by the stimulus, all with a conflict; columns ``shape``, ``texture``.
        """
        images = source_images(frame.index)
        same = [
            [values[:, None] == values for values in (frame[cue].to_numpy(), own)]
            for cue, own in zip(("shape", "texture"), images, strict=True)
        ]
        (shape, shape_image), (texture, texture_image) = same
        return cls(frame.index, shape & ~texture & ~shape_image, texture & ~shape & ~texture_image)


@dataclass(frozen=True, eq=False)
class LayerCues:
    """What one layer holds.

    Attributes:
        layer: its name.
        dimensions: channels of its map, ``D``.
        measures: by :data:`MEASURES`.
    """

    layer: str
    dimensions: int
    measures: Mapping[str, Influenced]


@dataclass(frozen=True, eq=False)
class Layered:
    """What the layers of one network hold.

    Attributes:
        name: of the network.
        layers: in the order in which they run, nearest to the image first, where that is known;
            else in that of their definition.
        provenance: how they were measured, as JSON values.
    """

    name: str
    layers: tuple[LayerCues, ...]
    provenance: Mapping[str, Any]

    @property
    def ordered(self) -> bool:
        """Whether it is known in which order the layers run."""
        taps = self.provenance["layers"]
        unknown = [None] * len(taps)  # as of results of before
        return depths(taps, self.provenance.get("places", unknown)) is not None

    def save(self, path: Path) -> None:
        """Write everything as one archive without pickle, atomically."""
        every = [[each.measures[name] for name in MEASURES] for each in self.layers]
        arrays = {
            "stimuli": every[0][0].stimuli.to_numpy(dtype=str),
            "layers": np.array([each.layer for each in self.layers]),
            "dimensions": np.array([each.dimensions for each in self.layers]),
            "values": np.array([[found.value for found in row] for row in every]),
            "influences": np.array([[found.influence for found in row] for row in every]),
            # A zero adds nothing: so all are as long.
            "pseudo": np.array(
                [
                    [np.pad(found.pseudo, (0, 2 - len(found.pseudo))) for found in row]
                    for row in every
                ]
            ),
            "shifts": np.array([[found.shift for found in row] for row in every]),
            "ends": np.array([[found.ends for found in row] for row in every]),
        }
        write_archive(path, arrays, {**self.provenance, "measures": list(MEASURES)})

    @classmethod
    def load(cls, path: Path) -> Layered:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: it is missing or damaged, or of other measures.
        """
        arrays, record = read_archive(path)
        if record.pop("measures", None) != list(MEASURES):
            raise UsageError(f"{path} is not of this version of erf-tools; measure again")
        stimuli = pd.Index(arrays["stimuli"].tolist(), name="stimulus")
        with understood(path):
            layers = tuple(
                LayerCues(
                    str(layer),
                    int(count),
                    {
                        name: Influenced(
                            float(value), influence, stimuli, pseudo, float(shift), (low, high)
                        )
                        for name, value, influence, pseudo, shift, (low, high) in zip(
                            MEASURES, *of_layer, strict=True
                        )
                    },
                )
                for layer, count, *of_layer in zip(
                    *(arrays[name] for name in ("layers", "dimensions", *_OF_MEASURES)), strict=True
                )
            )
        return cls(record["model"]["name"], layers, record)


def representation(
    features: np.ndarray, sharing: Sharing, similarity: str
) -> dict[str, Influenced]:
    """Return each of :data:`MEASURES`, with the influence of each stimulus on it.

    Args:
        features: ``[N, D]``, finite.
        sharing: of the same stimuli.
        similarity: see :class:`~erf_tools.cue_conflict.choices.HeadFree`.
    """
    features = features.astype(float)
    return {
        "triplets_shape": triplets(similarities(features, similarity), sharing),
        **dimensions(features, sharing),
    }


def similarities(features: np.ndarray, kind: str) -> np.ndarray:
    """Return how alike features ``[N, D]`` are, ``[N, N]``; for ``euclidean`` less the distance.

    The cosine with features that are all zero is zero.
    """
    products = features @ features.T
    squares = np.diagonal(products)
    if kind == "dot":
        return products
    if kind == "cosine":
        lengths = np.sqrt(np.outer(squares, squares))
        return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return 2 * products - squares[:, None] - squares  # of the square: the order is the same


def triplets(alike: np.ndarray, sharing: Sharing) -> Influenced:
    """Return the share of triplets in which the shape match is nearer than the texture match.

    In [0, 1]; ties count half. An anchor, one that shares its shape and one that shares its
    texture, see :class:`Sharing`, make a triplet. NaN without any. The pseudo-observations are an
    anchor of which shape wins all triplets, as many as anchors have on average, and one of which
    texture does: shares near either end have too little that varies. Simulated with known shares
    of .95 to .99, for 80 and 300 stimuli, intervals hold them in 91 to 100 % of samples, and in
    88 % where texture images matter and one triplet in a hundred is lost.

    Args:
        alike: ``[N, N]``, larger where stimuli are more alike; a row per anchor.
        sharing: of the same stimuli.
    """
    won, counted = np.zeros(len(alike)), np.zeros(len(alike))
    by_anchor = np.zeros((2, len(alike)))  # won, and all
    for anchor, row in enumerate(alike):
        shapes, textures = (
            np.flatnonzero(shared[anchor]) for shared in (sharing.shape, sharing.texture)
        )
        # Every triplet counts once for each of its three stimuli.
        by_shape = _beaten(row[shapes], row[textures])
        won[shapes] += by_shape
        won[textures] += len(shapes) - _beaten(row[textures], row[shapes])
        by_anchor[:, anchor] = by_shape.sum(), len(shapes) * len(textures)
        counted[shapes] += len(textures)
        counted[textures] += len(shapes)
    won, counted = won + by_anchor[0], counted + by_anchor[1]
    total = by_anchor[1].sum()
    if not total:
        return Influenced(nan, np.full(len(alike), nan), sharing.stimuli)
    in_anchors = by_anchor / by_anchor[1, by_anchor[1] > 0].mean()
    found = Influenced.ratio(in_anchors[0], in_anchors[1], sharing.stimuli)
    # A stimulus has a part in the triplets of other anchors, too.
    return replace(found, influence=(won - found.value * counted) / total)


def _beaten(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how many of others each value is larger than; half of those that are equal."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right")) / 2


def dimensions(features: np.ndarray, sharing: Sharing) -> dict[str, Influenced]:
    """Return the shares of dimensions that hold shape, texture and neither; their sum is 1.

    The correlation of pairs that share a factor, ``rho_f = sum_i mean((a_i - mu_i)(b_i - mu_i)) /
    sum_i var(z_i)``, and 1 for the residual go through a softmax: where nothing is shared, shape
    and texture have .212 each. Times ``D`` they are the published numbers of neurons. NaN where all
    features are alike.

    Args:
        features: ``[N, D]``.
        sharing: of the same stimuli.
    """
    centered = features - features.mean(axis=0)
    products = centered @ centered.T
    rhos, influences = zip(*_correlations(products, sharing), strict=True)
    exponents = np.exp([*rhos, 1.0])
    shares = exponents / exponents.sum()
    names = ("shape_dimensions", "texture_dimensions", "residual_dimensions")
    found = {}
    for place, name in enumerate(names):
        slopes = [shares[place] * ((place == other) - shares[other]) for other in range(2)]
        influence = slopes[0] * influences[0] + slopes[1] * influences[1]
        found[name] = Influenced(float(shares[place]), influence, sharing.stimuli)
    return found


def _correlations(products: np.ndarray, sharing: Sharing) -> Iterator[tuple[float, np.ndarray]]:
    """Yield rho of shape and of texture, and the influence of each stimulus on it.

    Args:
        products: of centred features, ``[N, N]``.
        sharing: of the same stimuli.
    """
    squares = np.diagonal(products)
    variance = squares.mean() or nan
    for shared in (sharing.shape, sharing.texture):
        partners = shared.sum(axis=1)
        pairs = partners.sum() or nan
        covariance = (products * shared).sum() / pairs
        # A stimulus acts as a member of pairs, through the mean, and through the variance.
        as_member = 2 * ((products * shared).sum(axis=1) - covariance * partners) / pairs
        by_mean = -2 * (products @ partners) / (pairs * len(products))
        by_variance = covariance * (squares - variance) / len(products)
        influence = (as_member + by_mean) / variance - by_variance / variance**2
        yield float(covariance / variance), influence
