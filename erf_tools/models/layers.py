"""A network's layers in words, for choosing one."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from erf_tools.features.taps import Tap, find_map_layers, read_maps
from erf_tools.fields.dependency import receptive_fields
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.models.failures import explained
from erf_tools.models.loading import Model


@dataclass(frozen=True)
class Layer:
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
        rows, columns = self.field.stride
        return f"{rows:g}" if rows == columns else f"{rows:g}x{columns:g}"

    @property
    def reach(self) -> str:
        """Size of the theoretical receptive field."""
        if self.field.unbounded:
            return "unbounded"
        if self.field.size is None:
            return "differs between units"
        rows, columns = self.field.size
        return f"{rows}" if rows == columns else f"{rows}x{columns}"


def describe_layers(model: Model, pattern: str = "", resolution: int | None = None) -> list[Layer]:
    """Return the layers of a model that can be measured, in the order of their definition.

    Args:
        model: the network.
        pattern: see :func:`erf_tools.features.taps.find_map_layers`.
        resolution: side of the input; the model's own by default.

    Raises:
        UsageError: the pattern fits nothing.
    """
    side = resolution or model.preprocessing.size
    size = model.input_size or (side, side)
    images = torch.zeros(1, 3, *size)
    with explained(model.name, model.module, size), torch.no_grad():
        taps = find_map_layers(model.module, images, pattern)
        maps = read_maps(model.module, taps, images) if taps else []
    fields = receptive_fields(
        model.module,
        lambda strip: read_maps(model.module, taps, strip),
        size,
        fixed_size=model.input_size is not None,
    )
    modules = dict(model.module.named_modules())
    return [
        Layer(tap, type(modules[tap.path]).__name__, tuple(found.shape[1:]), field)
        for tap, found, field in zip(taps, maps, fields, strict=True)
    ]
