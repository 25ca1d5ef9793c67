"""Following a change through a network: computing only what it reaches of what a unit can see.

A cell of the image that is replaced changes a window of every tensor on the way to the unit, and
the unit depends on a part of each. Both follow from the receptive fields of the tensors that all
paths pass, as in :mod:`erf_tools.fields.cone`. Between two of these, a crop is computed that holds
all that the changed and needed units of the next depend on; they are put in place of those of the
image as it is, and the next crop is taken (incremental inference: Nakandala, Kumar and
Papakonstantinou 2019). The result is the same to rounding.

Crops begin at whole steps of the next tensor and leave the same remainder as the whole, on which
some paddings depend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.features.dataflow import Read
from erf_tools.fields.cone import Sides, as_sides
from erf_tools.fields.receptive_field import ReceptiveField

#: The image itself, as a tensor whose units are the pixels.
IMAGE = ""
_PIXELS = ReceptiveField((1, 1), (0, 0), (0, 0), False, "dependency")


@dataclass(frozen=True, eq=False)
class Place:
    """A tensor on the way from the image to the unit, and what each of several changes renews.

    Attributes:
        module: dotted name of the module whose input it is; :data:`IMAGE` for the image.
        step: rows and columns of it to one of the next place.
        window: rows and columns that are computed on.
        starts: first row and column of each change's window, integers ``[changes, 2]``.
        changed: first and one behind the last row, and column, that each change reaches and the
            unit needs, ``[changes, 2, 2]``.
    """

    module: str
    step: Sides
    window: Sides
    starts: np.ndarray
    changed: np.ndarray

    def renewed(self, held: Tensor, values: Tensor, origins: np.ndarray) -> Tensor:
        """Return the windows ``[changes, C, *window]``, with what has changed in them.

        Args:
            held: the tensor as it is without a change, ``[1, C, H, W]``.
            values: what is new, ``[changes, C, h, w]``, or one for all ``[1, C, h, w]``.
            origins: row and column in ``held`` of each first value, ``[changes, 2]``.
        """
        windows = torch.empty(
            (len(self.starts), held.shape[1], *self.window),
            dtype=held.dtype,
            device=held.device,
            memory_format=torch.channels_last,
        )
        each = values.expand(len(windows), *values.shape[1:])
        for window, new, start, origin, reach in zip(
            windows, each, self.starts, origins, self.changed, strict=True
        ):
            window.copy_(held[0][_part(start, start + self.window)])
            first, last = reach.T
            window[_part(first - start, last - start)] = new[_part(first - origin, last - origin)]
        return windows


def _part(first: np.ndarray, last: np.ndarray) -> tuple[slice, slice, slice]:
    (top, left), (bottom, right) = first.tolist(), last.tolist()
    return slice(None), slice(top, bottom), slice(left, right)


@dataclass(frozen=True)
class Route:
    """The way of changes to a unit.

    Attributes:
        places: in the order of the network, the image first.
        unit: row and column of the unit in the map.
    """

    places: tuple[Place, ...]
    unit: Sides

    def share(self, held: Mapping[str, Tensor]) -> float:
        """Return the share of all positions that is computed, as a mean over the places."""
        shares = [
            np.prod(place.window) / np.prod(held[place.module].shape[2:]) for place in self.places
        ]
        return float(np.mean(shares))

    def values(
        self, network: nn.Module, read: Read, held: Mapping[str, Tensor], substitute: Tensor
    ) -> Tensor:
        """Return the unit's channels after each change, ``[changes, C]``.

        Args:
            network: that the places are of.
            read: runs it and returns one map.
            held: tensors of the image as it is, by place; see :func:`holding`.
            substitute: image ``[1, 3, height, width]`` that cells are taken from.

        Raises:
            ValueError: a tensor is another than planned, or the network does not take the crops.
        """
        image, *others = self.places
        crops = image.renewed(held[IMAGE], substitute, np.zeros_like(image.starts))
        with ExitStack() as hooks:
            for before, place in zip(self.places, others, strict=False):
                renew = _renewing(before, place, held[place.module])
                module = network.get_submodule(place.module)
                hooks.enter_context(module.register_forward_pre_hook(renew))
            (features,) = read(network, crops)
        last = self.places[-1]
        rows, columns = (np.array(self.unit) - last.starts // np.array(last.step)).T
        return features[torch.arange(len(features)), :, rows.tolist(), columns.tolist()]


def _renewing(before: Place, place: Place, held: Tensor) -> Callable[[nn.Module, Any], Tensor]:
    origins = before.starts // np.array(before.step)

    def renew(_module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        (values,) = inputs
        if len(values) != len(place.starts) or values.shape[1] != held.shape[1]:
            raise ValueError(f"{place.module}: {list(values.shape)} is not what was planned")
        return place.renewed(held, values, origins)

    return renew


@contextmanager
def holding(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep copies of the inputs of modules that run inside, by the modules' names."""
    held: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def keep(_module: nn.Module, inputs: tuple[Tensor]) -> None:
            held[name] = inputs[0].detach().clone()

        return keep

    with ExitStack() as hooks:
        for name in names:
            module = network.get_submodule(name)
            hooks.enter_context(module.register_forward_pre_hook(keeping(name)))
        yield held


def whole(cells: np.ndarray, size: Sides, unit: Sides) -> Route:
    """Return the route that computes everything.

    Args:
        cells: first and one behind the last row, and column, of each cell, ``[cells, 2, 2]``.
        size: height and width of the image.
        unit: row and column in the map.
    """
    return Route((Place(IMAGE, (1, 1), size, np.zeros((len(cells), 2), int), cells),), unit)


def plan(
    inputs: Mapping[str, ReceptiveField],
    held: Mapping[str, Tensor],
    field: ReceptiveField,
    unit: Sides,
    cells: np.ndarray,
) -> Route:
    """Plan the route of changes of some cells.

    Args:
        inputs: fields of the inputs of :func:`erf_tools.fields.cone.candidates`.
        held: the tensors themselves; see :func:`holding`.
        field: of the unit's map, with a size.
        unit: row and column in the map.
        cells: see :func:`whole`; each holds pixels of the unit's field.
    """
    fields = [
        (name, own)
        for name, own in {IMAGE: _PIXELS, **inputs}.items()
        if own.basis == "dependency" and name in held
    ]
    here = np.array(unit)[None].repeat(len(cells), axis=0)
    target, following = np.stack([here, here + 1], axis=2), field
    places: list[Place] = []
    for name, own in reversed(fields):
        step, rest = np.divmod(np.array(following.stride, int), np.array(own.stride, int))
        offsets = _offsets(own, following)
        if rest.any() or offsets is None:
            continue
        lengths = np.array(held[name].shape[2:])
        needed = np.clip(target * step[:, None] + offsets, 0, lengths[:, None])
        first = needed[..., 0] // step * step
        window = (needed[..., 1] - first).max(axis=0)
        window = np.minimum(window + (lengths - window) % step, lengths)
        starts = np.minimum(first, lengths - window)
        target, following = _reached(own, cells, needed), own
        places.append(Place(name, as_sides(step), as_sides(window), starts, target))
    return Route(tuple(reversed(places)), unit)


def _offsets(own: ReceptiveField, following: ReceptiveField) -> np.ndarray | None:
    """Return how far what a unit of the next tensor depends on begins and ends from its own place.

    In units of this tensor, ``[2, 2]``, such that ``step`` units are added for the next; ``None``
    where it is no whole number of units.
    """
    steps = np.array(own.stride, int)
    before, rest_before = np.divmod(np.subtract(following.first, own.first).astype(int), steps)
    after, rest_after = np.divmod(np.subtract(following.last, own.last).astype(int), steps)
    if rest_before.any() or rest_after.any():
        return None
    # One behind the last unit: of the last target, not of the one behind it.
    behind = after + 1 - np.array(following.stride, int) // steps
    return np.stack([before, behind], axis=1)


def _reached(own: ReceptiveField, cells: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Return what each cell reaches of the units that are needed; of none, an empty range."""
    steps = np.array(own.stride, int)
    first = -((np.array(own.last, int) - cells[..., 0]) // steps)
    behind = (cells[..., 1] - 1 - np.array(own.first, int)) // steps + 1
    first = np.clip(first, needed[..., 0], needed[..., 1] - 1)
    return np.stack([first, np.clip(behind, first, needed[..., 1])], axis=2)
