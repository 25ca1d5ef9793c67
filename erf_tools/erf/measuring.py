"""Measuring a network over images, batch by batch, by a way that is proven on them."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, islice, product
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from erf_tools.computing import Computing
from erf_tools.erf.contributions import Contributions
from erf_tools.erf.course import Course
from erf_tools.erf.maps import MeasuredImage
from erf_tools.erf.parts import Part
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.protocols import Protocol
from erf_tools.erf.sums import Sums
from erf_tools.erf.ways import FEW, PLAIN, Sight, Way
from erf_tools.errors import UsageError
from erf_tools.features.company import unlike
from erf_tools.features.copies import random_states_kept
from erf_tools.features.inputs import floating_type
from erf_tools.features.state import state_kept
from erf_tools.features.taps import Tap
from erf_tools.images import PixelStore, Selection
from erf_tools.kernels.devices import (
    check_precision,
    choose_device,
    copy_on_device,
    device_name,
    narrow_types,
    normalise,
)
from erf_tools.models.accuracy import check_labels, classify, own_evaluation
from erf_tools.models.failures import OutOfMemory, explained
from erf_tools.models.model import Model
from erf_tools.preprocessing import evaluation_view
from erf_tools.progress import progress_bar
from erf_tools.provenance import run_record

#: Pixels of a batch on a CPU, where larger ones cost memory and gain nothing.
_BATCH_PIXELS = 512 * 512

#: Share of a GPU's free memory that a batch may take, and the most images in one.
_MEMORY_SHARE, _MOST_IMAGES = 0.8, 64


@contextmanager
def measurable(
    model: Model,
    procedure: Procedure,
    taps: Sequence[Tap],
    computing: Computing | None = None,
    images: int | None = None,
) -> Iterator[MeasurableNetwork]:
    """Have a network ready to measure some of its layers, over as many sets of images as wanted.

    What is measured is a copy of the network; see :func:`erf_tools.kernels.devices.copy_on_device`.

    Args:
        model: the network.
        procedure: what is measured.
        taps: the layers.
        computing: how.
        images: how many there are at once, if that is known. For few no faster way is prepared.

    Raises:
        UsageError: something cannot be measured as asked.
        ErfToolsError: the network failed.
    """
    size = procedure.size(model.preprocessing)
    model.check_size(size)
    computing = computing or Computing()
    other = next((tap for tap in taps if tap.path), None)
    if procedure.protocol.of_output and other:
        raise UsageError(
            f"{procedure.protocol.name} reads the image that a network gives, and {model.name} is "
            f"measured at its {other.name}; use another --protocol"
        )
    target = choose_device(computing.device, model.module)
    check_precision(procedure.precision, model.module, target)
    tf32 = procedure.precision == "tf32"
    with ExitStack() as until_done:
        with explained(model.name, model.module, size):
            network = until_done.enter_context(copy_on_device(model.module, target, tf32))
            many = images is None or images >= FEW
            contributions = Contributions(
                network,
                taps,
                procedure,
                size,
                model.input_size is not None,
                fast=many and not computing.exact,
                remembered=not computing.exact,
            )
        yield MeasurableNetwork(model, procedure, contributions, target, computing)


def setting_of(
    contributions: Contributions, procedure: Procedure, default: Tap | None, index: int = 0
) -> dict[str, Any]:
    """Return what a layer's map is of, apart from the model, as JSON values.

    Args:
        contributions: the network, after its first plain pass.
        procedure: what is measured.
        default: the model's default tap.
        index: of the layer.
    """
    tap, units = contributions.layers[index].tap, contributions.units[index]
    return {
        **procedure.record(),
        "resolution": list(contributions.size),
        "dtype": str(floating_type(contributions.network)).removeprefix("torch."),
        "tap": {**tap.record(), "default": tap == default},
        "place": contributions.places[index],
        "feature_map": list(units.shape),
        "units": [list(position) for position in units.positions],
        "center": list(units.center),
        "receptive_field": units.field.record(),
    }


class MeasurableNetwork:
    """A network ready to be measured; see :func:`measurable`."""

    def __init__(
        self,
        model: Model,
        procedure: Procedure,
        contributions: Contributions,
        device: torch.device,
        computing: Computing,
    ) -> None:
        self._model, self._procedure, self._contributions = model, procedure, contributions
        self._protocols: tuple[Protocol, ...] = (procedure.protocol,)
        self._device, self._dtype = device, floating_type(contributions.network)
        self._size = contributions.size
        self._view = procedure.view(model.preprocessing)
        self._on_cuda = device.type == "cuda"
        fitting = 1 if self._on_cuda else max(1, _BATCH_PIXELS // (self._size[0] * self._size[1]))
        self._asked, self._fast = computing.images_at_once, not computing.exact
        self._batch = self._asked or fitting
        self._settled = self._asked is not None or not self._on_cuda

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self._size

    def under(self, protocols: Sequence[Protocol]) -> MeasurableNetwork:
        """Return the network, to be measured by protocols that share images and units.

        Those that differ only in what is made of the features share the forward pass, those that
        differentiate the same the gradient.
        """
        other = copy.copy(self)
        other._procedure = replace(self._procedure, protocol=protocols[0])
        other._protocols = tuple(protocols)
        other._contributions = self._contributions.under(protocols)
        other._view = other._procedure.view(self._model.preprocessing)
        return other

    def measure(
        self,
        selection: Selection,
        lengths: Sequence[int],
        labels: Mapping[str, int] | None = None,
        progress: bool = False,
        store: PixelStore | None = None,
    ) -> list[Part]:
        """Measure the layers over some images.

        How it is computed depends on these images alone, not on what was measured before.

        Args:
            selection: the images.
            lengths: of the groups of consecutive images whose sums are kept for intervals.
            labels: class indices by image name; a trained network classifies labelled images too.
            progress: show a progress bar (in a terminal only).
            store: keeps the images that are made ready, for the next network.

        Returns:
            A part per layer; with several protocols, one per layer and protocol, layer by layer.

        Raises:
            UsageError: a label is no class of the network's.
            ErfToolsError: the network failed.
        """
        if labels and self._model.weights.trained:
            check_labels(self._model, labels)
        store = store or PixelStore(0)
        bar = progress_bar(progress, total=len(selection), desc=self._model.name)
        with bar, state_kept(self._contributions.network, weights=False):
            with explained(self._model.name, self._model.module, self._size):
                course = self._begun(selection, store)
            while (sums := self._sums(selection, lengths, store, course, bar)) is None:
                bar.reset()  # a faster way, or a field, was wrong, and nothing of it is kept
        if self._noisy:  # whose classes are nobody's
            labels = None
        # What random weights answer is chance.
        judged = labels if labels and self._model.weights.trained else {}
        predicted, natively = self._classify(selection, judged)
        images = [
            tuple(
                MeasuredImage(
                    image.name,
                    image.sha256,
                    outcome,
                    labels.get(image.name) if labels else None,
                    predicted.get(image.name),
                    natively.get(image.name),
                )
                for image, outcome in zip(selection.images, layer_sums.outcomes(), strict=True)
            )
            for layer_sums in sums
        ]
        return [
            Part(
                layer_sums.total(),
                layer_sums.groups(),
                layer_sums.lengths,
                layer_sums.each(),
                measured,
                self._setting(*place, course),
                (self._run(selection, place[0], course),),
            )
            for place, layer_sums, measured in zip(self._places, sums, images, strict=True)
        ]

    @property
    def _places(self) -> list[tuple[int, Protocol]]:
        """Of which layer, by which protocol each part is."""
        return list(product(range(len(self._contributions.layers)), self._protocols))

    @property
    def _noisy(self) -> bool:
        return self._procedure.protocol.transform == "noise"

    def _begun(self, selection: Selection, store: PixelStore) -> Course:
        """Choose the way for some images."""
        together = bool(self._fast and self._asked and self._asked > 1)
        way = asked = Way(together=together)
        if self._fast and len(selection) >= FEW:
            together = self._batch > 1 or (self._on_cuda and not self._asked)
            way = replace(self._contributions.fastest, together=together)
        course = Course(self._contributions, way, self._procedure.precision != "fp32")
        if way != PLAIN:
            (first,) = store.decode(selection.images[:1], self._view)
            inputs, company = self._inputs([first]), self._inputs([*unlike(first)])
            course.choose(inputs, company, len(selection), asked)
        return course

    @random_states_kept()
    def _sums(
        self,
        selection: Selection,
        lengths: Sequence[int],
        store: PixelStore,
        course: Course,
        bar: tqdm,
    ) -> list[Sums] | None:
        """Return the sums of all maps of each layer; ``None`` if a way or field was wrong."""
        at_unit = self._procedure.square == "unit"
        sums: list[Sums] = []
        pixels = store.decode(selection.images, self._view)
        done = 0
        while waiting := list(islice(pixels, self._together(course))):
            while waiting:
                inputs = self._inputs(waiting[: self._together(course)])
                sights = self._look(inputs, course, done)
                if sights == "too large":
                    self._free()
                    continue
                if sights == "wrong":
                    return None
                sums = sums or [  # centres are known from the first maps on
                    Sums(
                        self._size,
                        self._device,
                        # Of maps that add up with their sign, single ones say nothing.
                        () if protocol.gradient == "signed" else lengths,
                        course.contributions.units[index].center if at_unit else None,
                    )
                    for index, protocol in self._places
                ]
                maps = chain.from_iterable(sight.by_protocol for sight in sights)
                for layer_sums, own in zip(sums, maps, strict=True):
                    layer_sums.add(own)
                if not done and self._contradicted(sums, course):
                    return None
                bar.update(len(inputs))
                done, waiting = done + len(inputs), waiting[len(inputs) :]
        return None if self._contradicted(sums, course) else sums

    def _contradicted(self, sums: Sequence[Sums], course: Course) -> bool:
        """Tell whether maps reach beyond fields; of the sum of them, so that it takes no time."""
        maps: dict[int, list[np.ndarray]] = {}
        for (index, _), own in zip(self._places, sums, strict=True):
            maps.setdefault(index, []).append(own.total())
        return course.contradicted_by(maps, coarse=self._procedure.precision != "fp32")

    def _together(self, course: Course) -> int:
        return self._batch if course.way.together else 1

    def _inputs(self, pixels: Sequence[np.ndarray]) -> Tensor:
        own = self._model.preprocessing
        channels = len(own.mean)
        as_it_is = (0.0,) * channels, (1.0,) * channels
        mean, std = as_it_is if self._noisy else (own.mean, own.std)
        return normalise(np.stack(pixels), mean, std, self._device, self._dtype)

    def _look(
        self, inputs: Tensor, course: Course, done: int
    ) -> list[Sight] | Literal["too large", "wrong"]:
        """Return what each layer's units see of a batch, unless it did not fit, or was wrong."""
        model, target = self._model, self._device
        if self._on_cuda:  # the peak until here is that of the search for fields
            torch.cuda.reset_peak_memory_stats(target)
        before = torch.cuda.memory_allocated(target) if self._on_cuda else 0
        try:
            with explained(model.name, model.module, self._size):
                sights = course.look(inputs)
                self._settle(before)
                if not course.holds(inputs, sights, done):
                    return "wrong"
        except OutOfMemory:
            if len(inputs) == 1:
                raise
            self._batch //= 2
            return "too large"
        assert sights is not None
        return sights

    def _free(self) -> None:
        """Let go of what a batch held that did not fit, cycles of its traceback included."""
        gc.collect()
        if self._on_cuda:
            torch.cuda.empty_cache()

    def _settle(self, before: int) -> None:
        """Choose the largest batch on CUDA by the memory that the first image took."""
        if not self._settled:
            used = torch.cuda.max_memory_allocated(self._device) - before
            if self._procedure.precision == "bf16":  # the proof takes it in float32
                used *= 2
            free = _MEMORY_SHARE * torch.cuda.mem_get_info(self._device)[0]
            self._batch = min(max(int(free / used), 1), _MOST_IMAGES)
            self._settled = True

    def _classify(
        self, selection: Selection, labels: Mapping[str, int]
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Return the classes of labelled images, here and as in the network's own evaluation."""
        if not any(image.name in labels for image in selection.images):
            return {}, {}
        measured = replace(self._model, module=self._contributions.network)
        predicted = classify(measured, selection.images, labels, self._view, self._device)
        evaluation = own_evaluation(self._model)
        if evaluation is None:
            return predicted, {}
        own = partial(evaluation_view, preprocessing=evaluation)
        # Another size than what is measured may leave something behind.
        with copy_on_device(self._model.module, self._device) as network:
            shown = replace(self._model, module=network)
            return predicted, classify(shown, selection.images, labels, own, self._device)

    def _setting(self, index: int, protocol: Protocol, course: Course) -> dict[str, Any]:
        procedure = replace(self._procedure, protocol=protocol)
        known = setting_of(course.contributions, procedure, self._model.default_tap, index)
        return {**known, "model": self._record}

    @cached_property
    def _cast_from(self) -> str | None:
        """Types of the network's own weights that are measured in float32."""
        return narrow_types(self._model.module)

    @cached_property
    def _record(self) -> dict[str, Any]:
        return self._model.record()

    def _run(self, selection: Selection, index: int, course: Course) -> dict[str, Any]:
        return {
            **run_record(selection.record(), device_name(self._device)),
            "cast_from": self._cast_from,
            **course.record(index, self._together(course)),
        }
