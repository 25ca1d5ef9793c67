"""Contribution maps: gradients of units with respect to a batch of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import nan

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.erf.procedure import Procedure
from erf_tools.erf.protocols import Protocol
from erf_tools.erf.units import Position, central_unit, unit_positions
from erf_tools.errors import ErfToolsError
from erf_tools.features.copies import random_states_kept
from erf_tools.features.dataflow import observe
from erf_tools.features.proof import proven
from erf_tools.features.reading import read_maps
from erf_tools.features.taps import Tap
from erf_tools.fields.cone import Cone, candidates, plan, reading_inputs
from erf_tools.fields.dependency import receptive_fields
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.kernels.folding import folded

#: Largest difference that rounding makes of a unit's values, relative in norm.
_ROUNDING = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 1e-1}


@dataclass
class Layer:
    """A layer with the units that are looked from.

    Attributes:
        tap: where it is.
        field: theoretical receptive field of its units; ``None`` if it is not known, until the
            first pass.
        cone: how to compute only what the units see, where that is less than everything.
        shape: channels, rows and columns; empty until the first pass, as is what follows.
        positions: of the units.
        shifts: rows and columns by which each unit's map is moved to the central unit's place.
        centre: true centre of the central unit, in pixels.
    """

    tap: Tap
    field: ReceptiveField | None
    cone: Cone | None = None
    shape: tuple[int, ...] = ()
    positions: list[Position] = dataclasses.field(default_factory=list)
    shifts: list[Position] = dataclasses.field(default_factory=list)
    centre: tuple[float, float] = (nan, nan)

    def settle(
        self, shape: tuple[int, ...], size: tuple[int, int], unit: str, upper_token: bool
    ) -> None:
        """Choose the units of a map of this shape, of images of this size."""
        rows, columns = shape[1:]
        field = self.field = self.field or ReceptiveField.tiles((rows, columns), size)
        positions = unit_positions(unit, rows, columns, upper_token)
        several = len(positions) > 1
        middle = field.centre(central_unit(rows, columns) if several else positions[0])
        centres = [field.centre(position) for position in positions]
        self.shifts = [(round(middle[0] - y), round(middle[1] - x)) for y, x in centres]
        self.positions, self.centre, self.shape = positions, middle, shape


class Contributions:
    """A network made ready for the gradients of some of its layers.

    Args:
        module: the network, in evaluation mode, its parameters frozen. It is run on what is to be
            measured only, all else on copies of it.
        taps: the layers.
        procedure: what is measured.
        size: height and width of the images.
        fixed_size: the network takes no other size.
        fast: fold what can be folded, and compute only what units see; the result is the same to
            rounding.

    Attributes:
        network: ``module``, or a folded copy.
        folded: which of the two.
        layers: in the order of ``taps``.
    """

    def __init__(
        self,
        module: nn.Module,
        taps: Sequence[Tap],
        procedure: Procedure,
        size: tuple[int, int],
        fixed_size: bool,
        fast: bool,
    ) -> None:
        taps = proven(module, taps, size, fixed_size)
        self._procedure, self._size = procedure, size
        self._upper_token = procedure.protocol.upper_token and hasattr(module, "patch_embed")
        fast = fast and not fixed_size

        def read_from(network: nn.Module, images: Tensor) -> list[Tensor]:
            return read_maps(network, taps, images)

        tapped = {tap.path for tap in taps}
        self.network = network = folded(module, read_from, size, tapped) if fast else module
        self.folded = network is not module

        try:
            flow = observe(network, read_from, size) if fast else None
        except ErfToolsError:
            flow = None
        cuts = [candidates(network, flow, index) if flow else [] for index in range(len(taps))]
        names = list(dict.fromkeys(chain.from_iterable(cuts)))
        try:
            fields = receptive_fields(network, reading_inputs(names, read_from), size, fixed_size)
        except ErfToolsError:
            self.layers = [Layer(tap, None) for tap in taps]
            return
        of_inputs = dict(zip(names, fields[len(taps) :], strict=True))
        self.layers = [Layer(tap, field) for tap, field in zip(taps, fields, strict=False)]
        if flow is None:
            return
        for index, layer in enumerate(self.layers):
            if layer.field and layer.field.basis == "dependency":
                stride = np.array(layer.field.stride, dtype=int)
                grown, rest = np.divmod(np.subtract(size, flow.size), stride)
                if rest.any():
                    continue
                rows, columns = (np.array(flow.maps[index].shape[2:]) + grown).tolist()
                units = unit_positions(procedure.unit, rows, columns, self._upper_token)
                known = {name: of_inputs[name] for name in cuts[index]}
                layer.cone = plan(flow, known, layer.field, size, units)

    def look_from(self, unit: str) -> None:
        """Choose other units of the same layers, without the search for receptive fields.

        Cones are those of the first units: from now on everything is computed.

        Raises:
            UsageError: see :func:`erf_tools.erf.units.check_unit`.
        """
        self._procedure = dataclasses.replace(self._procedure, unit=unit)
        for layer in self.layers:
            layer.cone, layer.shape = None, ()

    def maps(self, inputs: Tensor) -> list[Tensor]:
        """Return maps ``[N, height, width]`` for each layer, float64 except on MPS.

        In evaluation mode images do not see each other, so the gradient of the sum over the batch
        is the gradient of each image.

        Args:
            inputs: normalised images ``[N, 3, height, width]``.
        """
        for layer in self.layers:
            if layer.cone and not layer.shape and not self._holds(layer, layer.cone, inputs[:1]):
                layer.cone = None
        inputs.requires_grad_(True)
        maps: dict[int, Tensor] = {}
        for index, layer in enumerate(self.layers):
            if layer.cone:
                with layer.cone.applied(self.network):
                    maps |= self._maps([index], inputs)
        if together := [index for index in range(len(self.layers)) if index not in maps]:
            maps |= self._maps(together, inputs)
        return [maps[index] for index in range(len(self.layers))]

    def _maps(self, indices: Sequence[int], inputs: Tensor) -> dict[int, Tensor]:
        """Return the maps of some layers from one forward pass."""
        layers = [self.layers[index] for index in indices]
        features = self._features(layers, inputs)
        for layer, feature_map in zip(layers, features, strict=True):
            if not layer.shape:
                self._settle(layer, feature_map)
        protocol = self._procedure.protocol
        return {
            index: _aligned_mean(layer, feature_map, protocol, inputs, layer is layers[-1])
            for index, layer, feature_map in zip(indices, layers, features, strict=True)
        }

    def _features(self, layers: Sequence[Layer], inputs: Tensor) -> list[Tensor]:
        bf16 = self._procedure.precision == "bf16"
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=bf16):
            return read_maps(self.network, [layer.tap for layer in layers], inputs)

    def _settle(self, layer: Layer, features: Tensor) -> None:
        layer.settle(tuple(features.shape[1:]), self._size, self._procedure.unit, self._upper_token)

    @torch.no_grad()
    @random_states_kept()
    def _holds(self, layer: Layer, cone: Cone, image: Tensor) -> bool:
        """Tell whether the units have the same values inside the cone, for one image.

        They do not in a network that tells its units where they are in the image (coordinates as
        channels, position tables stretched to the map): dependency on pixels does not show that.
        """
        (plain,) = self._features([layer], image)
        self._settle(layer, plain)
        rows, columns = np.array(layer.positions).T
        try:
            with cone.applied(self.network):
                (inside,) = self._features([layer], image)
            found = inside[:, :, rows - cone.offset[0], columns - cone.offset[1]]
        except Exception:  # a position table of another size, or a map other than foreseen
            return False
        expected = plain[:, :, rows, columns]
        tolerance = _ROUNDING[self._procedure.precision]
        return bool((found - expected).norm() <= tolerance * expected.norm())


def _aligned_mean(
    layer: Layer, features: Tensor, protocol: Protocol, inputs: Tensor, last: bool
) -> Tensor:
    """Return the mean over the layer's units of their maps, shifted to the central unit's place.

    A pixel counts the units from which the image reaches that far. The graph is freed with the last
    gradient of the ``last`` layer.
    """
    total, covered = None, None
    top, left = layer.cone.offset if layer.cone else (0, 0)
    for (row, column), shift in zip(layer.positions, layer.shifts, strict=True):
        unit = features[:, :, row - top, column - left]
        channels = unit.relu() if protocol.scalar == "relu-sum" else unit
        scalar = channels.mean(dim=1).sum() if protocol.scalar == "mean" else channels.sum()
        retain = not (last and (row, column) == layer.positions[-1])
        (gradient,) = torch.autograd.grad(scalar, inputs, retain_graph=retain)
        contribution = _reduced(gradient, protocol)
        if len(layer.positions) == 1:
            return contribution
        if total is None or covered is None:
            total = torch.zeros_like(contribution)
            covered = torch.zeros_like(contribution[0])
        source, place = _overlap(shift, tuple(contribution.shape[-2:]))
        total[:, place[0], place[1]] += contribution[:, source[0], source[1]]
        covered[place] += 1
    assert total is not None
    assert covered is not None
    return total / covered


def _reduced(gradient: Tensor, protocol: Protocol) -> Tensor:
    """Return maps ``[N, height, width]`` of gradients ``[N, 3, height, width]``."""
    # MPS has no float64; there the sum over RGB is in float32 and the rest on the CPU.
    wide = torch.float32 if gradient.device.type == "mps" else torch.float64
    if protocol.rgb == "mean":
        return _rectified(gradient.mean(dim=1, dtype=wide), protocol)
    return _rectified(gradient, protocol).sum(dim=1, dtype=wide)


def _rectified(values: Tensor, protocol: Protocol) -> Tensor:
    if protocol.gradient == "relu":
        return values.relu()
    return values.abs() if protocol.gradient == "abs" else values


def _overlap(
    shift: Position, size: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a shifted map is read and where it is put, so that both lie inside."""
    source, place = zip(
        *(
            (slice(max(-by, 0), length - max(by, 0)), slice(max(by, 0), length - max(-by, 0)))
            for by, length in zip(shift, size, strict=True)
        ),
        strict=True,
    )
    return source, place
