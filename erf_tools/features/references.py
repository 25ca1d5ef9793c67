"""What can be reached from an object: through attributes, containers, closures and globals.

Python's garbage collector knows what objects of any kind refer to. Functions alone are looked into
here, since they refer to all globals of their module, and use a few of them.
"""

from __future__ import annotations

import gc
import sysconfig
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, FunctionType, GeneratorType, ModuleType
from typing import Any

#: What is not looked into: code, and values that refer to nothing.
_ENDS = (type, ModuleType, CodeType, FrameType, GeneratorType, str, int, float, type(None))


def reached(start: Any) -> Iterator[Any]:
    """Yield an object and all that can be reached from it, each once.

    Weak references are followed too. Classes are not looked into, nor are the globals that a
    library's functions use.
    """
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        found = {
            id(value): value
            for value in waiting
            if not isinstance(value, _ENDS) and id(value) not in seen
        }
        seen |= found.keys()
        yield from found.values()
        functions = [value for value in found.values() if isinstance(value, FunctionType)]
        references = [value() for value in found.values() if isinstance(value, weakref.ref)]
        others = (value for value in found.values() if not isinstance(value, FunctionType))
        waiting = gc.get_referents(*others) + references
        for function in functions:
            waiting += (function.__closure__ or (), function.__dict__)
            waiting += (function.__defaults__, function.__kwdefaults__)
            if not _is_of_library(function.__code__.co_filename):
                waiting += _globals_of(function)


def _globals_of(function: FunctionType) -> list[Any]:
    """Return the globals that a function names, and what it may name of modules among them."""
    names = _names(function.__code__)
    found = [function.__globals__[name] for name in names & function.__globals__.keys()]
    for module in [value for value in found if isinstance(value, ModuleType)]:
        if not _is_of_library(getattr(module, "__file__", None) or ""):
            found += [vars(module)[name] for name in names & vars(module).keys()]
    return found


def _names(code: CodeType) -> set[str]:
    inner = (_names(value) for value in code.co_consts if isinstance(value, CodeType))
    return set(code.co_names).union(*inner)


@cache
def _is_of_library(file: str) -> bool:
    """Tell whether a file was installed, with Python or by a package."""
    places = (sysconfig.get_path(key) for key in ("stdlib", "purelib", "platlib"))
    return any(Path(file).is_relative_to(place) for place in places)
