"""From what a layer gives to a map ``[N, C, H, W]``.

A layer's layout is what the user declares, or what a proof has found
(:mod:`erf_tools.features.proof`). Before that it is a guess: where only one reading of the shape
has the proportions of the image, that one; else what the network declares. A hooked NHWC map of a
square image can pass for NCHW, so sizes alone never decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from erf_tools.errors import UsageError
from erf_tools.features.taps import LAST_MAP, LAST_STAGE, Layout, Tap
from erf_tools.text import dimensions

_RANK = {"NCHW": 4, "NHWC": 4, "NLC": 3, "NCL": 3, "LNC": 3}

#: What transformers calls the output of a network's last layer, beside others and class tokens.
_LAST = "last_hidden_state"


def select(output: Any, tap: Tap) -> Tensor:
    """Return the tensor that ``tap`` means of a module's output.

    Raises:
        UsageError: it has no such part, or several that could be meant.
    """
    if tap.output_key is not None:
        for key in tap.output_key.split("."):
            parts = _parts(output)
            if key not in parts:
                raise UsageError(
                    f"--output-key {tap.output_key}: {tap.path or 'the network'} gives "
                    f"{_described(output)}"
                )
            output = parts[key]
    if _parts(output):
        maps = dict(_maps_inside(output))
        if len(maps) > 1 and _LAST in maps:
            maps = {_LAST: maps[_LAST]}
        if len(maps) != 1:
            raise UsageError(f"{tap.name} gives {_described(output)}; {_which(tap, list(maps))}")
        (output,) = maps.values()
    if not isinstance(output, Tensor):
        raise UsageError(
            f"{tap.name} gives a {type(output).__name__}, not a tensor; name another layer"
        )
    return output


def as_map(tensor: Tensor, module: nn.Module, tap: Tap, size: tuple[int, int]) -> Tensor:
    """Return a layer's output as a map ``[N, C, H, W]``.

    Args:
        tensor: the output.
        module: the network.
        tap: the layer.
        size: height and width of the images.

    Raises:
        UsageError: the output is no map, or not of the layout that the tap declares.
    """
    layout = tap.reading.layout if tap.reading else tap.layout
    layout = layout or supposed_layout(tensor, module, tap, size)
    if tensor.ndim != _RANK[layout]:
        raise UsageError(
            f"{tap.name} has shape {list(tensor.shape)}, which is no {layout} map; "
            "name a layer before the pooling, or declare its layout"
        )
    if layout == "NCHW":
        return tensor
    if layout == "NHWC":
        return tensor.permute(0, 3, 1, 2)
    # To [N, C, L].
    tokens = {"NLC": tensor.mT, "NCL": tensor, "LNC": tensor.permute(1, 2, 0)}[layout]
    prefix, (rows, columns) = _token_grid(tokens.shape[2], module, tap, size)
    return tokens[:, :, prefix:].unflatten(2, (rows, columns))


def supposed_layout(tensor: Tensor, module: nn.Module, tap: Tap, size: tuple[int, int]) -> Layout:
    """Return the layout of an output that nothing is declared of, by the rule of this module.

    Raises:
        UsageError: the output is no map.
    """
    if tap.path == LAST_STAGE:
        return "NCHW"  # as it is asked for
    if tensor.ndim == 3:
        return "NLC"
    if tensor.ndim != 4:
        raise UsageError(
            f"{tap.name} has shape {list(tensor.shape)}, which is no map; name a layer before the "
            "pooling"
        )
    fits_nchw = _in_proportion(tensor.shape[2], tensor.shape[3], size)
    fits_nhwc = _in_proportion(tensor.shape[1], tensor.shape[2], size)
    if fits_nchw != fits_nhwc:
        return "NCHW" if fits_nchw else "NHWC"
    layer = module if tap.path in ("", LAST_MAP) else module.get_submodule(tap.path)
    if isinstance(layer, nn.Linear) or type(layer) is nn.LayerNorm:
        return "NHWC"  # these two work on the last axis
    if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm)):
        return "NCHW"
    return "NHWC" if getattr(module, "output_fmt", "") == "NHWC" else "NCHW"


def _parts(output: Any) -> dict[str, Any]:
    """Return the parts of a tuple, list, dictionary or dataclass by index, key or field."""
    if isinstance(output, Mapping):
        return {str(key): part for key, part in output.items()}
    if isinstance(output, (tuple, list)):
        return {str(index): part for index, part in enumerate(output)}
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    return {}


def _maps_inside(output: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield what could be a map among the parts of an output, at any depth, and its key."""
    for key, part in _parts(output).items():
        if isinstance(part, Tensor):
            if part.ndim in (3, 4) and part.is_floating_point():
                yield key, part
        else:
            for inner, found in _maps_inside(part):
                yield f"{key}.{inner}", found


def _which(tap: Tap, keys: Sequence[str]) -> str:
    """Return how one of an output's parts is named, or what to do where none is a map."""
    if not keys:
        return "none of them is a map; name another layer"
    key = f"{tap.output_key}.{keys[0]}" if tap.output_key else keys[0]
    if not tap.path:  # the network itself, which --layer has no name for
        code = replace(tap, output_key=key).code
        return f"name a layer with --layer, or say which in Python, as in {code}"
    run = f"#{tap.run}" if tap.run else ""
    return f"say which with --output-key, as in --layer {tap.path}{run} --output-key {key}"


def _described(output: Any) -> str:
    """Return what an output is made of: its keys or indices, with shapes."""
    inside = ", ".join(
        f"{key}: {list(part.shape) if isinstance(part, Tensor) else type(part).__name__}"
        for key, part in _parts(output).items()
    )
    return f"a {type(output).__name__} of {inside}" if inside else f"a {type(output).__name__}"


def _in_proportion(rows: int, columns: int, size: tuple[int, int]) -> bool:
    """Tell whether a map has the image's proportions, to a unit for what padding adds or takes."""
    height, width = size
    if rows > height or columns > width:
        return False
    return abs(rows * width - columns * height) <= max(height, width)


def _token_grid(
    tokens: int, module: nn.Module, tap: Tap, size: tuple[int, int]
) -> tuple[int, tuple[int, int]]:
    """Return the number of prefix tokens, and rows and columns of the others.

    Raises:
        UsageError: the tokens do not fill a grid.
    """
    declared = tap.reading.prefix_tokens if tap.reading else tap.prefix_tokens
    own = int(getattr(module, "num_prefix_tokens", 0) or 0)
    # A layer inside a block may see the positions alone.
    candidates = [declared] if declared is not None else sorted({own, 0}, reverse=True)
    height, width = size
    embedding: Any = getattr(module, "patch_embed", None)
    for prefix in candidates:
        positions = tokens - prefix
        if positions < 1:
            continue
        if tap.grid:
            grid = tap.grid
        elif (embedded := _embedded_grid(embedding, size)) and (
            embedded[0] * embedded[1] == positions
        ):
            grid = embedded
        else:
            rows = isqrt(positions * height // width)
            grid = (rows, rows * width // height)
        if grid[0] * grid[1] == positions:
            return prefix, grid
    expected = f"a grid of {dimensions(tap.grid)}" if tap.grid else "a grid like the image's"
    raise UsageError(
        f"{tap.name} has {tokens} tokens, which {candidates[0]} prefix tokens and {expected} do "
        "not make; declare them with Tap(..., prefix_tokens=, grid=(rows, columns))"
    )


def _embedded_grid(embedding: Any, size: tuple[int, int]) -> tuple[int, int] | None:
    if not hasattr(embedding, "dynamic_feat_size"):
        return None
    rows, columns = embedding.dynamic_feat_size(torch.Size(size))
    return int(rows), int(columns)
