"""Importing heavy libraries without looking for garbage in them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from erf_tools.garbage import collector_resting


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Inside, Python's garbage collector rests; what was imported it leaves alone from then on.

    torch, timm and what they import make half a million objects that stay. The collector goes
    through them again and again while they are made, and whenever it looks for old garbage later: a
    quarter of the time of a small command. It is for programs: garbage that is there when something
    was imported is never found.
    """
    modules = len(sys.modules)
    with collector_resting():
        try:
            yield
        finally:
            if len(sys.modules) > modules:
                gc.freeze()
