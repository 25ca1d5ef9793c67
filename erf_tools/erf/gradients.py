"""From a network and images to ERFs: gradients of units, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import nan
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from erf_tools.erf.intervals import resample
from erf_tools.erf.maps import ERF, MeasuredImage, Outcome
from erf_tools.erf.protocols import PROTOCOLS, Protocol, find_protocol
from erf_tools.erf.receptive_field import ReceptiveField
from erf_tools.erf.units import Position, central_unit, check_unit, unit_positions
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.images import (
    Order,
    Preprocessing,
    Selection,
    View,
    decode,
    evaluation_view,
    select,
    warped,
)
from erf_tools.models.accuracy import classify, own_evaluation
from erf_tools.models.dependency import receptive_fields
from erf_tools.models.devices import choose_device, device_name, normalise, ready
from erf_tools.models.loading import Model, as_model
from erf_tools.models.taps import Tap, find_taps, read_maps
from erf_tools.provenance import versions

Square = Literal["center", "unit"]

DEFAULT_RESOLUTION = 1024

#: Pixels of a batch that is chosen automatically. On a CPU more cost memory and gain nothing.
_BATCH_PIXELS = {"cpu": 512 * 512, "cuda": 8 * 1024 * 1024, "mps": 512 * 512}

#: Memory for the maps that intervals are made of, and the most there can be per layer.
_GROUP_BYTES, _MOST_GROUPS = 512 * 2**20, 64


@dataclass(frozen=True)
class Procedure:
    """All that decides what is measured, apart from network, layer and images.

    Attributes:
        protocol: how the contribution map is defined.
        unit: ``center``, ``ROW,COLUMN`` or ``grid:N``: the mean over N x N units, each map shifted
            so that the units' centres coincide.
        square: where the squares of the scale-invariant measures are centred: ``center`` is the
            image's pixel (height // 2, width // 2), ``unit`` the unit's true centre. The squares of
            the legacy ratios stay as published.
        resolution: of the input, a side or height and width; ``None`` is 1024, or the network's own
            with a protocol that uses its evaluation transform.
    """

    protocol: Protocol = PROTOCOLS["ding2022"]
    unit: str = "center"
    square: Square = "center"
    resolution: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if self.square not in ("center", "unit"):
            raise UsageError(f"--square is {self.square!r}; it is center or unit")
        sides = self.resolution if isinstance(self.resolution, tuple) else (self.resolution,)
        if any(side is not None and side < 1 for side in sides):
            raise UsageError(f"--resolution is {self.resolution}; it has to be positive")
        if len(set(sides)) > 1 and self.protocol.transform != "warp":
            raise UsageError(
                f"--resolution is {self.resolution}, but {self.protocol.transform} cuts out a "
                "square; give one side, or use --transform warp"
            )

    def size(self, preprocessing: Preprocessing) -> tuple[int, int]:
        """Return height and width of the input for a network with this preprocessing."""
        if self.resolution is None:
            own = self.protocol.transform == "model"
            side = preprocessing.size if own else DEFAULT_RESOLUTION
            return side, side
        if isinstance(self.resolution, int):
            return self.resolution, self.resolution
        return self.resolution

    def view(self, preprocessing: Preprocessing) -> View:
        """Return what makes an image ready for a network with this preprocessing."""
        height, width = self.size(preprocessing)
        if self.protocol.transform == "warp":
            return partial(warped, size=(width, height))
        if self.protocol.transform == "crop":
            own = Preprocessing(size=height, crop_fraction=1.0)
        else:
            own = preprocessing.resized(height)
        return partial(evaluation_view, preprocessing=own)

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values; the resolution is that of the result."""
        return {
            "protocol": self.protocol.record(),
            "unit": self.unit,
            "square": self.square,
        }


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
        resolution: see :class:`Procedure`.
        order: ``spread`` or ``sequential``; see :func:`erf_tools.images.select`.
        seed: of the spread order and of the intervals.
        protocol: a name of :data:`~erf_tools.erf.protocols.PROTOCOLS`, or one varied by
            :func:`~erf_tools.erf.protocols.find_protocol`.
        layer: dotted name of a module, or a :class:`~erf_tools.models.taps.Tap`; by default the
            model's own tap, the last map before pooling.
        unit: see :class:`Procedure`.
        square: see :class:`Procedure`.
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
    procedure = Procedure(protocol, unit, square, resolution)
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
    batch = batch_size or max(1, _BATCH_PIXELS.get(target.type, 0) // (size[0] * size[1]))
    pixels = decode(selection.images, view)
    bar = tqdm(
        total=len(selection), desc=model.name, unit="image", disable=None if progress else True
    )
    with bar, torch.enable_grad(), ready(model.module, target) as dtype:
        with _explained(model, size):
            fields = receptive_fields(
                model.module,
                lambda images: read_maps(model.module, taps, images),
                size,
                fixed_size=model.input_size is not None,
            )
        layers = [
            _Layer(tap, field, procedure, size, target, max(groups, 1))
            for tap, field in zip(taps, fields, strict=True)
        ]
        while waiting := list(islice(pixels, batch)):
            while waiting:
                stacked = np.stack(waiting[:batch])
                own = model.preprocessing
                inputs = normalise(stacked, own.mean, own.std, target, dtype)
                try:
                    with _explained(model, size):
                        maps = _contribution_maps(model, layers, procedure, inputs)
                except torch.OutOfMemoryError as error:
                    if batch == 1:
                        raise ErfToolsError(
                            f"{model.name} does not fit into the memory of {target} at "
                            f"{size[0]}x{size[1]}; lower --resolution, or use --device cpu"
                        ) from error
                    batch //= 2
                    continue
                for layer, contributions in zip(layers, maps, strict=True):
                    layer.add(contributions)
                bar.update(len(stacked))
                waiting = waiting[len(stacked) :]
        labelled = [image for image in selection.images if image.name in (labels or {})]
        predicted = classify(model, labelled, view, target)
        natively: dict[str, int] = {}
        if evaluation := own_evaluation(model):
            natively = classify(
                model, labelled, partial(evaluation_view, preprocessing=evaluation), target
            )
    setting = {
        **procedure.record(),
        "model": model.record(),
        "resolution": list(size),
        "precision": str(dtype).removeprefix("torch."),
    }
    run = {
        "images": selection.record(),
        "device": device_name(target),
        "tf32": False,
        "versions": versions(),
    }
    results = []
    for layer in layers:
        centre = layer.centre if procedure.square == "unit" else None
        results.append(
            ERF(
                total=layer.total(),
                images=tuple(
                    MeasuredImage(
                        image.name,
                        image.sha256,
                        outcome,
                        labels.get(image.name) if labels else None,
                        predicted.get(image.name),
                        natively.get(image.name),
                    )
                    for image, outcome in zip(selection.images, layer.outcomes(), strict=True)
                ),
                setting={
                    **setting,
                    "tap": {**layer.tap.record(), "default": layer.tap == model.tap},
                    "feature_map": list(layer.shape),
                    "units": [list(position) for position in layer.positions],
                    "centre": list(layer.centre),
                    "receptive_field": layer.field.record(),
                },
                runs=(run,),
                resamples=resample(*layer.groups(), centre, seed),
            )
        )
    return results


def _contribution_maps(
    model: Model, layers: Sequence[_Layer], procedure: Procedure, inputs: Tensor
) -> list[Tensor]:
    """Return maps ``[N, height, width]`` for each layer.

    In evaluation mode images do not see each other, so the gradient of the sum over the batch is
    the gradient of each image.
    """
    inputs.requires_grad_(True)
    features = read_maps(model.module, [layer.tap for layer in layers], inputs)
    for layer, feature_map in zip(layers, features, strict=True):
        layer.settle(feature_map, model.module)
    return [
        _aligned_mean(layer, feature_map, procedure.protocol, inputs, layer is layers[-1])
        for layer, feature_map in zip(layers, features, strict=True)
    ]


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


def _aligned_mean(
    layer: _Layer, features: Tensor, protocol: Protocol, inputs: Tensor, last: bool
) -> Tensor:
    """Return the mean over the layer's units of their maps, shifted to the central unit's place.

    A pixel counts the units from which the image reaches that far. The graph is freed with the last
    gradient of the ``last`` layer.
    """
    total, covered = None, None
    for (row, column), shift in zip(layer.positions, layer.shifts, strict=True):
        unit = features[:, :, row, column]
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


class _Layer:
    """One layer's part of a run: its units, and sums of its maps, on the device."""

    def __init__(
        self,
        tap: Tap,
        field: ReceptiveField,
        procedure: Procedure,
        size: tuple[int, int],
        device: torch.device,
        groups: int,
    ) -> None:
        self.tap = tap
        self.field = field
        self.shape: tuple[int, ...] = ()
        self.positions: list[Position] = []
        self.shifts: list[Position] = []
        self.centre = (nan, nan)
        self._procedure = procedure
        self._device = torch.device("cpu") if device.type == "mps" else device
        self._total = torch.zeros(size, dtype=torch.float64, device=self._device)
        self._groups = torch.zeros(groups, *size, device=self._device)
        self._sums: list[Tensor] = []

    def settle(self, features: Tensor, module: nn.Module) -> None:
        """Choose the units, once the feature map's shape is known."""
        if self.shape:
            return
        channels, rows, columns = features.shape[1:]
        upper = self._procedure.protocol.upper_token and hasattr(module, "patch_embed")
        positions = unit_positions(self._procedure.unit, rows, columns, upper)
        several = len(positions) > 1
        middle = self.field.centre(central_unit(rows, columns) if several else positions[0])
        centres = [self.field.centre(position) for position in positions]
        self.shifts = [(round(middle[0] - y), round(middle[1] - x)) for y, x in centres]
        self.positions, self.centre = positions, middle
        self.shape = (channels, rows, columns)

    def add(self, maps: Tensor) -> None:
        """Add maps ``[N, height, width]``; those with a value that is not finite are left out."""
        maps = maps.to(self._device, torch.float64)
        sums = maps.abs().sum(dim=(1, 2))
        for contribution, size in zip(maps, sums, strict=True):
            kept = torch.where(size.isfinite(), contribution, 0.0)
            self._total += kept
            self._groups[len(self._sums) % len(self._groups)] += kept
            self._sums.append(size)

    def outcomes(self) -> list[Outcome]:
        """Return what became of each image."""
        sums = torch.stack(self._sums).cpu().numpy()
        return [
            "nan" if not np.isfinite(size) else "counted" if size > 0 else "zero" for size in sums
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
