"""What a network does with values and sizes: each way to decide, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from erf_tools.features.behaviour import Behaviour, watched


def seen(forward: Callable[[Tensor], object]) -> Behaviour:
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images.requires_grad_()
    behaviour = Behaviour()
    with watched(images, behaviour):
        forward(images)
    return behaviour


def in_place(x: Tensor) -> Tensor:
    held = torch.zeros(1, 3, 32, 32)
    held.add_(x)
    return held if held.detach().sum() > 0 else -held


DECIDING: dict[str, Callable[[Tensor], object]] = {
    "if": lambda x: x if x.mean() > 0 else 2 * x,
    "item": lambda x: x * x.detach().abs().max().item(),
    "float": lambda x: x * float(x[0, 0, 0, 0]),
    "numpy": lambda x: x * float(np.mean(x.detach().numpy())),
    "array": lambda x: x * float(np.asarray(x.detach()).mean()),
    "tolist": lambda x: x * x.flatten().tolist()[0],
    "where": lambda x: torch.where(x.mean() > 0, x, -x),
    "product with a truth value": lambda x: x * (x.mean() > 0),
    "mask": lambda x: x[x > 0],
    "masked fill": lambda x: x.masked_fill(x < x.mean(), 0),
    "topk": lambda x: x.flatten(1).topk(5).values,
    "sort": lambda x: x.flatten(1).sort().values,
    "largest channel": lambda x: F.one_hot(x.mean((2, 3)).argmax(1), 3),
    "gather": lambda x: x.gather(1, x.argmax(1, keepdim=True)),
    "nonzero": lambda x: x.flatten()[x.relu().flatten().nonzero()],
    "quantised": lambda x: (x * 10).to(torch.int32).float(),
    "in place": in_place,
}


@pytest.mark.parametrize("name", DECIDING)
def test_values_that_decide_are_seen(name: str) -> None:
    assert seen(DECIDING[name]).decisions


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: F.adaptive_max_pool2d(x, 1),
        lambda x: x.amax(1) + x.max(1).values,
        lambda x: F.gelu(x) + F.softmax(x, 1) + F.normalize(x) + F.hardswish(x),
        lambda x: F.scaled_dot_product_attention(x, x, x),
        lambda x: x.masked_fill(torch.arange(32) > 4, 0) if x.shape[2] > 8 else x,
        lambda x: x if float(torch.ones(2).sum()) > 1 else -x,
    ],
)
def test_sizes_constants_and_ordinary_layers_decide_nothing(
    forward: Callable[[Tensor], object],
) -> None:
    assert not seen(forward).decisions


@pytest.mark.parametrize(
    "name", ["resnet18", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_ordinary_networks_decide_and_stretch_nothing(name: str) -> None:
    network = timm.create_model(name, pretrained=False).eval()
    images = torch.randn(1, 3, 224, 224)
    behaviour = Behaviour()
    with torch.no_grad(), watched(images, behaviour):
        network.forward_features(images)
    assert behaviour == Behaviour()


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), False),
        (lambda x: F.interpolate(x, size=(64, 96), mode="bicubic"), False),
        (lambda x: F.interpolate(x, scale_factor=0.5, mode="nearest"), False),
        (lambda x: F.adaptive_avg_pool2d(x, 1), False),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True), True),
        (lambda x: F.interpolate(x, size=(65, 64), mode="bilinear"), True),
        (lambda x: F.interpolate(x, size=(50, 50)), True),
        (lambda x: F.interpolate(torch.ones(1, 1, 7, 7), size=x.shape[2:], mode="bicubic"), True),
        (lambda x: F.adaptive_avg_pool2d(x, 8), True),
        (lambda x: F.grid_sample(x, torch.zeros(1, 4, 4, 2), align_corners=False), True),
    ],
)
def test_what_is_stretched_to_a_size_is_seen(
    forward: Callable[[Tensor], object], expected: bool
) -> None:
    assert bool(seen(forward).stretching) == expected
