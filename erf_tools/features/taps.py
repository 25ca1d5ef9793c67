"""Where features are read, and how they become maps ``[N, C, H, W]``.

A layer's layout is what the user declares; else what the shapes allow, where only one reading has
the proportions of the image; else what the network declares. A hooked NHWC map of a square image
can pass for NCHW, so sizes alone never decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from math import isqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from erf_tools.errors import UsageError, suggestion

Layout = Literal["NCHW", "NHWC", "NLC"]

#: Paths that stand for methods of timm's networks rather than for modules.
LAST_STAGE, LAST_MAP = "forward_intermediates", "forward_features"

_RANK = {"NCHW": 4, "NHWC": 4, "NLC": 3}


@dataclass(frozen=True)
class Tap:
    """A feature map of a network.

    Attributes:
        path: dotted name of the module whose output is read (``""`` is the network itself), or a
            method of timm's: ``forward_intermediates`` for a stage before the final norm,
            ``forward_features`` for the last map where convolutions follow the last stage.
        layout: of that output: ``NCHW``, ``NHWC``, or ``NLC`` for tokens; ``None`` resolves it by
            the rule of this module.
        prefix_tokens: tokens before the first position (class, distillation, registers); ``None``
            takes the network's own number.
        grid: rows and columns of the tokens; ``None`` asks the network's ``patch_embed``, or gives
            them the proportions of the image.
        output_key: which part of a tuple, list or dictionary: an index or a key, with dots where
            they are nested. ``None`` takes the only map in it.
        stage: which of timm's stages; ``None`` is the last.
    """

    path: str
    layout: Layout | None = None
    prefix_tokens: int | None = None
    grid: tuple[int, int] | None = None
    output_key: str | None = None
    stage: int | None = None

    def __post_init__(self) -> None:
        if self.layout not in (None, *_RANK):
            raise UsageError(f"layout is {self.layout!r}; it is NCHW, NHWC or NLC (tokens)")

    @property
    def name(self) -> str:
        """The tap in words."""
        if self.path == LAST_STAGE and self.stage is not None:
            return f"stage {self.stage}"
        words = {
            LAST_STAGE: "last stage before the final norm (timm forward_intermediates)",
            LAST_MAP: "last map before pooling (timm forward_features)",
            "": "output of the network",
        }.get(self.path, self.path)
        return words if self.output_key is None else f"{words}, output {self.output_key}"

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "grid": list(self.grid) if self.grid else None, "name": self.name}


def default_tap(module: nn.Module) -> Tap:
    """Return the last spatial map before pooling and before the final norm.

    timm and RepLKNet: the last stage, or ``forward_features`` where the network declares other
    channels for it than its last stage has, as EfficientNet does for the 1x1 convolution behind it.
    Any other network: its own output, which then has to be a map.
    """
    if not hasattr(module, "forward_intermediates"):
        return Tap("")
    declared: Any = module
    widened = declared.num_features != declared.feature_info[-1]["num_chs"]
    return Tap(LAST_MAP if widened and not hasattr(module, "norm") else LAST_STAGE)


def stage_taps(module: nn.Module) -> list[Tap]:
    """Return a tap for each stage, from the input to the output.

    timm says itself what its networks' stages are (in a plain transformer every block). The
    default tap comes last where it lies behind the last stage.

    Raises:
        UsageError: the network does not say what its stages are.
    """
    if not hasattr(module, "forward_intermediates"):
        raise UsageError(
            f"{type(module).__name__} does not say what its stages are; name layers with --layer"
        )
    declared: Any = module
    stages = [Tap(LAST_STAGE, stage=stage) for stage in range(len(declared.feature_info))]
    last = default_tap(module)
    return [*stages, last] if last.path == LAST_MAP else stages


def find_taps(
    module: nn.Module, patterns: Sequence[str], output_key: str | None = None
) -> list[Tap]:
    """Return a tap for each module whose dotted name fits one of the patterns, in forward order.

    Args:
        module: the network.
        patterns: names, or shell patterns in which ``*`` stays within one level.
        output_key: see :class:`Tap`.

    Raises:
        UsageError: a pattern fits nothing.
    """
    names = [name for name, _ in module.named_modules() if name]
    found: set[str] = set()
    for pattern in patterns:
        wanted = pattern.split(".")
        fitting = {
            name
            for name in names
            if len(parts := name.split(".")) == len(wanted)
            and all(fnmatchcase(part, want) for part, want in zip(parts, wanted, strict=True))
        }
        if not fitting:
            raise UsageError(
                f"--layer {pattern}: the network has no such layer; {suggestion(pattern, names)} "
                "`erf-tools layers MODEL` lists them"
            )
        found |= fitting
    return [Tap(name, output_key=output_key) for name in names if name in found]


class _EverythingReadError(Exception):
    """Ends a forward pass when all taps have run: what follows is not needed."""


def read_maps(module: nn.Module, taps: Sequence[Tap], images: Tensor) -> list[Tensor]:
    """Run ``module`` once on ``images`` ``[N, 3, h, w]``; return the maps ``[N, C, H, W]`` of taps.

    A layer that runs several times is read at its first run.

    Raises:
        UsageError: there is no such layer, or its output cannot be read as a map.
    """
    outputs: dict[Tap, Any] = {}
    timm: Any = module
    stages = [tap for tap in taps if tap.path == LAST_STAGE]
    last = [tap for tap in taps if tap.path == LAST_MAP]
    hooked = [tap for tap in taps if tap not in stages and tap not in last]
    with _captured(module, hooked, outputs, stop=not stages and not last):
        if stages:
            count = len(timm.feature_info)
            asked = [count - 1 if tap.stage is None else tap.stage for tap in stages]
            final, maps = _intermediates(timm, images, sorted(set(asked)), bool(last))
            by_stage = dict(zip(sorted(set(asked)), maps, strict=True))
            outputs |= {tap: by_stage[stage] for tap, stage in zip(stages, asked, strict=True)}
            outputs |= dict.fromkeys(last, final)
        elif last:
            outputs |= dict.fromkeys(last, timm.forward_features(images))
        else:
            with suppress(_EverythingReadError):
                module(images)
    for tap in hooked:
        if tap not in outputs:
            raise UsageError(f"the layer {tap.path!r} did not run in a forward pass; name another")
    layer_maps = [
        outputs[tap] if tap.path == LAST_STAGE else _as_nchw(outputs[tap], module, tap, images)
        for tap in taps
    ]
    return layer_maps


def read_features(module: nn.Module, tap: Tap, images: Tensor) -> Tensor:
    """Return the map of one tap; see :func:`read_maps`."""
    return read_maps(module, [tap], images)[0]


def find_map_layers(module: nn.Module, images: Tensor, pattern: str = "") -> list[Tap]:
    """Return the layers whose output can be read as a map, in the order of their definition.

    Args:
        module: the network.
        images: to run it on, ``[N, 3, h, w]``.
        pattern: as in :func:`find_taps`; by default all layers made of others, and those that
            stand by themselves at the top.

    Raises:
        UsageError: the pattern fits nothing.
    """
    if pattern:
        taps = find_taps(module, [pattern])
    else:
        taps = [
            Tap(name)
            for name, layer in module.named_modules()
            if name and ("." not in name or any(layer.children()))
        ]
    outputs: dict[Tap, Any] = {}
    with _captured(module, taps, outputs, stop=False):
        module(images)

    def is_map(tap: Tap) -> bool:
        try:
            return min(_as_nchw(outputs[tap], module, tap, images).shape[-2:]) > 1
        except UsageError:
            return False

    return [tap for tap in taps if tap in outputs and is_map(tap)]


def _intermediates(
    network: Any, images: Tensor, stages: list[int], with_last: bool
) -> tuple[Tensor | None, list[Tensor]]:
    options = {"indices": stages, "norm": False, "output_fmt": "NCHW"}
    if with_last:
        return network.forward_intermediates(images, **options)
    return None, network.forward_intermediates(
        images, intermediates_only=True, stop_early=True, **options
    )


@contextmanager
def _captured(
    module: nn.Module, taps: Sequence[Tap], outputs: dict[Tap, Any], stop: bool
) -> Iterator[None]:
    """Put each tap's first output into ``outputs``; ``stop`` the pass when all are there."""

    def hook(tap: Tap) -> Callable[..., None]:
        def keep(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            outputs.setdefault(tap, output)
            if stop and len(outputs) == len(set(taps)):
                raise _EverythingReadError

        return keep

    handles = []
    try:
        for tap in taps:
            try:
                layer = module.get_submodule(tap.path)
            except AttributeError as error:
                known = [name for name, _ in module.named_children()]
                raise UsageError(
                    f"the network has no layer {tap.path!r}; its top layers are "
                    f"{', '.join(known) or 'none'}"
                ) from error
            handles.append(layer.register_forward_hook(hook(tap)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _as_nchw(output: Any, module: nn.Module, tap: Tap, images: Tensor) -> Tensor:
    tensor = _part(output, tap)
    layout = tap.layout or _layout(tensor, module, tap, images)
    if tensor.ndim != _RANK[layout]:
        raise UsageError(
            f"{tap.name} has shape {list(tensor.shape)}, which is no {layout} map; "
            "name a layer before the pooling, or declare its layout"
        )
    if layout == "NCHW":
        return tensor
    if layout == "NHWC":
        return tensor.permute(0, 3, 1, 2)
    prefix, (rows, columns) = _token_grid(tensor.shape[1], module, tap, images)
    return tensor[:, prefix:].transpose(1, 2).unflatten(2, (rows, columns))


def _part(output: Any, tap: Tap) -> Tensor:
    """Return the tensor that ``tap`` means of a module's output."""
    if tap.output_key is not None:
        for key in tap.output_key.split("."):
            parts = _parts(output)
            if key not in parts:
                raise UsageError(
                    f"--output-key {tap.output_key}: {tap.path or 'the network'} gives "
                    f"{_described(output)}"
                )
            output = parts[key]
    if parts := _parts(output):
        maps = [part for part in parts.values() if isinstance(part, Tensor) and part.ndim in (3, 4)]
        if len(maps) != 1:
            raise UsageError(f"{tap.name} gives {_described(output)}; say which with --output-key")
        (output,) = maps
    if not isinstance(output, Tensor):
        raise UsageError(
            f"{tap.name} gives a {type(output).__name__}, not a tensor; name another layer"
        )
    return output


def _parts(output: Any) -> dict[str, Any]:
    """Return the parts of a tuple, list or dictionary by index or key; of others nothing."""
    if isinstance(output, Mapping):
        return {str(key): part for key, part in output.items()}
    if isinstance(output, (tuple, list)):
        return {str(index): part for index, part in enumerate(output)}
    return {}


def _described(output: Any) -> str:
    """Return what an output is made of: its keys or indices, with shapes."""
    inside = ", ".join(
        f"{key}: {list(part.shape) if isinstance(part, Tensor) else type(part).__name__}"
        for key, part in _parts(output).items()
    )
    return f"a {type(output).__name__} of {inside}" if inside else f"a {type(output).__name__}"


def _layout(tensor: Tensor, module: nn.Module, tap: Tap, images: Tensor) -> Layout:
    if tensor.ndim == 3:
        return "NLC"
    if tensor.ndim != 4:
        raise UsageError(
            f"{tap.name} has shape {list(tensor.shape)}, which is no map; name a layer before the "
            "pooling"
        )
    fits_nchw = _in_proportion(tensor.shape[2], tensor.shape[3], images)
    fits_nhwc = _in_proportion(tensor.shape[1], tensor.shape[2], images)
    if fits_nchw != fits_nhwc:
        return "NCHW" if fits_nchw else "NHWC"
    layer = module if tap.path in ("", LAST_MAP) else module.get_submodule(tap.path)
    if isinstance(layer, nn.Linear) or type(layer) is nn.LayerNorm:
        return "NHWC"  # these two work on the last axis
    if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm)):
        return "NCHW"
    return "NHWC" if getattr(module, "output_fmt", "") == "NHWC" else "NCHW"


def _in_proportion(rows: int, columns: int, images: Tensor) -> bool:
    """Tell whether a map has the image's proportions, to a unit for what padding adds or takes."""
    height, width = images.shape[-2:]
    if rows > height or columns > width:
        return False
    return abs(rows * width - columns * height) <= max(height, width)


def _token_grid(
    tokens: int, module: nn.Module, tap: Tap, images: Tensor
) -> tuple[int, tuple[int, int]]:
    """Return the number of prefix tokens, and rows and columns of the others.

    Raises:
        UsageError: the tokens do not fill a grid.
    """
    declared = tap.prefix_tokens
    own = int(getattr(module, "num_prefix_tokens", 0) or 0)
    # A layer inside a block may see the positions alone.
    candidates = [declared] if declared is not None else sorted({own, 0}, reverse=True)
    height, width = images.shape[-2:]
    embedding: Any = getattr(module, "patch_embed", None)
    for prefix in candidates:
        positions = tokens - prefix
        if tap.grid:
            grid = tap.grid
        elif (embedded := _embedded_grid(embedding, images)) and (
            embedded[0] * embedded[1] == positions
        ):
            grid = embedded
        else:
            rows = isqrt(positions * height // width)
            grid = (rows, rows * width // height)
        if grid[0] * grid[1] == positions > 0:
            return prefix, grid
    expected = f"a grid of {tap.grid[0]}x{tap.grid[1]}" if tap.grid else "a grid like the image's"
    raise UsageError(
        f"{tap.name} has {tokens} tokens, which {candidates[0]} prefix tokens and {expected} do "
        "not make; declare them with Tap(..., prefix_tokens=, grid=(rows, columns))"
    )


def _embedded_grid(embedding: Any, images: Tensor) -> tuple[int, int] | None:
    if not hasattr(embedding, "dynamic_feat_size"):
        return None
    rows, columns = embedding.dynamic_feat_size(torch.Size(images.shape[-2:]))
    return int(rows), int(columns)
