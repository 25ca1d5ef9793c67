"""A network made ready for contribution maps: its layers, and the ways to compute what they see."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.erf.passes import Pass, aligned_means
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.protocols import Protocol
from erf_tools.erf.units import Position, central_unit, unit_positions
from erf_tools.erf.ways import PLAIN, Sight, UnitValues, Way
from erf_tools.erf.witness import reaches_beyond
from erf_tools.errors import ErfToolsError
from erf_tools.features.behaviour import Behaviour
from erf_tools.features.dataflow import observe
from erf_tools.features.inputs import floating_type
from erf_tools.features.places import places
from erf_tools.features.proof import proven
from erf_tools.features.reading import read_maps
from erf_tools.features.taps import Tap
from erf_tools.fields.cone import Cone, candidates, plan, reading_inputs
from erf_tools.fields.dependency import receptive_fields
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.fields.remembered import remembered_fields
from erf_tools.kernels.folding import folded


@dataclass(frozen=True)
class Layer:
    """A layer that is measured.

    Attributes:
        tap: where it is.
        field: theoretical receptive field of its units; ``None`` if it is not known.
        cone: how to compute only what the units see, where that is less than everything.
    """

    tap: Tap
    field: ReceptiveField | None
    cone: Cone | None = None


@dataclass(frozen=True)
class Units:
    """The units of a layer that are looked from.

    Attributes:
        shape: channels, rows and columns of the layer's maps.
        field: theoretical receptive field of its units; of tiles where it is not known.
        positions: rows and columns of the units.
        shifts: rows and columns by which each unit's map is moved to the central unit's place.
        center: true centre of the central unit, in pixels.
    """

    shape: tuple[int, ...]
    field: ReceptiveField
    positions: tuple[Position, ...]
    shifts: tuple[Position, ...]
    center: tuple[float, float]

    @classmethod
    def chosen(
        cls,
        shape: tuple[int, ...],
        field: ReceptiveField | None,
        size: tuple[int, int],
        unit: str,
        upper_token: bool,
    ) -> Units:
        """Choose the units of maps of this shape, for images of this size.

        Args:
            shape: channels, rows and columns.
            field: ``None`` if it is not known.
            size: height and width of the images.
            unit: see :func:`erf_tools.erf.units.check_unit`.
            upper_token: see :func:`erf_tools.erf.units.unit_positions`.

        Raises:
            UsageError: the map has no such units.
        """
        rows, columns = shape[1:]
        field = field or ReceptiveField.tiles((rows, columns), size)
        positions = unit_positions(unit, rows, columns, upper_token)
        several = len(positions) > 1
        middle = field.center(central_unit(rows, columns) if several else positions[0])
        centers = [field.center(position) for position in positions]
        shifts = tuple((round(middle[0] - y), round(middle[1] - x)) for y, x in centers)
        return cls(shape, field, tuple(positions), shifts, middle)

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """Top, bottom, left and right of the field that the map is of: of several, the central's.

        Half-open and not cut off at the rim; ``None`` where there is no such field.
        """
        _, rows, columns = self.shape
        several = len(self.positions) > 1
        return self.field.box(central_unit(rows, columns) if several else self.positions[0])


class Contributions:
    """A network made ready for the gradients of some of its layers.

    Args:
        module: the network, in evaluation mode, its parameters frozen. It is run on what is to be
            measured only, all else on copies of it.
        taps: the layers.
        procedure: what is measured.
        size: height and width of the images.
        fixed_size: the network takes no other size.
        fast: prepare faster ways than the plain one. Whether they give the same is for the caller
            to prove; see :mod:`erf_tools.erf.ways`.
        remembered: take receptive fields from the cache, where they were found before.

    Attributes:
        network: ``module``.
        folded: the same with norms folded into weights; ``module`` where nothing is prepared.
        layers: in the order of ``taps``.
        places: of each layer in a forward pass; see :func:`erf_tools.features.places.places`.
        inputs: of each layer by its index, the fields of tensors that all it sees passes, by the
            modules that take them, in order; empty where nothing is prepared.
        size: of the images.
        units: of each layer by its index; all are known from the first plain pass on, or by
            :meth:`choose_units`.
        fastest: what was prepared.
    """

    def __init__(
        self,
        module: nn.Module,
        taps: Sequence[Tap],
        procedure: Procedure,
        size: tuple[int, int],
        fixed_size: bool,
        fast: bool,
        remembered: bool = True,
    ) -> None:
        taps = proven(module, taps, size, fixed_size)
        self.places = places(module, taps, size, fixed_size)
        self._procedure, self.size = procedure, size
        self._protocols: tuple[Protocol, ...] = (procedure.protocol,)
        self._patches = hasattr(module, "patch_embed")
        fast = fast and not fixed_size

        def read_from(network: nn.Module, images: Tensor) -> list[Tensor]:
            return read_maps(network, taps, images)

        tapped = {tap.path for tap in taps}
        self.network = module
        self.folded, flow = folded(module, read_from, size, tapped) if fast else (module, None)
        if fast and not flow:
            with suppress(ErfToolsError):
                flow = observe(self.folded, read_from, size)
        cuts = [candidates(self.folded, flow, index) if flow else [] for index in range(len(taps))]
        names = list(dict.fromkeys(chain.from_iterable(cuts)))

        def found(names: Sequence[str]) -> Sequence[ReceptiveField]:
            read = reading_inputs(names, read_from)
            if remembered:
                return remembered_fields(self.folded, read, size, fixed_size, taps, names)
            return receptive_fields(self.folded, read, size, fixed_size)

        fields: Sequence[ReceptiveField] = ()
        try:
            fields = found(names)
        except ErfToolsError:
            flow = None
            if names:  # modules that run on a small image may not on one of another size
                with suppress(ErfToolsError):
                    fields = found(())
        self.units: dict[int, Units] = {}
        self.inputs: dict[int, dict[str, ReceptiveField]] = {}
        self.layers = [Layer(*pair) for pair in zip_longest(taps, fields[: len(taps)])]
        of_inputs = dict(zip(names, fields[len(taps) :], strict=True)) if flow else {}
        for index, layer in enumerate(self.layers):
            if flow and layer.field and layer.field.basis == "dependency":
                known = self.inputs[index] = {name: of_inputs[name] for name in cuts[index]}
                stride = np.array(layer.field.stride, dtype=int)
                grown, rest = np.divmod(np.subtract(size, flow.size), stride)
                if rest.any():
                    continue
                channels, *sides = flow.maps[index].shape[1:]
                units = self._chosen(index, (channels, *(np.array(sides) + grown).tolist()))
                cone = plan(flow, known, layer.field, size, units.positions)
                self.layers[index] = dataclasses.replace(layer, cone=cone)
        cones = frozenset(index for index, layer in enumerate(self.layers) if layer.cone)
        self.fastest = Way(folded=self.folded is not module, cones=cones)

    def _chosen(self, index: int, shape: tuple[int, ...]) -> Units:
        """Return the units of a layer whose maps have this shape."""
        if index not in self.units or self.units[index].shape != shape:
            field, unit = self.layers[index].field, self._procedure.unit
            upper_token = self.upper_token(self._procedure.protocol)
            self.units[index] = Units.chosen(shape, field, self.size, unit, upper_token)
        return self.units[index]

    @torch.no_grad()
    def choose_units(self, inputs: Tensor) -> None:
        """Have the units of all layers known, by a pass without gradients.

        Args:
            inputs: normalised images ``[N, 3, height, width]``.
        """
        taps = [layer.tap for layer in self.layers]
        for index, features in enumerate(Pass(self.network, inputs).features(taps)):
            self._chosen(index, tuple(features.shape[1:]))

    @torch.no_grad()
    def values(self, inputs: Tensor) -> list[Tensor]:
        """Return the channels of each layer's units, ``[N, C, units]``, after a plain pass.

        Args:
            inputs: normalised images ``[N, 3, height, width]``.
        """
        maps = Pass(self.network, inputs).features([layer.tap for layer in self.layers])
        return [
            UnitValues.read(features, self.units[index].positions).values
            for index, features in enumerate(maps)
        ]

    def looking_from(self, unit: str) -> Contributions:
        """Return the same layers seen from other units, without cones, which are those of units.

        The search for receptive fields is not done again.
        """
        other = copy.copy(self)
        other._procedure = dataclasses.replace(self._procedure, unit=unit)
        return other._of_other_units()

    def contradicted_by(
        self, maps: Mapping[int, Sequence[np.ndarray]], coarse: bool = False
    ) -> dict[int, tuple[int, int]]:
        """Return the sizes of fields that maps reach beyond, by layer.

        Args:
            maps: of layers by their index, some ``[height, width]`` each.
            coarse: they are computed in a precision that is not that of the weights.
        """
        dtype = torch.bfloat16 if coarse else floating_type(self.network)
        rounding, found = torch.finfo(dtype).eps, {}
        for layer, own in maps.items():
            box, field = self.units[layer].box, self.units[layer].field
            size, stride = field.size, field.stride
            if box and size and any(reaches_beyond(each, box, stride, rounding) for each in own):
                found[layer] = size
        return found

    def without_fields(self, layers: Iterable[int]) -> Contributions:
        """Return the same, with the fields of these layers not known."""
        gone = frozenset(layers)
        other = copy.copy(self)
        other.fastest = dataclasses.replace(self.fastest, cones=self.fastest.cones - gone)
        other.layers = [
            Layer(layer.tap, None) if index in gone else layer
            for index, layer in enumerate(self.layers)
        ]
        other.units = {index: own for index, own in self.units.items() if index not in gone}
        return other

    def upper_token(self, protocol: Protocol) -> bool:
        """Tell whether a protocol looks from the upper left of four central tokens."""
        return protocol.upper_token and self._patches

    def under(self, protocols: Sequence[Protocol]) -> Contributions:
        """Return the same layers seen by other protocols, which share units and forward passes."""
        other = copy.copy(self)
        other._procedure = dataclasses.replace(self._procedure, protocol=protocols[0])
        other._protocols = tuple(protocols)
        before = self.upper_token(self._procedure.protocol)
        alike = self.upper_token(protocols[0]) == before
        return other if alike else other._of_other_units()

    def _of_other_units(self) -> Contributions:
        other = copy.copy(self)
        other.fastest = dataclasses.replace(self.fastest, cones=frozenset())
        other.layers = [dataclasses.replace(layer, cone=None) for layer in self.layers]
        other.units = {}
        return other

    def share(self, way: Way) -> float:
        """Return the share of all positions that is computed, of the layer with the largest."""
        cones = [
            layer.cone if index in way.cones else None for index, layer in enumerate(self.layers)
        ]
        return max(cone.share if cone else 1.0 for cone in cones)

    def maps(self, inputs: Tensor, way: Way = PLAIN) -> list[Tensor]:
        """Return maps ``[N, height, width]`` of each layer; see :meth:`look`."""
        return [sight.maps for sight in self.look(inputs, way)]

    def look(
        self,
        inputs: Tensor,
        way: Way = PLAIN,
        exact: bool = False,
        behaviour: Behaviour | None = None,
    ) -> list[Sight]:
        """Return what each layer's units see of images; maps are float64 except on MPS.

        The gradient of the sum over the batch is the gradient of each image, where they do not see
        each other.

        Args:
            inputs: normalised images ``[N, 3, height, width]``.
            way: how to compute it; one with cones is as ``folded`` as ``fastest``, and comes after
                a plain one.
            exact: in the precision of the weights, whatever the procedure's is.
            behaviour: what the network does with the images is added to it.
        """
        inputs.requires_grad_(True)
        coarse = self._procedure.precision == "bf16" and not exact
        network = self.folded if way.folded else self.network
        run = Pass(network, inputs, torch.bfloat16 if coarse else None)
        sights: dict[int, Sight] = {}
        for index in sorted(way.cones):
            cone = self.layers[index].cone
            assert cone
            with cone.applied(network):
                sights |= self._look(run, [index], cone, behaviour)
        if whole := [index for index in range(len(self.layers)) if index not in sights]:
            try:
                sights |= self._look(run, whole, None, behaviour)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                if len(whole) == 1:
                    raise
                # What a layer's gradient needs may be overwritten behind it; alone it ends there.
                for index in whole:
                    sights |= self._look(run, [index], None, behaviour)
        return [sights[index] for index in range(len(self.layers))]

    def _look(
        self, run: Pass, indices: Sequence[int], cone: Cone | None, behaviour: Behaviour | None
    ) -> dict[int, Sight]:
        """Return what some layers' units see, from one forward pass."""
        maps = run.features([self.layers[index].tap for index in indices], behaviour)
        sights = {}
        for index, features in zip(indices, maps, strict=True):
            units = self.units[index] if cone else self._chosen(index, tuple(features.shape[1:]))
            top, left = cone.offset if cone else (0, 0)
            positions = [(row - top, column - left) for row, column in units.positions]
            found = aligned_means(
                run,
                self.layers[index].tap,
                positions,
                units.shifts,
                features,
                self._protocols,
                keep_graph=index != indices[-1],
            )
            read = UnitValues.read(features, positions)
            further = found[1:] if len(found) > 1 else None
            sights[index] = Sight(read.values, read.spread, found[0], further)
        return sights
