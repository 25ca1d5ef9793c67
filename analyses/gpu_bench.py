"""What :mod:`analyses.gpu` runs on, how large it is, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from erf_tools.erf.procedure import Precision


@dataclass(frozen=True)
class Bench:
    """What is run, and how large it is.

    Attributes:
        device: the card, or the CPU in its stead.
        families: a network of each family that is compared with the CPU, with its weights.
        side: of their images.
        large: networks and sides at which the published procedure is timed.
        shapes: channels, side and kernel of depthwise layers.
        precisions: of the arithmetic.
        images: of a whole call.
        pairs: how often each comparison is timed.
        per_pair: stimuli of each pair of categories.
    """

    device: torch.device
    families: tuple[tuple[str, str], ...] = (
        ("resnet50", "random"),
        ("replknet31b", "random"),
        ("convnext_tiny", "random"),
        ("swin_t", "random"),
        ("vit_small_patch16_224", "random"),
        ("efficientnet_lite0", "pretrained"),
        ("unireplknet_t", "random"),
        ("slak_t", "random"),
        ("wtconvnext_t", "random"),
        ("van_b1", "random"),
    )
    side: int = 224
    large: tuple[tuple[str, int], ...] = (
        ("replknet31b", 1024),
        ("resnet101", 1024),
        ("swin_b", 1024),
    )
    shapes: tuple[tuple[int, int, int], ...] = (
        (128, 256, 31),
        (256, 128, 29),
        (512, 64, 27),
        (1024, 32, 13),
        (384, 64, 7),
        (384, 64, 51),
    )
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
    images: int = 50
    pairs: int = 2
    per_pair: int = 5


def small(device: torch.device) -> Bench:
    """Return what a CPU does within a minute."""
    return Bench(
        device,
        families=(("resnet18", "random"),),
        side=64,
        large=(("resnet18", 64),),
        shapes=((2, 20, 13),),
        precisions=("fp32",),
        images=4,
        pairs=1,
        per_pair=1,
    )


class Reading(NamedTuple):
    """One number: what it is, its value and unit."""

    what: str
    value: float
    unit: str


#: What a case is of, and what reads its numbers.
Case = tuple[str, Callable[[], Iterator[Reading]]]


def apart(found: np.ndarray | Tensor, expected: np.ndarray | Tensor) -> float:
    """Return the difference of two maps in norm, relative to the expected one's."""
    own, other = (torch.as_tensor(each).double() for each in (found, expected))
    return float((own - other.to(own.device)).norm() / other.norm())
