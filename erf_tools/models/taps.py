"""Where features are read, and how they become maps ``[N, C, H, W]``.

Layout is declared by the model or by the user, never guessed from sizes: a hooked NHWC map of a
square image could pass for NCHW, and a token sequence could be any grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from erf_tools.errors import UsageError
from erf_tools.models.replknet import RepLKNet

Layout = Literal["NCHW", "NHWC", "NLC"]

#: Paths that stand for methods of timm's networks rather than for modules.
LAST_STAGE, LAST_MAP = "forward_intermediates", "forward_features"

_RANK = {"NCHW": 4, "NHWC": 4, "NLC": 3}


@dataclass(frozen=True)
class Tap:
    """A feature map of a network.

    Attributes:
        path: dotted name of the module whose output is read (``""`` is the network itself), or a
            method of timm's: ``forward_intermediates`` for the last stage before the final norm,
            ``forward_features`` for the last map where convolutions follow the last stage.
        layout: of that output: ``NCHW``, ``NHWC``, or ``NLC`` for tokens.
        prefix_tokens: tokens before the first position (class, distillation, registers).
        grid: rows and columns of the tokens; ``None`` asks the network's ``patch_embed``.
    """

    path: str
    layout: Layout = "NCHW"
    prefix_tokens: int = 0
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.layout not in _RANK:
            raise UsageError(f"layout is {self.layout!r}; it is NCHW, NHWC or NLC (tokens)")

    @property
    def name(self) -> str:
        """The tap in words."""
        return {
            LAST_STAGE: "last stage before the final norm (timm forward_intermediates)",
            LAST_MAP: "last map before pooling (timm forward_features)",
            "": "output of the network",
        }.get(self.path, self.path)

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "grid": list(self.grid) if self.grid else None, "name": self.name}


def default_tap(module: nn.Module) -> Tap:
    """Return the last spatial map before pooling and before the final norm.

    RepLKNet: the last stage. timm: the last stage as well, or ``forward_features`` where the
    network declares other channels for it than its last stage has, as EfficientNet does for the
    1x1 convolution behind it. Any other network: its own output, which then has to be a map
    ``[N, C, H, W]``.
    """
    if isinstance(module, RepLKNet):
        return Tap(f"stages.{len(module.stages) - 1}")
    if not hasattr(module, "forward_intermediates"):
        return Tap("")
    declared: Any = module
    widened = declared.num_features != declared.feature_info[-1]["num_chs"]
    return Tap(LAST_MAP if widened and not hasattr(module, "norm") else LAST_STAGE)


def read_features(module: nn.Module, tap: Tap, images: Tensor) -> Tensor:
    """Run ``module`` on ``images`` ``[N, 3, h, w]`` and return the tap's map ``[N, C, H, W]``.

    Raises:
        UsageError: there is no such layer, or its output does not fit the declared layout.
    """
    timm: Any = module
    if tap.path == LAST_STAGE:
        (features,) = timm.forward_intermediates(
            images, indices=1, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return features
    if tap.path == LAST_MAP:
        return _as_nchw(timm.forward_features(images), module, tap, images)
    with _captured_output(module, tap.path) as captured:
        module(images)
    if not captured:
        raise UsageError(f"the layer {tap.path!r} did not run in a forward pass; name another")
    return _as_nchw(captured[-1], module, tap, images)


@contextmanager
def _captured_output(module: nn.Module, path: str) -> Iterator[list[Any]]:
    try:
        layer = module.get_submodule(path)
    except AttributeError as error:
        known = [name for name, _ in module.named_children()]
        raise UsageError(
            f"the network has no layer {path!r}; its top layers are {', '.join(known) or 'none'}"
        ) from error
    captured: list[Any] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: captured.append(output))
    try:
        yield captured
    finally:
        handle.remove()


def _as_nchw(output: Any, module: nn.Module, tap: Tap, images: Tensor) -> Tensor:
    if not isinstance(output, Tensor):
        raise UsageError(
            f"{tap.name} is a {type(output).__name__}, not a tensor; name a layer that gives one"
        )
    if output.ndim != _RANK[tap.layout]:
        raise UsageError(
            f"{tap.name} has shape {list(output.shape)}, which is no {tap.layout} map; "
            "name a layer before the pooling, or declare its layout"
        )
    if tap.layout == "NCHW":
        return output
    if tap.layout == "NHWC":
        return output.permute(0, 3, 1, 2)
    rows, columns = tap.grid or _token_grid(module, tap, images)
    tokens = output[:, tap.prefix_tokens :]
    if tokens.shape[1] != rows * columns:
        raise UsageError(
            f"{tap.name} has {output.shape[1]} tokens, but {tap.prefix_tokens} prefix tokens and "
            f"a grid of {rows}x{columns} make {tap.prefix_tokens + rows * columns}"
        )
    return tokens.transpose(1, 2).unflatten(2, (rows, columns))


def _token_grid(module: nn.Module, tap: Tap, images: Tensor) -> tuple[int, int]:
    embedding: Any = getattr(module, "patch_embed", None)
    if not hasattr(embedding, "dynamic_feat_size"):
        raise UsageError(
            f"{tap.name} gives tokens and the network does not say how they are arranged; "
            "declare it with Tap(..., grid=(rows, columns))"
        )
    rows, columns = embedding.dynamic_feat_size(torch.Size(images.shape[-2:]))
    return int(rows), int(columns)
