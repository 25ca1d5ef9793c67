"""Published decisions as counts: humans and networks, for figures without any download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import pandas as pd

from erf_tools.cue_conflict.measures import ConflictCounts
from erf_tools.statistics import Estimate


@dataclass(frozen=True)
class PublishedRow:
    """A decision maker of which counts come with the package.

    Attributes:
        name: in full.
        kappa: mean error consistency with the ten published observers (among them, for humans) and
            its interval, from single decisions, which the counts do not have.
        observers: whose decisions are pooled.
    """

    name: str
    kappa: Estimate
    observers: int = 1


@dataclass(frozen=True, eq=False)
class Publication:
    """Where counts were published.

    Attributes:
        file: of the package; a column of shape and one of texture decisions per row.
        source: what has to stand beside the rows wherever they are shown, licence included.
        rows: by their name in the file.
    """

    file: str
    source: str
    rows: Mapping[str, PublishedRow]


HUMANS = "humans"

PUBLICATIONS = (
    Publication(
        "published_counts.csv",
        "counted from the raw data published with Geirhos et al., ICLR 2019 "
        "(rgeirhos/texture-vs-shape); the networks' decisions predate the mean "
        "aggregation",
        {
            HUMANS: PublishedRow("humans (published)", Estimate(0.331, 0.283, 0.378), 10),
            "alexnet": PublishedRow("AlexNet (published)", Estimate(0.078, 0.052, 0.101)),
            "vgg16": PublishedRow("VGG-16 (published)", Estimate(0.040, 0.024, 0.055)),
            "squeezenet1_1": PublishedRow(
                "SqueezeNet 1.1 (published)", Estimate(0.058, 0.041, 0.073)
            ),
            "densenet121": PublishedRow("DenseNet-121 (published)", Estimate(0.064, 0.043, 0.082)),
            "resnet50": PublishedRow("ResNet-50 (published)", Estimate(0.067, 0.044, 0.089)),
            "resnet101": PublishedRow("ResNet-101 (published)", Estimate(0.070, 0.046, 0.092)),
            "resnet152": PublishedRow("ResNet-152 (published)", Estimate(0.082, 0.056, 0.106)),
        },
    ),
    Publication(
        "published_counts_2025.csv",
        "counted from the raw data published with Gavrikov et al., ICLR 2025 "
        "(paulgavrikov/vlm_shapebias), and like them under CC BY-SA 4.0; CLIP ResNet-50 with the "
        'prompt "{}", ViT-L/14 with the eighty of the CLIP paper',
        {
            "resnet50": PublishedRow(
                "ResNet-50 of timm (published 2025)", Estimate(0.073, 0.049, 0.096)
            ),
            "vit_base_patch16_224.orig_in21k_ft_in1k": PublishedRow(
                "ViT-B/16 of timm (published 2025)", Estimate(0.140, 0.104, 0.173)
            ),
            "clip_RN50_openai_CLS": PublishedRow(
                "CLIP ResNet-50 (published 2025)", Estimate(0.063, 0.040, 0.085)
            ),
            "ViT_L_14_openai_None": PublishedRow(
                "CLIP ViT-L/14 (published 2025)", Estimate(0.219, 0.169, 0.267)
            ),
        },
    ),
)


@cache
def published_counts(publication: Publication) -> dict[str, ConflictCounts]:
    """Return the counts of a publication by name of its rows."""
    file = resources.files("erf_tools.cue_conflict") / publication.file
    table = pd.read_csv(str(file), index_col="stimulus")
    return {
        name: ConflictCounts(
            pd.DataFrame(
                {
                    "category": table["category"],
                    "shape": table[f"{name} shape"],
                    "texture": table[f"{name} texture"],
                    "total": row.observers,
                }
            )
        )
        for name, row in publication.rows.items()
    }
