"""Having Python's garbage collector rest while many objects are made that stay, or are freed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_resting() -> Iterator[None]:
    """Inside, the garbage collector does not run by itself.

    It starts after some hundred new objects, and sooner or later goes through all that torch and
    timm have made, which takes as long as the map of a small image. What no cycle holds is freed as
    ever.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
