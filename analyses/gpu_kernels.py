"""Cases of :mod:`analyses.gpu`: the card's own rates, and depthwise layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from analyses.comparisons import matrix_rate
from analyses.gpu_bench import Bench, Case, Reading, apart
from analyses.timing import duration
from erf_tools.erf.procedure import Precision
from erf_tools.kernels import banded, choosing
from erf_tools.kernels.devices import tf32_allowed

_DTYPES = {"tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def rates(bench: Bench) -> Iterator[Case]:
    """The card's own rates, which all else is a share of."""

    def products() -> Iterator[Reading]:
        for precision in bench.precisions:
            rate = matrix_rate(bench.device, precision) / 1e12
            yield Reading(f"matrix product, {precision}", rate, "TFLOP/s")

    def copies() -> Iterator[Reading]:
        yield Reading("copy, bytes read and written", _copy_rate(bench.device) / 1e12, "TB/s")

    yield "matrix product", products
    yield "copy", copies


def kernel(bench: Bench) -> Iterator[Case]:
    """The Triton kernel against torch's convolution, both against float64."""

    def of(shape: tuple[int, int, int], precision: str) -> Iterator[Reading]:
        maps, weight = _layer(shape, _DTYPES[precision], bench.device)
        out = torch.full_like(maps, torch.nan)
        expected = _convolved(maps.double(), weight.double())

        def ours() -> Any:
            return banded.launch(maps, weight, None, out)

        with tf32_allowed(precision == "tf32"):
            compiled = ours()
            yield Reading("error", apart(out, expected), "of the norm")
            theirs = partial(_convolved, maps, weight)
            yield Reading("torch: error", apart(theirs(), expected), "of the norm")
            yield Reading("milliseconds", 1e3 * _seconds(ours, bench), "ms")
            yield Reading("torch: milliseconds", 1e3 * _seconds(theirs, bench), "ms")
        for what in ("n_regs", "n_spills"):
            if hasattr(compiled, what):  # Triton's interpreter compiles nothing
                label = {"n_regs": "registers a thread", "n_spills": "spilled"}[what]
                yield Reading(label, float(getattr(compiled, what)), "")

    for shape in bench.shapes:
        for precision in _DTYPES:
            yield f"{_words(shape)}, {precision}", partial(of, shape, precision)


def depthwise(bench: Bench) -> Iterator[Case]:
    """The algorithms that a depthwise layer chooses from, and torch's own gradient."""

    def of(shape: tuple[int, int, int], precision: Precision) -> Iterator[Reading]:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        maps, weight = _layer(shape, dtype, bench.device)
        maps = maps.contiguous(memory_format=torch.channels_last)
        least = float("inf")
        with tf32_allowed(precision == "tf32"):
            for name, run in choosing.candidates(maps, weight, precision == "tf32").items():
                seconds = _seconds(run, bench)
                least = min(least, seconds)
                yield Reading(f"{name}: milliseconds", 1e3 * seconds, "ms")
            traffic = 2 * maps.numel() * maps.itemsize
            share = traffic / least / _copy_rate(bench.device)
            yield Reading("the fastest: share of the copy rate", share, "")
            images = maps.contiguous().requires_grad_()
            convolved = _convolved(images, weight)
            backward = partial(
                torch.autograd.grad, convolved, images, torch.ones_like(convolved), True
            )
            yield Reading("torch's gradient: milliseconds", 1e3 * _seconds(backward, bench), "ms")

    for shape in bench.shapes:
        for precision in bench.precisions:
            yield f"{_words(shape)}, {precision}", partial(of, shape, precision)


def _layer(
    shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return maps ``[1, C, H, W]`` and a kernel ``[C, 1, k, k]`` of noise."""
    channels, side, taps = shape
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(1, channels, side, side, generator=generator)
    weight = torch.randn(channels, 1, taps, taps, generator=generator) / taps
    return maps.to(device, dtype), weight.to(device, dtype)


def _convolved(maps: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(maps, weight, padding=weight.shape[-1] // 2, groups=len(weight))


def _words(shape: tuple[int, int, int]) -> str:
    channels, side, taps = shape
    return f"{channels} channels of {side}x{side}, kernel {taps}"


def _seconds(run: Callable[[], object], bench: Bench) -> float:
    """Return the time of a short run, which is repeated for 20 ms at least, five times."""
    run()
    once = duration(run, bench.device)
    repeats = max(1, min(100, round(0.02 / once)))

    def repeated() -> None:
        for _ in range(repeats):
            run()

    return median(duration(repeated, bench.device) for _ in range(5)) / repeats


def _copy_rate(device: torch.device) -> float:
    """Return bytes read and written per second by a copy on the device: the best of five."""
    size = 2**30 if device.type == "cuda" else 2**26
    source = torch.empty(size, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    return 2 * size / min(duration(lambda: target.copy_(source), device) for _ in range(5))
