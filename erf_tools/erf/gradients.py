"""From a network and images to ERFs: gradients of units, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from erf_tools.erf.contributions import Contributions
from erf_tools.erf.intervals import resample
from erf_tools.erf.maps import ERF, MeasuredImage, Outcome
from erf_tools.erf.procedure import Precision, Procedure, Square
from erf_tools.erf.protocols import Protocol, find_protocol
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.images import (
    Order,
    PixelStore,
    Selection,
    evaluation_view,
    select,
)
from erf_tools.models.accuracy import classify, own_evaluation
from erf_tools.models.devices import choose_device, device_name, normalise, ready
from erf_tools.models.loading import Model, as_model
from erf_tools.models.taps import Tap, find_taps
from erf_tools.provenance import versions

#: Pixels of a batch on a CPU, where larger ones cost memory and gain nothing.
_BATCH_PIXELS = 512 * 512

#: Share of a GPU's free memory that a batch may take, and the most images in one.
_MEMORY_SHARE, _MOST_IMAGES = 0.8, 64

#: Memory for the maps that intervals are made of, and the most there can be per layer.
_GROUP_BYTES, _MOST_GROUPS = 512 * 2**20, 64


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

    The network's mode, device and gradient flags, and all random states, are as before when this
    returns: it can be called between two steps of a training.

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
        layer: dotted name of a module, or a :class:`~erf_tools.models.taps.Tap`; by default the
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
    if isinstance(model, nn.Module):
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
    if model.input_size and tuple(model.input_size) != size:
        raise UsageError(
            f"{model.name} was built for {model.input_size[0]}x{model.input_size[1]} inputs; "
            f"build it for these: load_model({model.name!r}, resolution={size})"
        )
    target = choose_device(device, model.module)
    view = procedure.view(model.preprocessing)
    groups = min(len(selection), _MOST_GROUPS, _GROUP_BYTES // (4 * size[0] * size[1] * len(taps)))
    pixels = (store or PixelStore(0)).decode(selection.images, view)
    bar = tqdm(
        total=len(selection), desc=model.name, unit="image", disable=None if progress else True
    )
    on_cuda = target.type == "cuda"
    batch = batch_size or (1 if on_cuda else max(1, _BATCH_PIXELS // (size[0] * size[1])))
    tf32 = procedure.precision == "tf32"
    with bar, torch.enable_grad(), ready(model.module, target, tf32) as dtype:
        with _explained(model, size):
            contributions = Contributions(
                model.module, taps, procedure, size, model.input_size is not None, fast
            )
        measured = replace(model, module=contributions.network)
        sums = [_Sums(size, target, max(groups, 1)) for _ in taps]
        while waiting := list(islice(pixels, batch)):
            while waiting:
                stacked = np.stack(waiting[:batch])
                own = model.preprocessing
                inputs = normalise(stacked, own.mean, own.std, target, dtype)
                if on_cuda:  # the peak until here is that of the search for fields
                    torch.cuda.reset_peak_memory_stats(target)
                before = torch.cuda.memory_allocated(target) if on_cuda else 0
                try:
                    with _explained(model, size):
                        maps = contributions.maps(inputs)
                except torch.OutOfMemoryError as error:
                    if batch == 1:
                        raise ErfToolsError(
                            f"{model.name} does not fit into the memory of {target} at "
                            f"{size[0]}x{size[1]}; lower --resolution, or use --device cpu"
                        ) from error
                    batch //= 2
                    continue
                for layer_sums, layer_maps in zip(sums, maps, strict=True):
                    layer_sums.add(layer_maps)
                bar.update(len(stacked))
                waiting = waiting[len(stacked) :]
                if on_cuda and batch_size is None and batch == 1:
                    used = torch.cuda.max_memory_allocated(target) - before
                    free = _MEMORY_SHARE * torch.cuda.mem_get_info(target)[0]
                    batch = min(max(int(free / used), 1), _MOST_IMAGES)
        labelled = [image for image in selection.images if image.name in (labels or {})]
        predicted = classify(measured, labelled, view, target)
        natively: dict[str, int] = {}
        if evaluation := own_evaluation(model):
            natively = classify(
                measured, labelled, partial(evaluation_view, preprocessing=evaluation), target
            )
    setting = {
        **procedure.record(),
        "model": model.record(),
        "resolution": list(size),
        "dtype": str(dtype).removeprefix("torch."),
    }
    run = {
        "images": selection.record(),
        "device": device_name(target),
        "folded": contributions.network is not model.module,
        "versions": versions(),
    }
    results = []
    for layer, layer_sums in zip(contributions.layers, sums, strict=True):
        centre = layer.centre if procedure.square == "unit" else None
        results.append(
            ERF(
                total=layer_sums.total(),
                images=tuple(
                    MeasuredImage(
                        image.name,
                        image.sha256,
                        outcome,
                        labels.get(image.name) if labels else None,
                        predicted.get(image.name),
                        natively.get(image.name),
                    )
                    for image, outcome in zip(selection.images, layer_sums.outcomes(), strict=True)
                ),
                setting={
                    **setting,
                    "tap": {**layer.tap.record(), "default": layer.tap == model.tap},
                    "feature_map": list(layer.shape),
                    "units": [list(position) for position in layer.positions],
                    "centre": list(layer.centre),
                    "receptive_field": layer.field.record(),
                },
                runs=({**run, "cone": layer.cone is not None},),
                resamples=resample(*layer_sums.groups(), centre, seed),
            )
        )
    return results


@contextmanager
def _explained(model: Model, size: tuple[int, int]) -> Iterator[None]:
    """Turn what a network raises into one sentence.

    Raises:
        ErfToolsError: instead of what it raised.
    """
    try:
        yield
    except (UsageError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ErfToolsError(
            f"{model.name} failed on inputs of {size[0]}x{size[1]} ({first_line}); try the "
            "resolution it was trained at with --resolution"
        ) from error


class _Sums:
    """Sums of one layer's maps, on the device: of all images, and of groups of them."""

    def __init__(self, size: tuple[int, int], device: torch.device, groups: int) -> None:
        # MPS has no float64.
        self._device = torch.device("cpu") if device.type == "mps" else device
        self._total = torch.zeros(size, dtype=torch.float64, device=self._device)
        self._groups = torch.zeros(groups, *size, device=self._device)
        self._sizes: list[Tensor] = []

    def add(self, maps: Tensor) -> None:
        """Add maps ``[N, height, width]``; those with a value that is not finite are left out."""
        maps = maps.to(self._device, torch.float64)
        sizes = maps.abs().sum(dim=(1, 2))
        for contribution, size in zip(maps, sizes, strict=True):
            kept = torch.where(size.isfinite(), contribution, 0.0)
            self._total += kept
            self._groups[len(self._sizes) % len(self._groups)] += kept
            self._sizes.append(size)

    def outcomes(self) -> list[Outcome]:
        """Return what became of each image."""
        sizes = torch.stack(self._sizes).cpu().numpy()
        return [
            "nan" if not np.isfinite(size) else "counted" if size > 0 else "zero" for size in sizes
        ]

    def total(self) -> np.ndarray:
        """Return the sum ``[height, width]``."""
        return self._total.cpu().numpy()

    def groups(self) -> tuple[np.ndarray, np.ndarray]:
        """Return sums over groups of images ``[groups, height, width]`` and the groups' sizes."""
        sizes = np.zeros(len(self._groups), dtype=int)
        for index, outcome in enumerate(self.outcomes()):
            sizes[index % len(sizes)] += outcome != "nan"
        return self._groups.cpu().numpy(), sizes
