"""Whole calls, from files to an ERF with its field and intervals, beside the published loop.

What a call takes beside its maps (folding, fields, proofs, intervals) counts here, and what another
process does to both: the same is timed once more while one keeps a core busy.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from analyses.comparisons import (
    Comparison,
    as_published,
    compare,
    mean_published_map,
    most_memory,
    save_photographs,
)
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.images import Selection, select
from erf_tools.models.loading import load_model
from erf_tools.models.model import Model

#: Network, side and number of images.
WHOLE = (
    *(("resnet50", 224, count) for count in (1, 4, 50)),
    ("resnet50", 1024, 10),
    ("resnet101", 1024, 10),
    *(("vit_small_patch16_224", 224, count) for count in (1, 50)),
    *(("replknet31b", 512, count) for count in (1, 4)),
    ("replknet31b", 1024, 2),
)
QUICK = (("resnet50", 224, 1), ("resnet50", 224, 4))

#: Maps are means over images of what each side's rounding gives.
_TOLERANCE = 2e-2


def compare_calls(
    cases: tuple[tuple[str, int, int], ...], device: torch.device, pairs: int
) -> Iterator[Comparison]:
    """Time each case on the machine as it is, and with one of its cores kept busy."""
    for name, side, count in cases:
        model = load_model(name, "random", resolution=side)
        with tempfile.TemporaryDirectory() as folder:
            save_photographs([Path(folder, f"{index:03}.png") for index in range(count)], 300)
            selection = select(folder, count)
            yield _compared(model, selection, side, device, pairs, "")
            with one_core_busy():
                yield _compared(model, selection, side, device, pairs, ", a core busy")


def call_memory(name: str, side: int, count: int) -> float:
    """Return the peak memory in bytes of this process, which has to be fresh, after a whole call.

    Linux only, as :func:`analyses.comparisons.peak_memory`.
    """
    model = load_model(name, "random", resolution=side)
    with tempfile.TemporaryDirectory() as folder:
        save_photographs([Path(folder, f"{index:03}.png") for index in range(count)], 300)
        effective_receptive_field(model, select(folder, count), resolution=side, device="cpu")
    return most_memory()


@contextmanager
def one_core_busy() -> Iterator[None]:
    """Have another process take all of a core's time."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def _compared(
    model: Model, selection: Selection, side: int, device: torch.device, pairs: int, remark: str
) -> Comparison:
    network = as_published(model.module).to(device)

    def ours() -> Tensor:
        found = effective_receptive_field(model, selection, resolution=side, device=str(device))
        return torch.from_numpy(found.map)

    def published() -> Tensor:
        return mean_published_map(network, model, selection, side, device)

    count = len(selection)
    what = f"{model.name} at {side}, {count} image{'s' * (count > 1)}{remark}"
    return compare(
        what, "a whole call", ours, "the published loop", published, device, pairs, _TOLERANCE
    )
