"""Replacing cells of images and recording what becomes of a unit.

Faster ways (norms folded, only what a change reaches, many cells at once) have to give what each
changed image by itself gives, on some cells of the first image; else a slower way is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erf_tools.erf.contributions import Contributions
from erf_tools.erf.passes import Pass, reduced, terms, unit_gradient
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.ways import PLAIN, UnitValues, Way, values_differ
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.copies import random_states_kept
from erf_tools.features.inputs import input_like
from erf_tools.features.state import State
from erf_tools.fields.changes import IMAGE, Route, holding, plan, whole
from erf_tools.kernels.devices import normalise, tf32_allowed
from erf_tools.models.model import Model
from erf_tools.perturbation.cells import Grid
from erf_tools.perturbation.choices import Checking
from erf_tools.perturbation.replacements import substitute
from erf_tools.perturbation.result import STEPS, ImageCheck

#: Random directions of the check of linearity.
_DIRECTIONS = 4

#: Pixels computed at once, by kind of device, and the most cells.
_PIXELS, _MOST_CELLS = {"cuda": 2**24}, 256
_PIXELS_ELSEWHERE = 2**19

#: Cells by which ways are proven, and how many times the change by nothing counts as nothing.
_PROOFS, _NOTHING = 3, 2.0

#: Share of all positions above which following the change saves too little.
_PAYS = 0.8


def check_choices(procedure: Procedure, checking: Checking, images: int) -> None:
    """See that a procedure can be checked over so many images.

    Raises:
        UsageError: it cannot.
    """
    if procedure.unit.startswith("grid"):
        raise UsageError(
            f"--check is of one unit, and --unit is {procedure.unit}; take center or ROW,COLUMN"
        )
    if procedure.protocol.gradient == "signed":
        raise UsageError(
            f"--check compares the maps of single images, which {procedure.protocol.name} adds up "
            "with their sign; take another --protocol, or --gradient abs"
        )
    if procedure.protocol.transform == "noise":
        raise UsageError(
            f"--check replaces cells of images, and {procedure.protocol.name} measures on noise; "
            "take another --protocol or --transform"
        )
    if "other" in checking.replacement and images < 2:
        raise UsageError(
            "--replacement other takes cells of another image, and there is one; raise "
            "--num-images, or name --replacement mean or blur"
        )


class CheckableNetwork:
    """A network of which one unit is checked, image by image.

    Args:
        model: the network, with its preprocessing.
        contributions: the same, ready, with one layer.
        procedure: what is measured.
        checking: how it is checked.
        seed: of the random directions.

    Raises:
        UsageError: there are fewer pixels than cells.
    """

    def __init__(
        self,
        model: Model,
        contributions: Contributions,
        procedure: Procedure,
        checking: Checking,
        seed: int = 0,
    ) -> None:
        self._model, self._contributions = model, contributions
        self._procedure, self._checking, self._seed = procedure, checking, seed
        like = input_like(contributions.network)
        self._dtype, self._device = like.dtype, like.device
        self.grid = Grid.of(contributions.size, checking.cells)
        prepared = contributions.folded is not contributions.network
        inputs = contributions.inputs.get(0)
        #: Ways, the fastest first.
        self._ways = [
            *([Way(True, frozenset({0}), True)] if inputs else []),
            *([Way(True, together=True)] if prepared else []),
            Way(together=True),
            PLAIN,
        ]
        self._plans: dict[tuple[Way, int], Route] = {}
        self._batch: int | None = None

    @property
    def way(self) -> Way:
        """How it is computed now."""
        return self._ways[0]

    @cached_property
    def _unit(self) -> tuple[int, int]:
        return self._contributions.units[0].positions[0]

    @cached_property
    def reached(self) -> np.ndarray:
        """Which cells have a pixel in the unit's theoretical field, ``[rows, columns]``."""
        return self.grid.reached(self._contributions.units[0].field.box(self._unit))

    @cached_property
    def _cells(self) -> np.ndarray:
        return self.grid.ranges(self.reached)

    def plainly(self) -> None:
        """Compute each changed image by itself, as the network is."""
        self._ways = [PLAIN]

    @random_states_kept()
    def begin(self, pixels: np.ndarray, other: np.ndarray) -> None:
        """See on a first image that the network can be checked, and how.

        Args:
            pixels: uint8 ``[height, width, 3]``.
            other: another image, or the same.

        Raises:
            ErfToolsError: passes change it, or give something else each time, or the unit changes
                with pixels that its theoretical field does not hold.
        """
        image = self._image(pixels)
        self._contributions.maps(image.clone())  # what the first pass makes is no change
        settled = State(self._contributions.network, weights=False)
        first, again = (self._plain_values(image) for _ in range(2))
        if settled.moved():
            raise ErfToolsError(
                f"{self._model.name} cannot be checked: each image changes what the network holds"
            )
        if values_differ(again, first):
            raise ErfToolsError(
                f"{self._model.name} cannot be checked: it gives other values for the same image "
                "each time"
            )
        fill = self._image(pixels[::-1, ::-1].copy() if pixels is other else other)
        self._check_outside(image, fill, first)
        chosen = self._proofs(pixels)
        plain = [
            self._plain_values(self._replaced(image, fill, self._cells[place])) for place in chosen
        ]
        if not any(values_differ(own, first) for own in plain):
            self.plainly()  # what changes nothing proves nothing
        while self.way != PLAIN and not self._proven(image, fill, chosen, plain):
            del self._ways[0]

    def check(
        self,
        pixels: np.ndarray,
        other: np.ndarray,
        done: Callable[[int], object] = lambda cells: None,
    ) -> ImageCheck:
        """Check the unit on one image, after :meth:`begin`.

        Args:
            pixels: uint8 ``[height, width, 3]``.
            other: another image of this size.
            done: is told how many cells have been replaced, again and again.
        """
        with tf32_allowed(False), random_states_kept():
            gradient = self._gradient(pixels)
            protocol = self._procedure.protocol
            contribution = reduced(gradient, protocol)[0].cpu().numpy().astype(np.float64)
            slope = gradient[0].cpu().numpy().astype(np.float64)
            with torch.no_grad():
                changes = self._changes(pixels, other, slope, done)
                actual, expected = self._steps(pixels, slope)
        change, norm, predicted = changes
        sums = self.grid.sums(contribution)[None]
        return ImageCheck(sums, change, norm, predicted, actual, expected)

    def _changes(
        self,
        pixels: np.ndarray,
        other: np.ndarray,
        slope: np.ndarray,
        done: Callable[[int], object],
    ) -> list[np.ndarray]:
        """Return changes, norms and what is predicted, each ``[1, R, rows, columns]``."""
        image = self._image(pixels)
        held, base = self._held(image)
        sizes = [self._sizes(values, base) for values in self._replacing(held, image, few=True)]
        nothing = _NOTHING * torch.cat(sizes).amax(dim=0)
        replacements = self._checking.replacement
        found = np.zeros((3, len(replacements), *self.grid.shape))
        for place, replacement in enumerate(replacements):
            filled = substitute(replacement, pixels, other, self.grid.side)
            fill = self._image(filled)
            sizes = []
            for values in self._replacing(held, fill):
                sizes.append(self._sizes(values, base))
                done(len(values))
            changes = torch.cat(sizes)
            changes[changes <= nothing] = 0
            found[:2, place, self.reached] = changes.T.cpu().numpy()
            step = (fill - image)[0].cpu().numpy().astype(np.float64)
            found[2, place] = np.abs(self.grid.sums((slope * step).sum(axis=0)))
        return list(found[:, None])

    def _sizes(self, values: Tensor, base: Tensor) -> Tensor:
        """Return the sizes of changes, of the scalar and in norm, ``[cells, 2]``."""
        values, base = _wide(values), _wide(base)
        scalar = self._change(values, base).abs()
        return torch.stack([scalar, (values - base).norm(dim=1)], dim=1)

    def _change(self, values: Tensor, base: Tensor) -> Tensor:
        """Return the change of the scalar ``[N]`` between channels of the unit ``[N, C]``."""
        protocol = self._procedure.protocol
        return (terms(_wide(values), protocol) - terms(_wide(base), protocol)).sum(dim=1)

    def _replacing(
        self, held: dict[str, Tensor], fill: Tensor, few: bool = False
    ) -> Iterator[Tensor]:
        """Yield the unit's channels with cells replaced, batch by batch, ``[cells, C]``."""
        start = len(self._cells) // 2 if few else 0
        while start < len(self._cells):
            count = self._together(held)
            try:
                values = self._values(held, fill, start, count)
            except torch.OutOfMemoryError:
                if count == 1:
                    raise
                self._batch, self._plans = count // 2, {}
                continue
            yield values
            if few:
                return
            start += len(values)

    def _values(self, held: dict[str, Tensor], fill: Tensor, start: int, count: int) -> Tensor:
        key = (self.way, start)
        if key not in self._plans:
            self._plans[key] = self._planned(held, self._cells[start : start + count])
        return self._plans[key].values(self._network, self._read, held, fill)

    def _planned(self, held: dict[str, Tensor], cells: np.ndarray) -> Route:
        field = self._contributions.layers[0].field
        if not self.way.cones or field is None:
            return whole(cells, self._contributions.size, self._unit)
        return plan(self._contributions.inputs[0], held, field, self._unit, cells)

    def _together(self, held: dict[str, Tensor]) -> int:
        """Return how many cells to replace at once."""
        if not self.way.together:
            return 1
        if self._batch is None:
            height, width = self._contributions.size
            share = self._planned(held, self._cells).share(held)
            pixels = _PIXELS.get(self._device.type, _PIXELS_ELSEWHERE)
            self._batch = int(np.clip(pixels / (height * width * share), 1, _MOST_CELLS))
        return self._batch

    def _held(self, image: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return what the network makes of an image: tensors on the way, the unit ``[1, C]``."""
        names = list(self._contributions.inputs[0]) if self.way.cones else []
        with holding(self._network, names) as held:
            (features,) = self._read(self._network, image)
        held[IMAGE] = image
        row, column = self._unit
        return held, features[:, :, row, column]

    def _proven(
        self, image: Tensor, fill: Tensor, chosen: np.ndarray, plain: list[UnitValues]
    ) -> bool:
        """Tell whether the present way pays, and gives what changed images by themselves give."""
        # A tensor may have another size than foreseen; or the network takes one image at a time.
        with suppress(RuntimeError, ValueError, IndexError, AssertionError), torch.no_grad():
            held, _ = self._held(image)
            route = self._planned(held, self._cells[chosen])
            if self.way.cones and route.share(held) > _PAYS:
                return False
            values = route.values(self._network, self._read, held, fill)
            return not any(
                values_differ(UnitValues(own[None, :, None], one.spread), one)
                for own, one in zip(values, plain, strict=True)
            )
        return False

    def _proofs(self, pixels: np.ndarray) -> np.ndarray:
        """Return the places of cells that prove a way: the strongest, and weaker ones."""
        gradient = reduced(self._gradient(pixels), self._procedure.protocol)[0].cpu().numpy()
        strength = self.grid.sums(gradient.astype(np.float64))[self.reached]
        strongest = np.argsort(-strength, kind="stable")[: max(np.count_nonzero(strength), 1)]
        return np.unique(strongest[np.arange(_PROOFS) * len(strongest) // _PROOFS])

    def _check_outside(self, image: Tensor, fill: Tensor, first: UnitValues) -> None:
        box = self._contributions.units[0].field.box(self._unit)
        if box is None:
            return
        top, bottom, left, right = (max(side, 0) for side in box)
        outside = fill.clone()
        outside[:, :, top:bottom, left:right] = image[:, :, top:bottom, left:right]
        if values_differ(self._plain_values(outside), first):
            raise ErfToolsError(
                f"{self._model.name} cannot be checked: the unit changes with pixels outside of "
                "its theoretical receptive field, which is not right for this network"
            )

    @torch.no_grad()
    def _plain_values(self, image: Tensor) -> UnitValues:
        """Return the unit of one image, as the network is."""
        (features,) = self._read(self._contributions.network, image)
        return UnitValues.read(features, [self._unit])

    @staticmethod
    def _replaced(image: Tensor, fill: Tensor, cell: np.ndarray) -> Tensor:
        (top, bottom), (left, right) = cell.tolist()
        replaced = image.clone()
        replaced[:, :, top:bottom, left:right] = fill[:, :, top:bottom, left:right]
        return replaced

    def _gradient(self, pixels: np.ndarray) -> Tensor:
        """Return the unit's gradient ``[1, 3, height, width]``."""
        tap = self._contributions.layers[0].tap
        run = Pass(self._contributions.network, self._image(pixels).requires_grad_())
        (features,) = run.features([tap])
        return unit_gradient(run, tap, self._unit, features, self._procedure.protocol)

    def _steps(self, pixels: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return changes of the scalar by steps, and what is predicted, ``[1, steps, directions]``.

        A direction is +1 or -1 in each cell and colour, by chance that depends on the image.
        """
        digest = hashlib.sha256(pixels.tobytes()).digest()
        draw = np.random.default_rng([self._seed, int.from_bytes(digest[:8], "big")])
        signs = draw.choice([-1.0, 1.0], (_DIRECTIONS, 3, *self.grid.shape))
        # In the units that the network sees, for a step of the whole range.
        directions = (
            self.grid.spread(signs) / np.array(self._model.preprocessing.std)[:, None, None]
        )
        predicted = (slope * directions).sum(axis=(1, 2, 3))
        image = self._image(pixels)
        base = self._plain_values(image).values[:, :, 0]
        actual = np.zeros((len(STEPS), _DIRECTIONS))
        for place, step in enumerate(STEPS):
            for number, direction in enumerate(directions):
                added = torch.from_numpy(step * direction).to(image.dtype).to(image.device)
                values = self._plain_values(image + added).values[:, :, 0]
                actual[place, number] = float(self._change(values, base))
        return actual[None], (np.array(STEPS)[:, None] * predicted)[None]

    @property
    def _network(self) -> Any:
        return self._contributions.folded if self.way.folded else self._contributions.network

    def _read(self, network: Any, images: Tensor) -> list[Tensor]:
        return Pass(network, images).features([self._contributions.layers[0].tap])

    def _image(self, pixels: np.ndarray) -> Tensor:
        """Return pixels ``[height, width, 3]`` as the network's input."""
        own = self._model.preprocessing
        exact = np.float64 if self._dtype == torch.float64 else np.float32
        return normalise(pixels[None].astype(exact), own.mean, own.std, self._device, self._dtype)


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.device.type == "mps" else values.double()
