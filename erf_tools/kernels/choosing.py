"""Which algorithm computes a depthwise convolution.

On a CPU the algorithm depends on nothing but the shapes, the precision and the memory format, so
that results are reproducible. The rule rests on these times of one AVX-512 core, in ms, batch 1 in
channels_last (transposed: torch's transposed convolution with the flipped kernel; chunked: the FFT
of a few channels at a time)::

    | channels, side | kernel | NCHW | channels_last | transposed | FFT, chunked |
    |---|---|---|---|---|---|
    | 128, 128 | 7 / 9 / 13 | 5.9 / 15 / 14 | 3.9 / 6.1 / 29 | 5.4 / 6.0 / 12 | - |
    | 1024, 32 | 7 / 9 / 13 | 2.2 / 2.9 / 5.2 | 2.6 / 6.7 / 24 | 2.6 / 3.6 / 9.7 | - |
    | 1024, 16 | 9 / 13 / 15 | .6 / 1.0 / 29 | 1.1 / 7.7 / 1.4 | 1.0 / 2.4 / 3.6 | - |
    | 128, 128 | 31 | 800 | 49 | 68 | 19 |
    | 128, 256 | 31 | - | 240 | - | 99 |
    | 256, 64 | 29 | 266 | 21 | 29 | 11 |
    | 512, 32 | 27 | 83 | 9.5 | 18 | 10 |
    | 1024, 16 | 31 | 116 | 5.7 | 8.5 | 6 |
    | 256, 128 | 41 | - | 206 | - | 48 |

Strips, as SLaK has them (nor are 124, 249 or 499 channels multiples of 16)::

    | channels, side | kernel | NCHW | there and back | its FFT | channels_last | transposed | FFT |
    |---|---|---|---|---|---|---|---|
    | 124, 128 | 51x5 / 5x51 | - | 59 / 55 | 34 / 25 | 44 / 39 | 36 / 33 | 51 / 42 |
    | 249, 64 | 49x5 / 5x49 | - | 30 / 29 | 15 / 15 | 22 / 21 | 16 / 23 | 21 / 21 |
    | 499, 32 | 47x5 / 5x47 | - | 13 / 14 | 9.6 / 9.8 | 9.5 / 9.7 | 6.5 / 11 | 12 / 12 |
    | 499, 14 | 27x5 / 5x27 | - | 1.2 / 1.3 | 2.3 / 2.8 | 1.1 / 1.1 | .7 / 1.0 | 2.7 / 2.9 |
    | 124, 128 | 31x5 / 5x31 | - | 43 / 40 | 30 / 24 | 28 / 23 | 22 / 18 | 42 / 38 |
    | 124, 128 | 13x5 / 5x13 | 9.3 / 72 | 27 / 26 | 33 / 32 | 12 / 10 | 11 / 8.9 | 46 / 45 |

A cross merged of two strips and a square takes the FFT of a dense kernel: 44 in NCHW and 56 in
channels_last at [124, 128, 128], 27 and 38 at [249, 64, 64], where its parts take 75 and 43 in
channels_last. On maps of 16 and less the parts are faster (4 against 7), but the whole takes little
time there, and has no rule of its own.

oneDNN takes NCHW up to a side of 13, but columns above 9 only of channels that are a multiple of
16 (otherwise torch falls back to im2col, 5 to 80 times slower), and
its channels_last kernel is slow from 11 to 13, where that for gradients is not. NCHW there and back
costs 1 to 12 ms. In float64 there is no oneDNN: at [128, 32, 32], NCHW takes 1.0, 4.9, 15 and 55 ms
for kernels of 3, 7, 15 and 31, channels_last ten times as much, and the FFT 1.5, 2.4, 1.9 and 4.8.

On a GPU the algorithms are timed once per shape and precision, on one image; the fastest is kept.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

from erf_tools.kernels import banded, direct, fourier

#: The largest kernel side that oneDNN takes in NCHW.
_LARGEST_NCHW = 13

#: Kernel sides at which oneDNN is faster, in channels_last, as a transposed convolution.
_TRANSPOSED = (9, 13)

#: The most columns that it takes there of any number of channels, and what it else wants.
_WIDEST_NCHW, _BLOCK = 9, 16

#: How many times as long as wide a kernel is that counts as a strip.
_STRIP = 3

#: oneDNN's bfloat16 kernel for larger sides never returns for this many channels or fewer, in
#: channels_last (seen in torch 2.15, on AVX-512).
_HANGING = 16

#: The FFT wins where a kernel has more taps than this, times the padded over the bare area: with
#: oneDNN, and without it.
_FFT_TAPS, _FFT_TAPS_SLOW = 450, 25

#: The same for strips in NCHW, with oneDNN.
_FFT_TAPS_STRIP = 80

#: Difference, relative to the norm, from which an algorithm is wrong rather than rounded.
_WRONG = 0.02

#: Runs in a timing on a GPU.
_REPEATS = 3

#: Algorithms by name, but for the FFT, which needs the spectrum of the kernel.
DIRECT: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "plain": direct.plain,
    "other layout": direct.in_other_layout,
    "transposed": direct.transposed,
    "triton": banded.convolve,
}


def cpu_algorithm(features: Tensor, kernel: Tensor) -> str:
    """Choose by the rule that the top of this module gives reasons for."""
    height, width = kernel.shape[2:]
    rows, columns = fourier.transform_size(kernel, (features.shape[2], features.shape[3]))
    dearer = rows * columns / (features.shape[2] * features.shape[3])
    single = features.dtype == torch.float32
    onednn = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    if features.dtype == torch.float64 or (single and not onednn):
        if height * width > _FFT_TAPS_SLOW * dearer:
            return "fft"
        return "plain" if features.is_contiguous() else "other layout"
    if single and height * width > _FFT_TAPS * dearer:
        return "fft"
    longest = max(height, width)
    strip = longest > _LARGEST_NCHW and longest >= _STRIP * min(height, width)
    hanging = features.dtype == torch.bfloat16 and len(kernel) <= _HANGING
    if features.is_contiguous():
        if strip and single and height * width > _FFT_TAPS_STRIP * dearer:
            return "fft"
        taken = longest <= _LARGEST_NCHW and (width <= _WIDEST_NCHW or not len(kernel) % _BLOCK)
        return "plain" if taken or hanging else "other layout"
    if strip and single:
        return "transposed"
    if _TRANSPOSED[0] <= longest <= _TRANSPOSED[1]:
        # Without AVX-512 the transposed kernel adds up in 16 bits, which is too coarse.
        return "transposed" if single else "other layout"
    return "other layout" if longest > _LARGEST_NCHW and hanging else "plain"


def _allows_tf32() -> bool:
    """Return whether cuDNN's convolutions may round factors to TF32."""
    # The older of torch's two switches cannot be read after the newer was used.
    precision = getattr(getattr(torch.backends.cudnn, "conv", None), "fp32_precision", None)
    return torch.backends.cudnn.allow_tf32 if precision is None else precision == "tf32"


_chosen: dict[tuple[object, ...], str] = {}


def cuda_algorithm(features: Tensor, kernel: Tensor) -> str:
    """Time the algorithms that fit on one image, the first time, and choose the fastest.

    Batches take the same: on one H100, timing torch's own on each size of batch of RepLKNet-31B at
    1024 pixels took longer than the maps did.
    """
    tf32 = features.dtype == torch.float32 and _allows_tf32()
    key = (
        features.shape[1:],
        kernel.shape,
        features.dtype,
        tf32,
        direct.memory_format(features),
        features.device,
        torch.backends.cudnn.enabled,
    )
    if key not in _chosen:
        if torch.are_deterministic_algorithms_enabled() or torch.cuda.is_current_stream_capturing():
            return "plain"
        _chosen[key] = _fastest(candidates(features, kernel, tf32))
    return _chosen[key]


def candidates(features: Tensor, kernel: Tensor, tf32: bool) -> dict[str, Callable[[], Tensor]]:
    """Return what can compute this on a GPU, ready to be run on an image of noise.

    torch's own is the first.
    """
    generator = torch.Generator(features.device).manual_seed(0)
    # Not made of the features: what watches them would take the choice for one by their values.
    noise = torch.empty_strided(
        (1, *features.shape[1:]), features.stride(), dtype=features.dtype, device=features.device
    ).normal_(generator=generator)
    names = ["plain", "other layout"]
    # Products in full precision are for other units than tensor cores.
    if (tf32 or features.dtype.itemsize == 2) and importlib.util.find_spec("triton"):
        names.append("triton")
    found: dict[str, Callable[[], Tensor]] = {
        name: functools.partial(DIRECT[name], noise, kernel, None) for name in names
    }
    if features.dtype in fourier.TRANSFORMED:
        size = (features.shape[2], features.shape[3])
        spectrum = fourier.transform(kernel, size)
        transform_size = fourier.transform_size(kernel, size)
        found["fft"] = functools.partial(
            fourier.convolve, noise, spectrum, transform_size, None, False
        )
    return found


def _fastest(candidates: dict[str, Callable[[], Tensor]]) -> str:
    """Time each on the GPU, and drop what fails or contradicts the first."""
    best, expected = "", torch.empty(0)
    least = float("inf")
    for name, run in candidates.items():
        try:
            out = run()
            if not best:
                expected = out
            elif not (out - expected).norm() <= _WRONG * expected.norm():
                continue
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(_REPEATS):
                run()
            end.record()
            end.synchronize()
        except Exception:  # out of memory, no compiler, a GPU that Triton does not know
            if not best:
                raise
            continue
        if start.elapsed_time(end) < least:
            best, least = name, start.elapsed_time(end)
    return best
