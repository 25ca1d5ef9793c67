"""A network's layers in words, for choosing one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erf_tools.errors import ErfToolsError
from erf_tools.features.inputs import floating_type
from erf_tools.features.proof import find_map_layers
from erf_tools.features.reading import read_maps
from erf_tools.features.taps import Tap
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.fields.remembered import remembered_fields
from erf_tools.kernels.devices import copy_on_device
from erf_tools.models.failures import explained
from erf_tools.models.model import Model
from erf_tools.text import dimensions


@dataclass(frozen=True)
class MapLayer:
    """A layer whose output can be read as a map.

    Attributes:
        tap: where it is.
        kind: the class of its module.
        shape: channels, rows and columns of its map.
        field: its theoretical receptive field.
    """

    tap: Tap
    kind: str
    shape: tuple[int, ...]
    field: ReceptiveField

    @property
    def stride(self) -> str:
        """Input pixels from unit to unit."""
        return dimensions(self.field.stride, short=True)


def describe_layers(
    model: Model, pattern: str = "", resolution: int | None = None
) -> list[MapLayer]:
    """Return the layers of a model that can be measured, in the order of their definition.

    Args:
        model: the network.
        pattern: see :func:`erf_tools.features.proof.find_map_layers`.
        resolution: side of the input; the model's own by default.

    Raises:
        UsageError: the pattern fits nothing.
    """
    side = resolution or model.preprocessing.size
    size = model.input_size or (side, side)
    fixed_size = model.input_size is not None

    def read(network: nn.Module, shown: Tensor) -> list[Tensor]:
        return read_maps(network, taps, shown)

    with (
        explained(model.name, model.module, size),
        copy_on_device(model.module, torch.device("cpu")) as network,
    ):
        images = torch.zeros(1, 3, *size, dtype=floating_type(network))
        shapes = find_map_layers(network, images, pattern, fixed_size)
    taps = list(shapes)
    with copy_on_device(model.module, torch.device("cpu")) as network:
        fields: Sequence[ReceptiveField]
        try:
            fields = remembered_fields(network, read, size, fixed_size, taps)
        except ErfToolsError:
            fields = [
                ReceptiveField.tiles((rows, columns), size) for _, rows, columns in shapes.values()
            ]
    modules = dict(model.module.named_modules())
    return [
        MapLayer(tap, type(modules[tap.path]).__name__, shape, field)
        for (tap, shape), field in zip(shapes.items(), fields, strict=True)
    ]
