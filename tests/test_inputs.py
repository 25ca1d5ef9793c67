"""Which type images have to have, told by a network's weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.features.inputs import floating_type, input_like


class _Stepping(nn.Module):
    """A network that has another parameter before its weights."""

    def __init__(self, first: Tensor | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        if first is not None:
            self.step = nn.Parameter(first, requires_grad=False)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.uint8, torch.int8, torch.bool, torch.float64, torch.complex64]
)
def test_a_first_parameter_of_another_type_changes_no_map(dtype: torch.dtype) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3)).astype(np.uint8)
    images = [Image.fromarray(own) for own in pixels]
    plain, stepping = (
        effective_receptive_field(_Stepping(first), images, resolution=40)
        for first in (None, torch.ones(1).to(dtype))
    )
    np.testing.assert_array_equal(stepping.map, plain.map)
    assert stepping.receptive_field == plain.receptive_field
    assert stepping.setting["dtype"] == "float32"


def test_the_type_is_that_of_most_weights_or_of_buffers() -> None:
    module = nn.Sequential(nn.Linear(2, 2).double(), nn.Linear(8, 8))
    assert floating_type(module) is torch.float32
    assert floating_type(nn.Sequential(nn.Linear(8, 8).double(), nn.Linear(2, 2))) is torch.float64
    buffers = nn.Module()
    buffers.register_buffer("kernel", torch.ones(3, dtype=torch.float64))
    assert floating_type(buffers) is torch.float64
    assert floating_type(nn.ReLU()) is torch.float32
    assert input_like(buffers).dtype is torch.float64
    assert input_like(nn.Linear(2, 2, device="meta")).device.type == "meta"
