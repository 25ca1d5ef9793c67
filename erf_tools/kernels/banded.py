"""Depthwise convolutions on a GPU as products with banded matrices, a kernel for Triton."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch
from torch import Tensor

from erf_tools.kernels.direct import memory_format

#: Sides of the tiles that the Triton kernel multiplies: map rows, and map columns.
_ROWS, _COLUMNS = 64, 16

#: ``triton.language``, once :func:`triton_kernel` has imported it.
tl: Any


def convolve(features: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply the rows of maps by banded matrices made from the rows of the kernel."""
    maps = features.contiguous()
    out = torch.empty_like(maps)
    launch(maps, kernel, bias, out)
    return out.contiguous(memory_format=memory_format(features))


def launch(maps: Tensor, kernel: Tensor, bias: Tensor | None, out: Tensor) -> Any:
    """Convolve contiguous maps ``[N, C, H, W]`` into ``out``; return what Triton compiled."""
    taps = kernel.contiguous()
    tf32 = maps.dtype == torch.float32
    if tf32:
        taps = ((taps.view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)
    images, channels, height, width = maps.shape
    tiles = -(-images * height // _ROWS) * -(-width // _COLUMNS)
    return triton_kernel()[tiles, channels](
        maps,
        taps,
        taps if bias is None else bias,
        out,
        images,
        channels,
        height,
        width,
        **kernel_constants(kernel, bias is not None, tf32),
    )


def kernel_constants(kernel: Tensor, has_bias: bool, tf32: bool) -> dict[str, Any]:
    """Return the compile-time arguments of :func:`triton_kernel` for a kernel ``[C, 1, h, w]``."""
    return {
        "kernel_height": kernel.shape[2],
        "kernel_width": kernel.shape[3],
        "margin": -(-(kernel.shape[3] // 2) // _COLUMNS) * _COLUMNS,
        "has_bias": has_bias,
        "precision": "tf32" if tf32 else "ieee",
        "tile_rows": _ROWS,
        "tile_columns": _COLUMNS,
    }


@functools.cache
def triton_kernel() -> Any:
    """Return the Triton kernel, for tests and for what runs it; it imports Triton.

    A program computes a tile of one channel: ``tile_rows`` rows of maps, those of several images if
    maps are low, and ``tile_columns`` columns. For each row of the kernel, it multiplies pieces of
    the maps' rows, as wide as the tile, by square blocks of the banded matrix whose column j holds
    that row of the kernel, centred on j.
    """
    # Triton looks names up among a module's globals.
    global tl
    triton, tl = (importlib.import_module(name) for name in ("triton", "triton.language"))

    @triton.jit  # type: ignore
    def convolve(  # type: ignore
        maps,
        taps,
        bias,
        out,
        images,
        channels,
        height,
        width,
        kernel_height: tl.constexpr,
        kernel_width: tl.constexpr,
        margin: tl.constexpr,
        has_bias: tl.constexpr,
        precision: tl.constexpr,
        tile_rows: tl.constexpr,
        tile_columns: tl.constexpr,
    ):
        across = tl.cdiv(width, tile_columns)
        first = tl.program_id(0) % across * tile_columns
        channel = tl.program_id(1)
        # Rows of all images are numbered through.
        row = tl.program_id(0) // across * tile_rows + tl.arange(0, tile_rows)
        image, y = row // height, row % height
        plane = (image.to(tl.int64) * channels + channel) * height * width
        inner, outer = tl.arange(0, tile_columns), tl.arange(0, tile_columns)
        # Pieces begin at multiples of their width, which makes loads aligned.
        pieces: tl.constexpr = 2 * margin // tile_columns + 1
        total = tl.zeros((tile_rows, tile_columns), dtype=tl.float32)
        for step in range(kernel_height * pieces):
            dy, offset = step // pieces, step % pieces * tile_columns - margin
            source, x = y + dy - kernel_height // 2, first + offset + inner
            inside = (image < images) & (source >= 0) & (source < height)
            piece = tl.load(
                maps + (plane + source * width)[:, None] + x[None, :],
                mask=inside[:, None] & (x >= 0)[None, :] & (x < width)[None, :],
                other=0.0,
            )
            if precision == "tf32":
                # Tensor cores cut bits off, which would make all results smaller: round first.
                bits = piece.to(tl.int32, bitcast=True)
                near = ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
                piece = tl.where(piece == piece, near, piece)
            dx = offset + inner[:, None] - outer[None, :] + kernel_width // 2
            band = tl.load(
                taps + (channel * kernel_height + dy) * kernel_width + dx,
                mask=(dx >= 0) & (dx < kernel_width),
                other=0.0,
            )
            total = tl.dot(piece, band, total, input_precision=precision)
        if has_bias:
            total += tl.load(bias + channel).to(tl.float32)
        x = first + outer
        tl.store(
            out + (plane + y * width)[:, None] + x[None, :],
            total.to(out.dtype.element_ty),
            mask=(image < images)[:, None] & (x < width)[None, :],
        )

    return convolve
