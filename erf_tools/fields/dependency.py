"""From a network to the receptive fields of its units, by exact dependency.

Input pixels are set to NaN, and the units that become NaN are those that depend on them. That holds
for any layer without a formula for it: in arithmetic NaN spreads along every path, also along one
whose weights happen to be zero. Convolutions and linear layers, which take the most time, are
replaced by sums that spread it as they do (:mod:`erf_tools.fields.spreading`).

It needs kernels that compute a unit from its own inputs alone. Some do not: Winograd's and FFT
convolutions work on tiles of units, and oneDNN's in 16 bits multiply a neighbouring pixel by zero
where the number of channels is odd. torch takes none of these for a single channels-last image in
float32 on a CPU; elsewhere cuDNN and oneDNN are switched off, and torch's own kernels work.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from erf_tools.errors import ErfToolsError
from erf_tools.features.copies import NotCopyableError, probe_copy, random_states_kept
from erf_tools.features.dataflow import Read
from erf_tools.features.inputs import floating_type
from erf_tools.features.small_sizes import small_sizes
from erf_tools.fields.locality import mixes, named_as_mixing
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.fields.safety import UnsafeProbeError
from erf_tools.fields.search import Axis, long_strip
from erf_tools.fields.spreading import SpreadingOnly
from erf_tools.fields.strips import NaNWithoutCauseError, Strips
from erf_tools.fields.tiling import on_tiles
from erf_tools.kernels.depthwise import exact_dependency

#: What errors say that are not the network's.
_OF_MACHINE = re.compile(r"out of memory|allocate|cuda|cudnn|cublas", re.IGNORECASE)

#: Thickness of the strips networks are run on, in pixels; the image's own side comes after these.
_THICKNESSES = (8, 32, 128)


def receptive_fields(
    module: nn.Module, read: Read, size: tuple[int, int], fixed_size: bool = False
) -> list[ReceptiveField]:
    """Return the receptive fields of one or several feature maps of a network.

    Copies of the network are run, in evaluation mode, on its device and in its precision.

    Args:
        module: the network.
        read: runs a network on images ``[1, 3, h, w]`` and returns the maps ``[1, C, H, W]``.
        size: height and width of the images to be analysed, in pixels.
        fixed_size: the network takes no other size. Bounds are then not searched for.

    Returns:
        One per map, in the order of ``read``.

    Raises:
        ErfToolsError: the network cannot be copied, or not be run on such images.
    """
    with random_states_kept(), _exact_kernels(module), exact_dependency(), torch.no_grad():
        for stand_ins in (SpreadingOnly, nullcontext):
            try:
                with stand_ins():
                    return _fields(module, read, size, fixed_size)
            except NaNWithoutCauseError as error:  # the values of the stand-ins do not suit it
                reason = error
            except (UnsafeProbeError, NotCopyableError) as error:
                raise ErfToolsError(f"the network cannot be probed: {error}") from error
            except (Exception, SystemExit) as error:  # it refuses NaN, or any image
                raise ErfToolsError(f"the network cannot be probed: {error}") from error
    raise ErfToolsError(f"the network cannot be probed: {reason}")


def fields_hold(
    fields: Sequence[ReceptiveField],
    module: nn.Module,
    read: Read,
    size: tuple[int, int],
    fixed_size: bool,
) -> bool:
    """Tell whether fields found before are a network's, as far as a pass on a small image shows.

    It is for networks of an architecture that was searched, and so watched, before. A field larger
    than that image is not contradicted, nor is ``unbounded``.

    Args:
        fields: one per map, in the order of ``read``.
        module: as for :func:`receptive_fields`.
        read: as there.
        size: as there.
        fixed_size: as there; the pass is then on an image of ``size``.
    """
    exact = _exact_kernels(module)
    with random_states_kept(), exact, exact_dependency(), torch.no_grad(), SpreadingOnly():
        if not any(field.basis == "local dependency" for field in fields):
            return _fields_hold(fields, module, read, size, fixed_size, ())
        if _fields_hold(fields, module, read, size, fixed_size, named_as_mixing(module)):
            return True
        for thickness in (*_THICKNESSES, None):
            with suppress(Exception, SystemExit):
                parts = _mixing(module, read, size, thickness)
                return _fields_hold(fields, module, read, size, fixed_size, parts)
    return False


def _fields_hold(
    fields: Sequence[ReceptiveField],
    module: nn.Module,
    read: Read,
    size: tuple[int, int],
    fixed_size: bool,
    undone: Collection[str],
) -> bool:
    for shown in (size,) if fixed_size else small_sizes(size):
        try:
            network = Strips(probe_copy(module), read, shown, undone)
            spoilt, block = network.run_with_block(watch=False)
        except (Exception, SystemExit):  # networks refuse sizes and NaN in any way they like
            continue
        return len(spoilt) == len(fields) and all(
            _has_tiles(units, field, shown)
            if field.basis == "grid"
            else _is_explained(units, field, block)
            for field, units in zip(fields, spoilt, strict=True)
        )
    return False


def _has_tiles(units: np.ndarray, field: ReceptiveField, size: tuple[int, int]) -> bool:
    """Tell whether a map has as many units ``[H, W]`` as a field's tiles fit into images of a size.

    They may leave a rim, or share their last tile with it.
    """
    sides = np.subtract(field.last, field.first) + 1
    numbers = np.divide(size, field.stride)
    return bool(np.allclose(sides, field.stride) and (np.abs(units.shape - numbers) < 1).all())


@contextmanager
def _exact_kernels(module: nn.Module) -> Iterator[None]:
    """Switch off libraries whose kernels spread NaN too far; see the top of this module."""
    cudnn, onednn = torch.backends.cudnn.enabled, torch.backends.mkldnn.enabled
    try:
        torch.backends.cudnn.enabled = False
        torch.backends.mkldnn.enabled = onednn and floating_type(module).itemsize > 2  # type: ignore[assignment]
        yield
    finally:
        torch.backends.cudnn.enabled, torch.backends.mkldnn.enabled = cudnn, onednn


def _fields(
    module: nn.Module, read: Read, size: tuple[int, int], fixed_size: bool
) -> list[ReceptiveField]:
    found = None if fixed_size else _searched(module, read, size)
    fields = found or on_tiles(Strips(probe_copy(module), read, size))
    unknown = [own.basis == "grid" and not own.unbounded for own in fields]
    if found and any(unknown):
        # Windows may be all of the image at its own size, which strips do not show.
        tiles = on_tiles(Strips(probe_copy(module), read, size))
        if not mixes(module):  # then a bounded field may just be as large as the image
            tiles = [replace(own, unbounded=None if own.unbounded else False) for own in tiles]
        fields = [
            other if use else own for own, other, use in zip(fields, tiles, unknown, strict=True)
        ]
    if all(field.basis != "grid" or not field.unbounded for field in fields):
        return fields
    local = _searched(module, read, size, undone=True) or fields
    fields = [
        replace(own, unbounded=True, basis="local dependency")
        if field.basis == "grid" and field.unbounded and own.basis != "grid"
        else field
        for field, own in zip(fields, local, strict=True)
    ]
    left = [field.basis == "grid" and bool(field.unbounded) for field in fields]
    if not found or not any(left):
        return fields
    shapes = [_units(field, size) for field in fields]
    tiles = on_tiles(Strips(probe_copy(module), read, size), shapes)
    return [
        replace(other, unbounded=True) if use else own
        for own, other, use in zip(fields, tiles, left, strict=True)
    ]


def _units(field: ReceptiveField, size: tuple[int, int]) -> tuple[int, int]:
    """Return how many tiles of all of the image there are."""
    rows, columns = (round(side / step) for side, step in zip(size, field.stride, strict=True))
    return rows, columns


def _searched(
    module: nn.Module, read: Read, size: tuple[int, int], undone: bool = False
) -> list[ReceptiveField] | None:
    """Search on thicker and thicker strips, until what is found holds at the images' own size.

    Args:
        module: the network.
        read: see :func:`receptive_fields`.
        size: height and width of the images.
        undone: with the identity for what mixes all positions, by name or as seen on a strip.

    Returns:
        Tiles for maps that have no such field; ``None`` if the network takes no strips.
    """
    found = None
    but = Strips(probe_copy(module), read, size).shifting() if undone else ()
    for thickness in (*_THICKNESSES, None):
        # What a network keeps of a pass on one size must not disturb those on another.
        try:
            parts = _mixing(module, read, size, thickness, but) if undone else ()
            found = _search(Strips(probe_copy(module), read, size, parts), thickness)
        except (UnsafeProbeError, NaNWithoutCauseError, NotCopyableError):
            raise
        except (Exception, SystemExit) as error:  # networks refuse a size in any way they like
            if isinstance(error, MemoryError) or _OF_MACHINE.search(str(error)):
                raise  # at another time it may not
            continue
        found = _holding(found, Strips(probe_copy(module), read, size, parts))
        if all(found.holding):
            break
    return found.fields if found else None


def _mixing(
    module: nn.Module,
    read: Read,
    size: tuple[int, int],
    thickness: int | None,
    but: Collection[str] = (),
) -> set[str]:
    strip = thickness or size[0], long_strip(size[1])
    return Strips(probe_copy(module), read, size).mixing(*strip, but)


@dataclass(frozen=True)
class _Found:
    """What a search has found for each of M maps.

    Attributes:
        fields: their fields.
        units: ``[M, 2]``, rows and columns that follow from it at the images' own size.
        holding: ``[M]``, whether it holds there.
    """

    fields: list[ReceptiveField]
    units: np.ndarray
    holding: list[bool]


def _search(network: Strips, thickness: int | None) -> _Found:
    """Find the fields on strips of this thickness; ``None`` is the image's own side."""
    horizontal = Axis(network, 1, thickness)
    horizontal.search()
    vertical = Axis(network, 0, thickness)
    vertical.confirm(horizontal)
    if (horizontal.known & ~vertical.known).any():
        vertical = Axis(network, 0, thickness)
        vertical.search()
    reached = horizontal.reached_from_afar()
    known = horizontal.known & vertical.known
    units = np.stack([vertical.units(), horizontal.units()], axis=1)
    fields = []
    for index, unbounded in enumerate(reached | vertical.endless):
        (top, bottom), (left, right) = (axis.low[index].tolist() for axis in (vertical, horizontal))
        fields.append(
            ReceptiveField(
                (int(vertical.stride[index]), int(horizontal.stride[index])),
                (top, left),
                (bottom, right),
                bool(unbounded),
                "local dependency" if unbounded else "dependency",
            )
            if known[index]
            else ReceptiveField((1, 1), (0, 0), (0, 0), bool(unbounded), "grid")
        )
    return _Found(fields, units, [True] * len(fields))


def _holding(found: _Found, network: Strips) -> _Found:
    """Compare what was found with a pass at the images' own size.

    A network may do something else there: one whose graph or padding depends on the size. Maps for
    which it does not hold lie on tiles, as those without a field do.
    """
    fields, holding = [], []
    spoilt, block = network.run_with_block()
    for field, expected, units in zip(found.fields, found.units, spoilt, strict=True):
        holds = field.basis == "grid" or (
            units.shape == tuple(expected) and _is_explained(units, field, block)
        )
        known = holds and field.basis != "grid"
        fields.append(
            field if known else ReceptiveField.tiles(units.shape, network.size, field.unbounded)
        )
        holding.append(holds)
    return _Found(fields, found.units, holding)


def _is_explained(units: np.ndarray, field: ReceptiveField, block: Sequence[range]) -> bool:
    """Tell whether units ``[H, W]`` that became NaN with a block of pixels are those of a field."""
    touched, rims = [], []
    for axis, pixels in enumerate(block):
        places = field.stride[axis] * np.arange(units.shape[axis])
        first, last = field.first[axis] + places, field.last[axis] + places
        start, end = pixels.start, pixels.stop
        touched.append((first < end) & (last >= start))
        # Between its first and last pixel a field may have holes.
        rims.append(((start <= first) & (first < end)) | ((start <= last) & (last < end)))
    outside = ~np.logical_and.outer(*touched)
    if (units & outside).any():
        return False
    return all(
        (units.any(axis=1 - axis) | ~rim).all() or not touched[1 - axis].any()
        for axis, rim in enumerate(rims)
    )
