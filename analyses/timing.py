"""Seconds that something takes, on a CPU or a GPU, and seconds of processors."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import torch


def duration(run: Callable[[], object], device: torch.device) -> float:
    """Return how long ``run`` takes, with all that it has started on ``device``."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def processor_time(run: Callable[[], object]) -> float:
    """Return the processor time of ``run``, of all threads together.

    Unlike :func:`duration` it hardly depends on what else the machine does.
    """
    gc.collect()
    start = time.process_time()
    run()
    return time.process_time() - start
