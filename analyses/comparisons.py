"""Comparisons in time: ours beside another way to the same result, in turns, in one process."""

from __future__ import annotations

import copy
import importlib.util
import multiprocessing
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import torch
import typer
from PIL import Image
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from analyses.gpu_bench import apart
from analyses.timing import duration
from erf_tools.computing import Computing
from erf_tools.cue_conflict.categories import CATEGORIES, IMAGENET_CLASSES
from erf_tools.cue_conflict.classify import category_scores, decide
from erf_tools.cue_conflict.stimulus_sets import StimulusSet
from erf_tools.erf.contributions import Contributions
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.procedure import Precision, Procedure
from erf_tools.errors import ErfToolsError
from erf_tools.features.reading import read_features
from erf_tools.fields.cone import Cone
from erf_tools.images import Selection, select
from erf_tools.kernels.depthwise import DepthwiseConv2d
from erf_tools.kernels.devices import copy_on_device, tf32_allowed
from erf_tools.models.loading import load_model
from erf_tools.models.model import Model

#: Largest difference between both sides' maps, in norm. In float32 a value that rounding carries
#: over a ReLU's zero changes the map by about 1e-3; in bfloat16 all of them round.
_TOLERANCE = {"fp32": 2e-2, "tf32": 5e-2, "bf16": 0.5}


@dataclass(frozen=True)
class Comparison:
    """Two ways to the same result, timed in turns.

    Attributes:
        what: model and size.
        ours: what is timed of ours.
        other: what it is compared with.
        seconds: of ours, per image; the median of the pairs.
        other_seconds: of the other.
        ratio: median over pairs of the other's time over ours.
        lowest: ratio of a pair.
        highest: ratio of a pair.
        pairs: how many.
        difference: between both results, relative to the other's norm.
        share: of the machine's matrix-product rate that ours reaches; NaN where not counted.
    """

    what: str
    ours: str
    other: str
    seconds: float
    other_seconds: float
    ratio: float
    lowest: float
    highest: float
    pairs: int
    difference: float
    share: float = float("nan")


def published_map(network: nn.Module, model: Model, images: Tensor) -> Tensor:
    """Return the map of one image as the published script computes it.

    Ding et al. 2022: batch 1, NCHW, both parallel kernels, ``nn.Conv2d``, gradients to the host.
    """
    samples = images.requires_grad_(True)
    outputs = read_features(network, model.tap, samples)
    row, column = outputs.shape[2] // 2, outputs.shape[3] // 2
    central = nn.functional.relu(outputs[:, :, row, column]).sum()
    gradient = torch.autograd.grad(central, samples)[0]
    return nn.functional.relu(gradient).sum((0, 1)).cpu()


def mean_published_map(
    network: nn.Module,
    model: Model,
    images: Selection,
    side: int,
    device: torch.device,
    workers: int = 0,
) -> Tensor:
    """Return the mean map of images as the published script makes it: batch 1, sums on the host.

    Args:
        network: as :func:`as_published` makes it, on ``device``.
        model: the network with its tap and its mean and standard deviation.
        images: the images.
        side: that they are resized to, in pixels.
        device: where the network is.
        workers: processes that prepare images.

    Returns:
        float64 ``[side, side]``, not normalised.
    """
    opened = [image.open for image in images.images]
    shown = _AsInExamples(opened, model, side, transforms.InterpolationMode.BICUBIC)
    total = torch.zeros(side, side, dtype=torch.float64)
    with tf32_allowed(False):
        for batch in DataLoader(shown, 1, num_workers=workers):
            total += published_map(network, model, batch.to(device))
    return total / len(images)


class _AsInExamples(Dataset):
    """Images as torchvision's examples show them to a network: square, normalised."""

    def __init__(
        self,
        opened: Sequence[Callable[[], Image.Image]],
        model: Model,
        side: int,
        interpolation: transforms.InterpolationMode,
    ) -> None:
        own = model.preprocessing
        self._opened = opened
        self._transform = transforms.Compose(
            [
                transforms.Resize((side, side), interpolation),
                transforms.ToTensor(),
                transforms.Normalize(own.mean, own.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._opened)

    def __getitem__(self, index: int) -> Tensor:
        shown: Tensor = self._transform(self._opened[index]())
        return shown


def as_published(module: nn.Module) -> nn.Module:
    """Return a copy of a network whose convolutions are all torch's own."""
    network = copy.deepcopy(module)
    for part in network.modules():
        if type(part) is DepthwiseConv2d:
            part.__class__ = nn.Conv2d  # type: ignore[assignment]
    return network.eval().requires_grad_(True)


def matrix_rate(device: torch.device, precision: Precision = "fp32") -> float:
    """Return the rate of a matrix product on a device, in FLOP/s: the best of five."""
    side = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    factor = torch.randn(side, side, device=device, dtype=dtype)
    with tf32_allowed(precision == "tf32"):
        return 2 * side**3 / min(duration(lambda: factor @ factor, device) for _ in range(5))


def compare_maps(
    model: Model, resolution: int, device: torch.device, pairs: int, precision: Precision
) -> Iterator[Comparison]:
    """Time the map of one image: ours against the published procedure and without the cone."""
    size = (resolution, resolution)
    procedure = Procedure(resolution=resolution, precision=precision)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, *size, generator=generator).to(device)
    fixed = model.input_size is not None
    network = as_published(model.module).to(device)
    with copy_on_device(model.module, device, tf32=precision == "tf32") as frozen:
        made = Contributions(frozen, [model.tap], procedure, size, fixed, fast=True)
        last = images.contiguous(memory_format=torch.channels_last)
        made.maps(last.detach())  # finds the layer's shape

        def ours() -> Tensor:
            return made.maps(last.detach(), made.fastest)[0][0].cpu()

        def published() -> Tensor:
            return published_map(network, model, images.detach())

        work = 2 * _forward_flops(model, made.layers[0].cone, images)  # as much backward
        what = f"{model.name} at {resolution}"
        name = f"erf-tools, {precision}"
        allowed = _TOLERANCE[precision]
        found = compare(what, name, ours, "published procedure", published, device, pairs, allowed)
        yield replace(found, share=work / found.seconds / matrix_rate(device, precision))
        if made.fastest.cones:
            whole = replace(made.fastest, cones=frozenset())

            def without_cone() -> Tensor:
                return made.maps(last.detach(), whole)[0][0].cpu()

            yield compare(
                what, name, ours, "without the cone", without_cone, device, pairs, allowed
            )


def save_photographs(files: Sequence[Path], side: int) -> None:
    """Save a square piece of a built-in photograph to each of some files; no two are the same."""
    photographs = [image.open() for image in select("builtin").images]
    for index, file in enumerate(files):
        shift = index // len(photographs)
        file.parent.mkdir(parents=True, exist_ok=True)
        box = (shift, shift, shift + side, shift + side)
        photographs[index % len(photographs)].crop(box).save(file)


def compare_openerf(
    model: Model, num_images: int, device: torch.device, pairs: int
) -> Iterator[Comparison]:
    """Time a whole measurement, from files to a map, against OpenERF's."""
    if not importlib.util.find_spec("openerf"):
        return
    import openerf

    layer = "layer4"
    with tempfile.TemporaryDirectory() as folder:
        save_photographs([Path(folder, f"{index:03}.png") for index in range(num_images)], 300)
        selection = select(folder, num_images)

        def ours() -> Tensor:
            found = effective_receptive_field(
                model, selection, protocol="kim2023", layer=layer, device=str(device)
            ).map
            return torch.from_numpy(found / found.sum())

        def theirs() -> Tensor:
            found = openerf.compute_erf(
                model.module,
                image_dir=folder,
                max_images=num_images,
                target_layer=layer,
                device=str(device),
                show_progress=False,
            ).erf_map
            return torch.as_tensor(found)

        yield compare(
            f"{model.name} at 224, {num_images} images; ours with field and intervals",
            "erf-tools",
            ours,
            "openerf",
            theirs,
            device,
            pairs,
            _TOLERANCE["fp32"],
        )


def compare_decisions(
    model: Model, stimuli: StimulusSet, device: torch.device, pairs: int
) -> Comparison:
    """Time the decisions on all stimuli against a loop as in torchvision's examples."""
    batch_size = 64 if device.type == "cuda" else 4  # of 2, 4 and 16, the fastest on a CPU
    network = as_published(model.module).to(device)
    shown = _AsInExamples(
        [partial(_opened, stimulus.path) for stimulus in stimuli.stimuli],
        *(model, model.preprocessing.size, transforms.InterpolationMode.BILINEAR),
    )

    def plain() -> Tensor:
        answers = []
        with torch.no_grad():
            for images in DataLoader(shown, batch_size):
                scores = category_scores(network(images.to(device)), "mean", IMAGENET_CLASSES)
                answers.append(scores.argmax(dim=1).cpu())
        return torch.cat(answers).double() + 1

    def ours() -> Tensor:
        found = decide(model, stimuli, computing=Computing(device=str(device)))
        answers = [CATEGORIES.index(answer) for answer in found.frame["response"]]
        return torch.tensor(answers).double() + 1

    what = f"{model.name}, decisions on {len(stimuli)} stimuli"
    return compare(what, "erf-tools", ours, "torchvision-style loop", plain, device, pairs, 0.05)


def _opened(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def peak_memory(name: str, resolution: int, published: bool) -> float:
    """Return the peak memory in bytes of this process, which has to be fresh, after one map.

    Linux only; the ``ru_maxrss`` of a new process would still be that of its parent.
    """
    model = load_model(name, "random", resolution=resolution)
    images = torch.randn(1, 3, resolution, resolution)
    if published:
        published_map(as_published(model.module), model, images)
    else:
        size, procedure = (resolution, resolution), Procedure(resolution=resolution)
        fixed = model.input_size is not None
        with copy_on_device(model.module, torch.device("cpu")) as network:
            images = images.contiguous(memory_format=torch.channels_last)
            Contributions(network, [model.tap], procedure, size, fixed, fast=True).maps(images)
    return most_memory()


def most_memory() -> float:
    """Return the most memory in bytes that this process has had; on Linux only."""
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024.0 * int(peak)


def in_fresh_process(measured: Callable[..., float], *arguments: object) -> float:
    """Return what a function of a module measures in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, arguments)


def _forward_flops(model: Model, cone: Cone | None, images: Tensor) -> int:
    """Count the operations of a forward pass with merged kernels, inside the cone if there is one.

    The FFT needs fewer; what is counted is the work that a direct convolution would have.
    """
    module = model.module
    merged = reparameterize_model(module)
    network = as_published(merged).to(images.device)
    inside = cone.applied(network) if cone else nullcontext()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), inside:
        read_features(network, model.tap, images)
    return counter.get_total_flops()


def compare(
    what: str,
    our_name: str,
    ours: Callable[[], Tensor],
    other_name: str,
    other: Callable[[], Tensor],
    device: torch.device,
    pairs: int,
    tolerance: float,
) -> Comparison:
    """Check that both give the same, then time them in turns; the check is the warm-up.

    Raises:
        ErfToolsError: they do not.
    """
    difference = apart(ours(), other())
    if not difference <= tolerance:
        raise ErfToolsError(
            f"{what}: {our_name} and {other_name} differ by {difference:.2g}; nothing is timed"
        )
    times = [(duration(ours, device), duration(other, device)) for _ in range(pairs)]
    ratios = [theirs / mine for mine, theirs in times]
    found = Comparison(
        what,
        our_name,
        other_name,
        median(mine for mine, _ in times),
        median(theirs for _, theirs in times),
        median(ratios),
        min(ratios),
        max(ratios),
        pairs,
        difference,
    )
    typer.echo(
        f"{what}: {found.seconds:.3g} s, {other_name} {found.other_seconds:.3g} s, "
        f"ratio {found.ratio:.2f} ({found.lowest:.2f} to {found.highest:.2f})"
    )
    return found
