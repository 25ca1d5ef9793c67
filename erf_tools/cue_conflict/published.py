"""Published decisions as counts: humans and seven networks, for figures without any download."""

from __future__ import annotations

from functools import cache
from importlib import resources

import pandas as pd

from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.cue_conflict.measures import ConflictCounts

#: What has to stand beside the rows wherever they are shown.
SOURCE = (
    "counted from the raw data published with Geirhos et al., ICLR 2019 "
    "(rgeirhos/texture-vs-shape); the networks' decisions predate the mean aggregation"
)

#: Mean error consistency (kappa) among the ten observers, and of each network with them, from the
#: same raw data; kappa needs single decisions, which the counts do not have.
KAPPA = {
    "humans": 0.331,
    "alexnet": 0.078,
    "vgg16": 0.040,
    "squeezenet1_1": 0.058,
    "densenet121": 0.064,
    "resnet50": 0.067,
    "resnet101": 0.070,
    "resnet152": 0.082,
}

_NAMES = {
    "humans": "humans (published)",
    "alexnet": "AlexNet (published)",
    "vgg16": "VGG-16 (published)",
    "squeezenet1_1": "SqueezeNet 1.1 (published)",
    "densenet121": "DenseNet-121 (published)",
    "resnet50": "ResNet-50 (published)",
    "resnet101": "ResNet-101 (published)",
    "resnet152": "ResNet-152 (published)",
}


@cache
def published_counts() -> dict[str, ConflictCounts]:
    """Return counts by decision maker: ``humans`` (ten, pooled) first, then the networks."""
    by_category, by_texture = (
        pd.read_csv(str(resources.files("erf_tools.cue_conflict") / f"published_by_{kind}.csv"))
        for kind in ("category", "texture")
    )
    return {
        name: ConflictCounts(
            group.set_index("category")[["shape", "texture", "total"]].reindex(list(CATEGORIES)),
            by_texture[by_texture["decision_maker"] == name]
            .set_index("texture_image")[["shape", "texture"]]
            .sort_index(),
        )
        for name, group in by_category.groupby("decision_maker", sort=False)
    }


def published_name(name: str) -> str:
    """Return a published decision maker's name in full."""
    return _NAMES[name]
