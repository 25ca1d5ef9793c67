"""Is a map the published one, whatever the network? Random networks against the literal loop.

Claim: what is measured is the published procedure (batch of one, relu of the central unit, its sum,
relu of the gradient, RGB summed), and the network that was given is as it was.

Method: a seed makes a network of layers, branches and shortcuts that networks are made of, odd ones
too (in-place operations, images of a batch that see each other, decisions by value or size, hooks),
in float64. Its ERF over two dozen images is compared with the loop that is written here, and
parameters, buffers, attributes, modes, hooks, random states and outputs with what they were.

Refuted by: a difference above 1e-9, relative in norm, or anything that is not as before.

Found: see the output; ``--seeds 500`` takes about ten minutes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from analyses.network_state import identities, random_states, state
from analyses.programs import run
from erf_tools import as_model, effective_receptive_field
from erf_tools.errors import ErfToolsError
from erf_tools.features.taps import Tap
from erf_tools.images import select
from erf_tools.preprocessing import Preprocessing

#: Largest difference that float64 can make, relative in norm.
TOLERANCE = 1e-9

_OWN = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
_WIDTH = 8
_IMAGES = 24


class Block(nn.Module):
    """One layer or branch of a random network, of eight channels in and out."""

    def __init__(self, forward: Callable[[Block, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._forward = forward

    def forward(self, features: Tensor) -> Tensor:
        """Return features ``[N, 8, H, W]``."""
        return self._forward(self, features)


def _convolution(draw: random.Random) -> nn.Module:
    kernel, dilation = draw.choice([1, 2, 3, 5, 7]), draw.choice([1, 1, 2])
    groups = draw.choice([1, 1, 2, _WIDTH])
    return nn.Conv2d(
        _WIDTH,
        _WIDTH,
        kernel,
        draw.choice([1, 1, 2]),
        draw.randint(0, dilation * (kernel - 1) // 2 + 1),
        dilation,
        groups,
        bias=draw.random() < 0.7,
        padding_mode=draw.choice(["zeros", "zeros", "zeros", "reflect", "circular"])
        if kernel == 1 or dilation * (kernel - 1) < 8
        else "zeros",
    )


def _same(draw: random.Random) -> nn.Module:
    kernel = draw.choice([1, 3, 5])
    return nn.Conv2d(_WIDTH, _WIDTH, kernel, 1, kernel // 2, bias=draw.random() < 0.5)


def _norm(draw: random.Random) -> nn.Module:
    kind = draw.choice(["batch"] * 6 + ["group", "instance", "own statistics", "response"])
    if kind == "group":
        return nn.GroupNorm(2, _WIDTH)
    if kind == "instance":
        return nn.InstanceNorm2d(_WIDTH, affine=True)
    if kind == "response":
        return nn.LocalResponseNorm(3)
    return nn.BatchNorm2d(_WIDTH, track_running_stats=kind == "batch")


def _activation(draw: random.Random) -> nn.Module:
    kinds = [nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), nn.Tanh(), nn.SiLU(inplace=True)]
    return draw.choice([*kinds, nn.Hardswish(), nn.ELU(), nn.Softplus()])


def _chain(draw: random.Random) -> nn.Module:
    return nn.Sequential(_convolution(draw), _norm(draw), _activation(draw))


def _residual(draw: random.Random) -> nn.Module:
    body = nn.Sequential(_same(draw), _norm(draw), _activation(draw), _same(draw), _norm(draw))

    def forward(block: Any, x: Tensor) -> Tensor:
        return block.after(x + block.body(x))

    def in_place(block: Any, x: Tensor) -> Tensor:
        y = block.body(x)
        y += x
        return block.after(y)

    return Block(draw.choice([forward, in_place]), body=body, after=_activation(draw))


def _concatenation(draw: random.Random) -> nn.Module:
    def forward(block: Any, x: Tensor) -> Tensor:
        return block.join(torch.cat([block.left(x), block.norm(x), x], dim=1))

    join = nn.Conv2d(3 * _WIDTH, _WIDTH, 1)
    return Block(forward, left=_same(draw), norm=_norm(draw), join=join)


def _pooling(draw: random.Random) -> nn.Module:
    ceil = draw.random() < 0.3
    return draw.choice([nn.MaxPool2d(3, 2, 1, ceil_mode=ceil), nn.AvgPool2d(2, 2, ceil_mode=ceil)])


def _neck(draw: random.Random) -> nn.Module:
    mode, corners = draw.choice(
        [("nearest", None), ("bilinear", False), ("bilinear", True), ("bicubic", False)]
    )

    def forward(block: Any, x: Tensor) -> Tensor:
        small = F.avg_pool2d(block.conv(x), 2, ceil_mode=True)
        return x + F.interpolate(small, size=x.shape[2:], mode=mode, align_corners=corners)

    return Block(forward, conv=_same(draw))


def _gate(draw: random.Random) -> nn.Module:
    def forward(block: Any, x: Tensor) -> Tensor:
        return x * block.up(block.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()

    return Block(forward, down=nn.Conv2d(_WIDTH, 2, 1), up=nn.Conv2d(2, _WIDTH, 1))


def _attention(draw: random.Random) -> nn.Module:
    def forward(block: Any, x: Tensor) -> Tensor:
        small = F.adaptive_avg_pool2d(x, 4).flatten(2).transpose(1, 2)
        tokens = x.flatten(2).transpose(1, 2)
        found = F.scaled_dot_product_attention(block.query(tokens), block.key(small), small)
        return x + found.transpose(1, 2).unflatten(2, x.shape[2:])

    return Block(forward, query=nn.Linear(_WIDTH, _WIDTH), key=nn.Linear(_WIDTH, _WIDTH))


def _layer_norm(draw: random.Random) -> nn.Module:
    def forward(block: Any, x: Tensor) -> Tensor:
        return block.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    return Block(forward, norm=nn.LayerNorm(_WIDTH))


def _decision(draw: random.Random) -> nn.Module:
    def by_value(block: Any, x: Tensor) -> Tensor:
        return block.conv(x) if x.mean() > 0 else x

    def by_where(block: Any, x: Tensor) -> Tensor:
        return torch.where(x.mean((1, 2, 3), keepdim=True) > 0, block.conv(x), x)

    def by_size(block: Any, x: Tensor) -> Tensor:
        return block.conv(x) if x.shape[-1] > 40 else x

    def by_rank(block: Any, x: Tensor) -> Tensor:
        best = x.mean((2, 3)).topk(4).values.mean(1)[:, None, None, None]
        return block.conv(x) * best

    return Block(draw.choice([by_value, by_where, by_size, by_rank]), conv=_same(draw))


def _places(draw: random.Random) -> nn.Module:
    def forward(block: Any, x: Tensor) -> Tensor:
        rows = torch.linspace(-1, 1, x.shape[2], dtype=x.dtype)[:, None]
        return block.conv(x) * (2 + rows)

    return Block(forward, conv=_same(draw))


def _strangers(draw: random.Random) -> nn.Module:
    """Return a block that mixes images, detaches, counts or is hooked."""

    def mixed(block: Any, x: Tensor) -> Tensor:
        return block.conv(x) + x.mean(0, keepdim=True)

    def detached(block: Any, x: Tensor) -> Tensor:
        y = block.conv(x)
        return block.norm(y) * y.detach().sigmoid()

    def counted(block: Any, x: Tensor) -> Tensor:
        block.calls = getattr(block, "calls", 0) + 1
        return block.norm(block.conv(x))

    def hooked(block: Any, x: Tensor) -> Tensor:
        return block.norm(block.conv(x))

    def without_sign(_part: nn.Module, into: Any, _of: Any) -> tuple[Tensor]:
        return (into[0].abs(),)

    forward = draw.choice([mixed, detached, counted, hooked])
    block = Block(forward, conv=_same(draw), norm=nn.BatchNorm2d(_WIDTH))
    if forward is hooked:
        kind = draw.choice(["forward", "backward"])
        if kind == "forward":
            block.get_submodule("conv").register_forward_hook(lambda _part, _in, out: 2 * out)
        else:
            block.get_submodule("norm").register_full_backward_hook(without_sign)
    return block


_KINDS = (
    (_chain, 8),
    (_residual, 4),
    (_concatenation, 2),
    (_pooling, 2),
    (_neck, 1),
    (_gate, 1),
    (_attention, 1),
    (_layer_norm, 1),
    (_decision, 1),
    (_places, 1),
    (_strangers, 1),
)


def random_network(seed: int) -> nn.Module:
    """Return the network of a seed, in evaluation mode and float64."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    makers = draw.choices(*zip(*_KINDS, strict=True), k=draw.randint(1, 5))
    stem = nn.Conv2d(3, _WIDTH, draw.choice([3, 4, 7]), draw.choice([1, 2, 4]), draw.randint(0, 3))
    network = nn.Sequential(stem, *(make(draw) for make in makers)).double()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)
            if part.running_mean is not None and part.running_var is not None:
                nn.init.uniform_(part.running_mean, -0.3, 0.3)
                nn.init.uniform_(part.running_var, 0.5, 1.5)
    return network.train(draw.random() < 0.2)


def literal_map(network: nn.Module, images: list[Image.Image]) -> np.ndarray:
    """Return the mean map ``[height, width]`` as the publication has it, image by image."""
    total = np.zeros(images[0].size[::-1])
    for image in images:
        pixels = np.asarray(image).transpose(2, 0, 1)[None] / 255.0
        sample = torch.tensor((pixels - 0.5) / 0.25, requires_grad=True)
        with _NormsByFormula():
            outputs = network(sample)
        height, width = outputs.shape[2:]
        central = outputs[:, :, height // 2, width // 2].relu().sum()
        (gradient,) = torch.autograd.grad(central, sample)
        total += gradient.relu().sum((0, 1)).numpy()
    return total / len(images)


class _NormsByFormula(TorchFunctionMode):
    """Computes batch normalisation by its formula: of one image, torch misreads some layouts."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one of torch's functions."""
        run = _norm_by_formula if func is F.batch_norm else func
        return run(*args, **(kwargs or {}))


def _norm_by_formula(
    maps: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    *,
    weight: Tensor,
    bias: Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalise maps ``[N, C, H, W]`` as ``F.batch_norm``, whose arguments these are."""
    if training or mean is None or variance is None:
        variance, mean = torch.var_mean(maps, (0, 2, 3), correction=0)
    scale = weight / (variance + eps).sqrt()
    return (maps - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]


def try_seed(seed: int) -> float | None:
    """Measure the network of a seed and compare.

    Returns:
        the difference, relative in norm; ``None`` for a network that cannot be run, or has a map of
        zeros.

    Raises:
        ErfToolsError: the network is not as before.
    """
    draw = np.random.default_rng(seed)
    side = int(draw.integers(56, 113))
    levels = [0, *draw.integers(0, 200, _IMAGES - 1)]
    images = [
        Image.fromarray((level + draw.integers(0, 56, (side, side, 3))).astype(np.uint8))
        for level in levels
    ]
    network = random_network(seed)
    try:
        expected = literal_map(random_network(seed).eval(), images)
    except (RuntimeError, IndexError, ValueError):  # nothing is left of the map
        return None
    before = state(network), identities(network), random_states()
    model = as_model(network, preprocessing=_OWN, tap=Tap("", "NCHW"))
    selection = select(images, _IMAGES, order="sequential")
    found = effective_receptive_field(model, selection, resolution=side).map
    if (state(network), identities(network), random_states()) != before:
        raise ErfToolsError("the network or a random state is not as before")
    sample = torch.rand(1, 3, side, side, dtype=torch.float64)
    outputs = []
    for each in (network, random_network(seed)):
        torch.manual_seed(0)
        outputs.append(each.eval()(sample))
    if not torch.equal(*outputs):
        raise ErfToolsError("the network gives something else than before")
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected)) / size if size else None


def main(
    seeds: Annotated[int, typer.Option(min=1, help="How many networks.")] = 500,
    first: Annotated[int, typer.Option(min=0, help="Seed of the first.")] = 0,
) -> None:
    """Compare maps of random networks with the literal loop."""
    differences: dict[int, float] = {}
    failures: list[str] = []
    for seed in tqdm(range(first, first + seeds), unit="network", disable=None):
        try:
            difference = try_seed(seed)
        except ErfToolsError as error:
            failures.append(f"seed {seed}: {error}")
            continue
        if difference is not None:
            differences[seed] = difference
    largest = max(differences.values(), default=0.0)
    wrong = [seed for seed, by in differences.items() if not by <= TOLERANCE]
    typer.echo(f"{len(differences)} networks compared; the largest difference is {largest:.2g}")
    if wrong or failures:
        named = [f"seed {seed}: differs by {differences[seed]:.2g}" for seed in wrong]
        raise ErfToolsError("; ".join([*named, *failures]))


if __name__ == "__main__":
    run(main)
