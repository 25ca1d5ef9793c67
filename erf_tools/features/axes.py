"""Which axes of a layer's output may be positions: those that a layout has, and any others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import torch
from torch import Tensor

from erf_tools.features.order import Ground
from erf_tools.features.taps import Layout, Reading, Tap

#: Most prefix tokens that are looked for where nothing is said of them.
_MOST_PREFIX_TOKENS = 8


def readings(tap: Tap, layout: Layout) -> Iterator[Reading]:
    """Yield how an output of a layout may be read, the likeliest first."""
    yield Reading(layout, tap.prefix_tokens)
    if len(layout) == 3 and tap.prefix_tokens is None:
        for prefix in range(1, _MOST_PREFIX_TOKENS + 1):
            yield Reading(layout, prefix)


def unsupposed_readings(
    output: Tensor, supposed: Layout
) -> Iterator[tuple[Tensor, Reading, Ground]]:
    """Yield an output ``[N, ...]`` as what no layout is: other axes of it as positions."""
    axes = range(1, output.ndim)
    for rows, columns in permutations(axes, 2):
        map_ = output.movedim((rows, columns), (-2, -1))
        yield (
            map_.reshape(len(output), -1, *map_.shape[-2:]),
            Reading("NCHW"),
            "order of axes",
        )
    for axis in axes:
        if axis == {"NLC": 1, "LNC": 1, "NCL": 2}.get(supposed):
            continue  # as it was supposed
        for reading in readings(Tap(""), "NLC"):
            yield output.movedim(axis, 1).flatten(2), reading, "order of positions"


def sums_to_one(output: Tensor) -> bool:
    """Tell whether an output is made of shares along its last axis, as attention's weights are."""
    if not output.is_floating_point() or output.shape[-1] < 2 or bool((output < 0).any()):
        return False
    sums = output.sum(-1)
    return bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-3, rtol=0))
