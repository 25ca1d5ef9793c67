"""Published decisions as counts: humans and seven networks, for figures without any download."""

from __future__ import annotations

from functools import cache
from importlib import resources

import pandas as pd

from erf_tools.cue_conflict.measures import ConflictCounts

#: What has to stand beside the rows wherever they are shown.
SOURCE = (
    "counted from the raw data published with Geirhos et al., ICLR 2019 "
    "(rgeirhos/texture-vs-shape); the networks' decisions predate the mean aggregation"
)

#: Mean error consistency (kappa) among the ten observers, and of each network with them, with both
#: ends of its interval, from the same raw data; kappa needs single decisions, which the counts do
#: not have.
KAPPA = {
    "humans": (0.331, 0.284, 0.378),
    "alexnet": (0.078, 0.054, 0.101),
    "vgg16": (0.040, 0.026, 0.055),
    "squeezenet1_1": (0.058, 0.042, 0.074),
    "densenet121": (0.064, 0.044, 0.083),
    "resnet50": (0.067, 0.046, 0.089),
    "resnet101": (0.070, 0.047, 0.092),
    "resnet152": (0.082, 0.057, 0.107),
}

#: Observers whose decisions are pooled in the counts of humans.
_OBSERVERS = 10

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
    file = resources.files("erf_tools.cue_conflict") / "published_counts.csv"
    table = pd.read_csv(str(file), index_col="stimulus")
    return {
        name: ConflictCounts(
            pd.DataFrame(
                {
                    "category": table["category"],
                    "shape": table[f"{name} shape"],
                    "texture": table[f"{name} texture"],
                    "total": _OBSERVERS if name == "humans" else 1,
                }
            )
        )
        for name in _NAMES
    }


def published_name(name: str) -> str:
    """Return a published decision maker's name in full."""
    return _NAMES[name]
