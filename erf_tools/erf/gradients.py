"""From a network and images to ERFs: gradients of units, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from erf_tools.erf.contributions import Contributions, Layer
from erf_tools.erf.maps import ERF, MeasuredImage
from erf_tools.erf.parts import Part, group_lengths, join
from erf_tools.erf.procedure import Precision, Procedure, Square
from erf_tools.erf.protocols import Protocol, find_protocol
from erf_tools.erf.sums import Sums
from erf_tools.errors import UsageError
from erf_tools.features.taps import Tap, find_taps
from erf_tools.images import (
    Order,
    PixelStore,
    Selection,
    evaluation_view,
    select,
)
from erf_tools.kernels.devices import (
    choose_device,
    device_name,
    floating_type,
    normalise,
    ready,
)
from erf_tools.models.accuracy import classify, own_evaluation
from erf_tools.models.failures import OutOfMemory, explained
from erf_tools.models.loading import Model, as_model
from erf_tools.provenance import versions

#: Pixels of a batch on a CPU, where larger ones cost memory and gain nothing.
_BATCH_PIXELS = 512 * 512

#: Share of a GPU's free memory that a batch may take, and the most images in one.
_MEMORY_SHARE, _MOST_IMAGES = 0.8, 64


def effective_receptive_field(
    model: Model | nn.Module,
    images: str | Path | Sequence[str | Path | Image.Image] | Selection = "builtin",
    num_images: int = 50,
    resolution: int | tuple[int, int] | None = None,
    order: Order = "spread",
    seed: int = 0,
    protocol: str | Protocol = "ding2022",
    layer: str | Tap | None = None,
    unit: str = "center",
    square: Square = "center",
    precision: Precision = "fp32",
    batch_size: int | None = None,
    device: str = "auto",
    progress: bool = False,
) -> ERF:
    """Measure the effective receptive field of a unit of a network.

    A copy of the network is measured. The network itself and all random states are as before when
    this returns: it can be called between two steps of a training.

    Args:
        model: from :func:`erf_tools.load_model`, or any ``nn.Module``; see
            :func:`erf_tools.as_model` for one with its own tap or mean and standard deviation.
        images: ``"builtin"``, a folder, a file, a sequence of paths and PIL images, or a
            :class:`~erf_tools.images.Selection`, which settles ``num_images`` and ``order`` too.
        num_images: how many images at most.
        resolution: see :class:`~erf_tools.erf.procedure.Procedure`.
        order: ``spread`` or ``sequential``; see :func:`erf_tools.images.select`.
        seed: of the spread order and of the intervals.
        protocol: a name of :data:`~erf_tools.erf.protocols.PROTOCOLS`, or one varied by
            :func:`~erf_tools.erf.protocols.find_protocol`.
        layer: dotted name of a module, or a :class:`~erf_tools.features.taps.Tap`; by default the
            model's own tap, the last map before pooling.
        unit: see :class:`~erf_tools.erf.procedure.Procedure`.
        square: see :class:`~erf_tools.erf.procedure.Procedure`.
        precision: see :class:`~erf_tools.erf.procedure.Procedure`.
        batch_size: images at once; by default as many as fit comfortably. On CUDA a batch that
            does not fit is halved.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``. ``auto`` is CUDA where there is
            one, else where the network is.
        progress: show a progress bar (in a terminal only).

    Returns:
        The result; its ``map`` is float64 ``[height, width]``.

    Raises:
        UsageError: something cannot be measured as asked.
        ErfToolsError: the network failed.
    """
    if not isinstance(model, Model):
        model = as_model(model)
    if isinstance(protocol, str):
        protocol = find_protocol(protocol)
    if isinstance(layer, str):
        (layer,) = find_taps(model.module, [layer])
    selection = images if isinstance(images, Selection) else select(images, num_images, order, seed)
    procedure = Procedure(protocol, unit, square, resolution, precision)
    (result,) = measure_layers(
        model,
        selection,
        procedure,
        [layer or model.tap],
        batch_size=batch_size,
        device=device,
        seed=seed,
        progress=progress,
    )
    return result


def measure_layers(
    model: Model,
    selection: Selection,
    procedure: Procedure,
    taps: Sequence[Tap],
    labels: Mapping[str, int] | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = False,
    store: PixelStore | None = None,
    fast: bool = True,
) -> list[ERF]:
    """Measure the ERF of several layers, with one forward pass per image for all of them.

    Args:
        model: the network.
        selection: the images.
        procedure: what is measured.
        taps: the layers.
        labels: class indices by image name; labelled images are classified as well.
        batch_size: see :func:`effective_receptive_field`.
        device: see :func:`effective_receptive_field`.
        seed: of the intervals.
        progress: show a progress bar (in a terminal only).
        store: keeps the images that are made ready, for the next network.
        fast: see :class:`~erf_tools.erf.contributions.Contributions`.

    Returns:
        A result per tap, each equal to that of a run of its own.

    Raises:
        UsageError: something cannot be measured as asked.
        ErfToolsError: the network failed.
    """
    size = procedure.size(model.preprocessing)
    lengths = group_lengths(len(selection), size, len(taps))
    with prepared(model, procedure, taps, batch_size, device, fast) as network:
        parts = network.measure(selection, lengths, labels, progress, store)
    return [join([part], seed) for part in parts]


@contextmanager
def prepared(
    model: Model,
    procedure: Procedure,
    taps: Sequence[Tap],
    batch_size: int | None = None,
    device: str = "auto",
    fast: bool = True,
) -> Iterator[Prepared]:
    """Have a network ready to measure some of its layers, over as many sets of images as wanted.

    What is measured is a copy of the network; see :func:`erf_tools.kernels.devices.ready`. The
    arguments are those of :func:`measure_layers`.

    Raises:
        UsageError: something cannot be measured as asked.
        ErfToolsError: the network failed.
    """
    size = procedure.size(model.preprocessing)
    if model.input_size and tuple(model.input_size) != size:
        raise UsageError(
            f"{model.name} was built for {model.input_size[0]}x{model.input_size[1]} inputs; "
            f"build it for these: load_model({model.name!r}, resolution={size})"
        )
    target = choose_device(device, model.module)
    tf32 = procedure.precision == "tf32"
    with ExitStack() as until_done:
        with explained(model.name, model.module, size):
            network = until_done.enter_context(ready(model.module, target, tf32))
            contributions = Contributions(
                network, taps, procedure, size, model.input_size is not None, fast
            )
        yield Prepared(model, procedure, contributions, target, batch_size)


class Prepared:
    """A network ready to be measured; see :func:`prepared`."""

    def __init__(
        self,
        model: Model,
        procedure: Procedure,
        contributions: Contributions,
        device: torch.device,
        batch_size: int | None,
    ) -> None:
        self._model, self._procedure, self._contributions = model, procedure, contributions
        self._device, self._dtype = device, floating_type(contributions.network)
        self._size = procedure.size(model.preprocessing)
        self._view = procedure.view(model.preprocessing)
        self._on_cuda = device.type == "cuda"
        fitting = 1 if self._on_cuda else max(1, _BATCH_PIXELS // (self._size[0] * self._size[1]))
        self._batch = batch_size or fitting
        self._settled = batch_size is not None or not self._on_cuda

    def measure(
        self,
        selection: Selection,
        lengths: Sequence[int],
        labels: Mapping[str, int] | None = None,
        progress: bool = False,
        store: PixelStore | None = None,
    ) -> list[Part]:
        """Measure the layers over some images.

        Args:
            selection: the images.
            lengths: of the groups of consecutive images whose sums are kept for intervals.
            labels: class indices by image name; labelled images are classified as well.
            progress: show a progress bar (in a terminal only).
            store: keeps the images that are made ready, for the next network.

        Returns:
            A part per layer.

        Raises:
            ErfToolsError: the network failed.
        """
        model, layers = self._model, self._contributions.layers
        pixels = (store or PixelStore(0)).decode(selection.images, self._view)
        bar = tqdm(
            total=len(selection), desc=model.name, unit="image", disable=None if progress else True
        )
        sums = [Sums(self._size, self._device, lengths) for _ in layers]
        with bar:
            while waiting := list(islice(pixels, self._batch)):
                while waiting:
                    maps = self._maps(np.stack(waiting[: self._batch]))
                    if maps is None:
                        continue
                    for layer_sums, layer_maps in zip(sums, maps, strict=True):
                        layer_sums.add(layer_maps)
                    bar.update(len(maps[0]))
                    waiting = waiting[len(maps[0]) :]
        predicted, natively = self._classify(selection, labels or {})
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
                tuple(lengths),
                measured,
                self._setting(layer),
                (self._run(selection, layer),),
            )
            for layer, layer_sums, measured in zip(layers, sums, images, strict=True)
        ]

    def _maps(self, pixels: np.ndarray) -> list[Tensor] | None:
        """Return each layer's maps of a batch; ``None`` if it did not fit and is to be halved."""
        model, target = self._model, self._device
        own = model.preprocessing
        inputs = normalise(pixels, own.mean, own.std, target, self._dtype)
        if self._on_cuda:  # the peak until here is that of the search for fields
            torch.cuda.reset_peak_memory_stats(target)
        before = torch.cuda.memory_allocated(target) if self._on_cuda else 0
        try:
            with explained(model.name, model.module, self._size):
                maps = self._contributions.maps(inputs)
        except OutOfMemory:
            if self._batch == 1:
                raise
            self._batch //= 2
            return None
        if not self._settled:
            used = torch.cuda.max_memory_allocated(target) - before
            free = _MEMORY_SHARE * torch.cuda.mem_get_info(target)[0]
            self._batch = min(max(int(free / used), 1), _MOST_IMAGES)
            self._settled = True
        return maps

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
        with ready(self._model.module, self._device) as network:
            shown = replace(self._model, module=network)
            return predicted, classify(shown, selection.images, labels, own, self._device)

    def _setting(self, layer: Layer) -> dict[str, Any]:
        assert layer.field is not None  # from the first pass on
        return {
            **self._procedure.record(),
            "model": self._record,
            "resolution": list(self._size),
            "dtype": str(self._dtype).removeprefix("torch."),
            "tap": {**layer.tap.record(), "default": layer.tap == self._model.tap},
            "feature_map": list(layer.shape),
            "units": [list(position) for position in layer.positions],
            "centre": list(layer.centre),
            "receptive_field": layer.field.record(),
        }

    @cached_property
    def _record(self) -> dict[str, Any]:
        return self._model.record()

    def _run(self, selection: Selection, layer: Layer) -> dict[str, Any]:
        return {
            "images": selection.record(),
            "device": device_name(self._device),
            "folded": self._contributions.folded,
            "versions": versions(),
            "cone": layer.cone is not None,
        }
