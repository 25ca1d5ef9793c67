"""Published ERF numbers, as facts with their standing."""

from __future__ import annotations

from dataclasses import dataclass

#: What has to stand beside the numbers wherever they are shown.
STANDING = (
    "RepLKNet paper, Table 10: 1024x1024, 50 ImageNet-val images, trained models of the 120-epoch "
    "ablation; recalled from memory, not checked against the PDF, except those marked †, which "
    "were seen in a secondary text"
)

#: The same of the maps whose measures are in ``published_maps.csv``.
MAPS_STANDING = (
    "OpenERF's maps of timm's trained networks (kmbmjn/OpenERF, results_npy, commit 196e022, MIT): "
    "1,000 ImageNet-val images, each network's own evaluation transform, protocol kim2023; only "
    "the mean maps are published, so there are no intervals"
)


@dataclass(frozen=True)
class PublishedRatios:
    """High-contribution area ratios of one model.

    Attributes:
        ratios: threshold -> ratio, both as shares.
        seen: thresholds whose ratio was seen in a text rather than recalled.
    """

    ratios: dict[float, float]
    seen: frozenset[float] = frozenset()


_SEEN_99 = frozenset({0.99})
_RESNET101 = PublishedRatios({0.2: 0.009, 0.3: 0.015, 0.5: 0.032, 0.99: 0.224}, _SEEN_99)
_RESNET152 = PublishedRatios({0.2: 0.011, 0.3: 0.018, 0.5: 0.039, 0.99: 0.344})
_REPLKNET13 = PublishedRatios({0.2: 0.112, 0.3: 0.171, 0.5: 0.302, 0.99: 0.963})
_REPLKNET31 = PublishedRatios({0.2: 0.163, 0.3: 0.247, 0.5: 0.432, 0.99: 0.986}, _SEEN_99)

#: By the catalogue's names; RepLKNet-31's stand for its architecture, whichever its training.
PUBLISHED: dict[str, PublishedRatios] = {
    "resnet101": _RESNET101,
    "resnet152": _RESNET152,
    "replknet13_120e": _REPLKNET13,
    "replknet31_120e": _REPLKNET31,
    "replknet31b": _REPLKNET31,
}
