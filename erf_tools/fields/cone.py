"""The receptive-field cone: computing only what the chosen units can see, forward and backward.

Suppose that all paths from the image to a unit pass through one tensor. Then the unit depends on an
interval of that tensor's rows and columns, which follows from the receptive fields of both, and the
rest is cut off. Padding at a rim that now lies inside the image gives wrong values there. The unit
does not depend on these, and the next cut removes them: the result is the same to rounding.

Cuts are whole units of the final map (32 pixels, mostly), so that strides and the remainders on
which some paddings depend stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.features.dataflow import Dataflow, Read
from erf_tools.fields.receptive_field import ReceptiveField

Sides = tuple[int, int]


@dataclass(frozen=True)
class Cut:
    """What is cut off the input of a module, beyond what was cut off before it.

    Attributes:
        module: dotted name.
        size: rows and columns before this cut.
        before: rows and columns cut off at the top and left.
        after: rows and columns cut off at the bottom and right.
    """

    module: str
    size: Sides
    before: Sides
    after: Sides


@dataclass(frozen=True)
class Cone:
    """A plan of cuts for some units of one feature map.

    Attributes:
        cuts: in the order of the modules.
        offset: rows and columns of the feature map that are cut off at its top and left.
        share: of positions that are still computed, as a mean over the modules before which a cut
            may pay.
    """

    cuts: tuple[Cut, ...]
    offset: Sides
    share: float

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Cut while the network runs inside.

        Raises:
            ValueError: inside, when a tensor has another size than planned.
        """
        with ExitStack() as hooks:
            for cut in self.cuts:
                module = network.get_submodule(cut.module)
                hooks.enter_context(module.register_forward_pre_hook(_cropping(cut)))
            yield


def _cropping(cut: Cut) -> Callable[[nn.Module, Any], Tensor]:
    def crop(_module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        (values,) = inputs
        if tuple(values.shape[2:]) != cut.size:
            raise ValueError(f"{cut.module}: {list(values.shape)}, planned {cut.size}")
        return _Crop.apply(values, cut.before, cut.after)

    return crop


class _Crop(torch.autograd.Function):
    """Rows and columns cut off, in the memory format of the whole.

    A slice would make a gradient in torch's default format, and every kernel behind it slower. It
    is a copy, since modules that work in place would otherwise change the whole.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, before: Sides, after: Sides) -> Tensor:
        (top, left), (bottom, right) = before, after
        ctx.margins = (left, right, top, bottom)
        rows, columns = values.shape[2:]
        last = values.is_contiguous(memory_format=torch.channels_last)
        return values[:, :, top : rows - bottom, left : columns - right].clone(
            memory_format=torch.channels_last if last else torch.contiguous_format
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return F.pad(gradient, ctx.margins), None, None


def candidates(network: nn.Module, flow: Dataflow, index: int) -> list[str]:
    """Return the modules before which it may pay to cut, for one of the maps of ``flow``.

    All that is computed for the map comes from the inputs of these modules, and the modules in
    between spread information over positions: where none does, one cut is enough.
    """
    cuts = flow.cuts(index)
    names: list[str] = []
    seen: set[object] = set()
    spread = True
    for call in flow.calls:
        passed = call.source in cuts and call.result in cuts and call.source is not call.result
        if not passed or call.source in seen or len(call.shape) != 4:
            continue
        seen.add(call.source)
        if spread:
            names.append(call.name)
        spread = any(
            getattr(part, "kernel_size", 1) not in (1, (1, 1))
            for part in network.get_submodule(call.name).modules()
        )
    return names


def reading_inputs(names: Sequence[str], read: Read) -> Read:
    """Return a ``read`` that gives the inputs of these modules after what ``read`` gives."""

    def read_more(network: nn.Module, images: Tensor) -> list[Tensor]:
        found: dict[nn.Module, Tensor] = {}

        def keep(module: nn.Module, inputs: tuple[Tensor]) -> None:
            found[module] = inputs[0]

        modules = [network.get_submodule(name) for name in names]
        with ExitStack() as hooks:
            for module in modules:
                hooks.enter_context(module.register_forward_pre_hook(keep))
            maps = list(read(network, images))
        return [*maps, *(found[module] for module in modules)]

    return read_more


def plan(
    flow: Dataflow,
    inputs: Mapping[str, ReceptiveField],
    field: ReceptiveField,
    size: Sides,
    units: Sequence[Sides],
) -> Cone | None:
    """Plan the cuts for some units of one map of ``flow``.

    Args:
        flow: a pass on a small image.
        inputs: fields of the inputs of :func:`candidates`.
        field: of the map.
        size: height and width of the images to be measured.
        units: rows and columns in the map.

    Returns:
        ``None`` where the units see everything, or it is not known what they see.
    """
    if field.basis != "dependency":
        return None
    shapes = {call.name: call.shape[2:] for call in reversed(flow.calls)}
    stride = np.array(field.stride, dtype=int)
    # In pixels of the image, what the units depend on.
    first = np.array(field.first, dtype=int) + stride * np.min(units, axis=0)
    last = np.array(field.last, dtype=int) + stride * np.max(units, axis=0)
    cuts: list[Cut] = []
    shares: list[float] = []
    start = end = np.zeros(2, dtype=int)  # units of the map that are cut off by now
    for name, own in inputs.items():
        if own.basis != "dependency":
            continue
        steps = np.array(own.stride, dtype=int)
        needed_from, rest_from = np.divmod(first - np.array(own.first, dtype=int), steps)
        needed_to, rest_to = np.divmod(last - np.array(own.last, dtype=int), steps)
        grown, rest_grown = np.divmod(np.subtract(size, flow.size), steps)
        if np.any([rest_from, rest_to, rest_grown, stride % steps]):
            continue
        length, step = np.add(shapes[name], grown), stride // steps
        next_start = np.maximum(needed_from, 0) // step
        next_end = np.maximum(length - 1 - needed_to, 0) // step
        left = length - (next_start + next_end) * step
        if np.any([next_start < start, next_end < end, next_start > np.min(units, axis=0)]):
            return None
        if np.any(left < 1):  # the units see nothing but padding
            return None
        if np.any([next_start > start, next_end > end]):
            cuts.append(
                Cut(
                    name,
                    as_sides(length - (start + end) * step),
                    as_sides((next_start - start) * step),
                    as_sides((next_end - end) * step),
                )
            )
        start, end = next_start, next_end
        shares.append(float(np.prod(left / length)))
    return Cone(tuple(cuts), as_sides(start), float(np.mean(shares))) if cuts else None


def as_sides(values: np.ndarray) -> Sides:
    """Return two whole numbers of an array as Python's own."""
    rows, columns = values.tolist()
    return rows, columns
