"""From a network and images to an ERF: gradients of the central unit, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from erf_tools.erf.maps import ERF, MeasuredImage
from erf_tools.erf.protocols import Protocol, find_protocol
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.images import Order, Selection, decode, evaluation_view, select, warped
from erf_tools.models.devices import choose_device, device_name, normalise, ready
from erf_tools.models.loading import Model, as_model
from erf_tools.models.taps import read_features
from erf_tools.provenance import versions

Transform = Literal["protocol", "model"]

DEFAULT_RESOLUTION = 1024

#: Pixels of a batch that is chosen automatically. On a CPU more cost memory and gain nothing.
_BATCH_PIXELS = {"cpu": 512 * 512, "cuda": 8 * 1024 * 1024, "mps": 512 * 512}


def effective_receptive_field(
    model: Model | nn.Module,
    images: str | Path | Sequence[str | Path | Image.Image] | Selection = "builtin",
    num_images: int = 50,
    resolution: int | tuple[int, int] | None = None,
    order: Order = "spread",
    seed: int = 0,
    protocol: str = "ding2022",
    transform: Transform = "protocol",
    batch_size: int | None = None,
    device: str = "auto",
    progress: bool = False,
) -> ERF:
    """Measure the effective receptive field of a network's last stage.

    Args:
        model: from :func:`erf_tools.load_model`, or any ``nn.Module``; see
            :func:`erf_tools.as_model` for one with its own tap or mean and standard deviation.
            Its mode, device and gradient flags are as before when this returns.
        images: ``"builtin"``, a folder, a file, a sequence of paths and PIL images, or a
            :class:`~erf_tools.images.Selection`, which settles ``num_images`` and ``order`` too.
        num_images: how many images at most.
        resolution: side of the analysis input in pixels, or height and width; 1024 by default.
        order: ``spread`` or ``sequential``; see :func:`erf_tools.images.select`.
        seed: of the spread order.
        protocol: how the contribution map is defined; see :mod:`erf_tools.erf.protocols`.
        transform: ``protocol`` warps images to ``resolution``; ``model`` applies the checkpoint's
            own evaluation transform, at its own size.
        batch_size: images at once; by default as many as fit comfortably. On CUDA a batch that
            does not fit is halved.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``. ``auto`` is CUDA where there is
            one, else where the network is.
        progress: show a progress bar (in a terminal only).

    Returns:
        The result; its ``map`` is float64 ``[height, width]``.

    Raises:
        UsageError: something cannot be measured as asked.
        ErfToolsError: the network failed, or no image gave a finite map.
    """
    if isinstance(model, nn.Module):
        model = as_model(model)
    chosen = find_protocol(protocol)
    height, width = analysis_size(model, resolution, transform)
    if model.input_size and tuple(model.input_size) != (height, width):
        raise UsageError(
            f"{model.name} was built for {model.input_size[0]}x{model.input_size[1]} inputs; "
            f"build it for these: load_model({model.name!r}, resolution=({height}, {width}))"
        )
    selection = images if isinstance(images, Selection) else select(images, num_images, order, seed)
    target = choose_device(device, model.module)
    batch = batch_size or max(1, _BATCH_PIXELS.get(target.type, 0) // (height * width))

    preprocessing = model.preprocessing
    view = (
        partial(evaluation_view, preprocessing=preprocessing)
        if transform == "model"
        else partial(warped, size=(width, height))
    )
    pixels = decode(selection.images, view)
    accumulator = _Accumulator(height, width, target)
    feature_shape: tuple[int, ...] = ()
    bar = tqdm(
        total=len(selection), desc=model.name, unit="image", disable=None if progress else True
    )
    with bar, torch.enable_grad(), ready(model.module, target) as dtype:
        while waiting := list(islice(pixels, batch)):
            while waiting:
                stacked = np.stack(waiting[:batch])
                inputs = normalise(stacked, preprocessing.mean, preprocessing.std, target, dtype)
                try:
                    maps, feature_shape = _contribution_maps(model, chosen, inputs)
                except torch.OutOfMemoryError as error:
                    if batch == 1:
                        raise ErfToolsError(
                            f"{model.name} does not fit into the memory of {target} at "
                            f"{height}x{width}; lower --resolution, or use --device cpu"
                        ) from error
                    batch //= 2
                    continue
                accumulator.add(maps)
                bar.update(len(stacked))
                waiting = waiting[len(stacked) :]

    images_measured = tuple(
        MeasuredImage(image.name, image.sha256, outcome)
        for image, outcome in zip(selection.images, accumulator.outcomes(), strict=True)
    )
    channels, rows, columns = feature_shape
    return ERF(
        total=accumulator.total(),
        images=images_measured,
        setting={
            "protocol": chosen.record(),
            "transform": transform,
            "model": model.record(),
            "tap": model.tap.record(),
            "feature_map": [channels, rows, columns],
            "unit": [rows // 2, columns // 2],
            "resolution": [height, width],
            "precision": str(dtype).removeprefix("torch."),
        },
        runs=(
            {
                "images": selection.record(),
                "device": device_name(target),
                "tf32": False,
                "versions": versions(),
            },
        ),
    )


def analysis_size(
    model: Model, resolution: int | tuple[int, int] | None, transform: Transform
) -> tuple[int, int]:
    """Return height and width of the analysis input.

    Raises:
        UsageError: it is not positive, or was given although the model's transform decides it.
    """
    if transform not in ("protocol", "model"):
        raise UsageError(f"--transform is {transform!r}; it is protocol or model")
    if transform == "model":
        if resolution is not None:
            raise UsageError("--transform model has the model's own size; leave --resolution out")
        return model.preprocessing.size, model.preprocessing.size
    size = DEFAULT_RESOLUTION if resolution is None else resolution
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise UsageError(f"--resolution is {resolution}; it has to be positive")
    return height, width


def _contribution_maps(
    model: Model, protocol: Protocol, inputs: Tensor
) -> tuple[Tensor, tuple[int, ...]]:
    """Return ``[N, height, width]`` float64 maps and the shape of the feature map.

    In evaluation mode images do not see each other, so the gradient of the sum over the batch is
    the gradient of each image.
    """
    inputs.requires_grad_(True)
    try:
        features = read_features(model.module, model.tap, inputs)
        rows, columns = features.shape[-2:]
        scalar = features[:, :, rows // 2, columns // 2].relu().sum()
        (gradient,) = torch.autograd.grad(scalar, inputs)
    except (UsageError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ErfToolsError(
            f"{model.name} failed on inputs of {inputs.shape[2]}x{inputs.shape[3]} "
            f"({first_line}); try the resolution it was trained at with --resolution"
        ) from error
    # MPS has no float64; there the sum over RGB is in float32 and the rest on the CPU.
    wide = torch.float32 if gradient.device.type == "mps" else torch.float64
    return gradient.relu().sum(dim=1, dtype=wide), tuple(features.shape[1:])


class _Accumulator:
    """Sums maps on the device, image by image, and keeps what became of each."""

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        self._device = torch.device("cpu") if device.type == "mps" else device
        self._total = torch.zeros(height, width, dtype=torch.float64, device=self._device)
        self._sums: list[Tensor] = []

    def add(self, maps: Tensor) -> None:
        """Add maps ``[N, height, width]``; those with a value that is not finite are left out."""
        maps = maps.to(self._device, torch.float64)
        sums = maps.sum(dim=(1, 2))
        for contribution, total in zip(maps, sums, strict=True):
            # Maps are not negative, so the sum is finite exactly if every value is.
            self._total += torch.where(total.isfinite(), contribution, 0.0)
        self._sums.append(sums)

    def outcomes(self) -> list[Any]:
        """Return ``counted``, ``zero`` or ``nan`` for each image."""
        sums = torch.cat(self._sums).cpu().numpy()
        return [
            "nan" if not np.isfinite(total) else "counted" if total > 0 else "zero"
            for total in sums
        ]

    def total(self) -> np.ndarray:
        """Return the sum ``[height, width]``."""
        return self._total.cpu().numpy()
