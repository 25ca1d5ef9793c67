"""Telling networks apart by all that they are but the values of their weights."""

from __future__ import annotations

import enum
import hashlib
import re
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, partial, partialmethod
from importlib import metadata
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.garbage import collector_resting

#: Packages whose code, where these distributions have put it, is told by their versions. Other code
#: may change unseen.
RELEASED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "transformers",
    "open_clip": "open_clip_torch",
    "erf_tools": "erf-tools",
}

#: Values that are told by how they are written.
WRITTEN = (
    *(bool, int, float, complex, str, bytes, type(None), type(...), range, slice, Path),
    *(np.generic, np.dtype, enum.Enum),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size),
)

#: Hooks of all networks.
_GLOBAL_HOOKS = tuple(
    name for name in vars(nn.modules.module) if re.match("_global_.*_hooks$", name)
)


class UnknownError(Exception):
    """Something that cannot be told from another of its kind."""


def architecture_sha256(module: nn.Module) -> str | None:
    """Return a digest that two networks share only if they compute alike, given the same weights.

    It is of the classes of all parts, of what they hold (numbers, functions, integer buffers, hooks
    and modes), and of the shapes and types of their weights. Single integers in buffers, which are
    counters mostly, and what was set on a tensor are not in it.

    Returns:
        ``None`` where a network holds something that cannot be told from another of its kind: code
        that is of none of the libraries with versions, or was put in place of theirs, or an open
        file. Likewise where hooks of all networks, modes or other functions in place of torch's
        change what every network does.
    """
    if any(vars(nn.modules.module)[name] for name in _GLOBAL_HOOKS):
        return None
    if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():
        return None
    try:
        for owner in (torch, nn.functional, Tensor):
            for name, value in vars(owner).items():
                if isinstance(value, FunctionType) and not name.startswith("_"):
                    _check_code(value)
        with collector_resting():
            said = Description().of(module)
    except Exception:  # objects refuse to be looked into in any way they like
        return None
    return hashlib.sha256(repr(said).encode()).hexdigest()


class Description:
    """Nested tuples of strings that say what values are; of what comes again, the place."""

    def __init__(self) -> None:
        # Each value is kept as well: another one could otherwise have its id later.
        self._places: dict[int, tuple[int, Any]] = {}
        self._classes: dict[type, str] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, WRITTEN):
            return (type(value).__name__, repr(value))
        if id(value) in self._places:
            return ("again", self._places[id(value)][0])
        self._places[id(value)] = len(self._places), value
        if isinstance(value, Tensor):
            return (self._class(type(value)), *self._tensor(value))
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return ("array", value.shape, str(value.dtype), _digest(value))
        if isinstance(value, type):
            return ("class", self._class(value))
        if isinstance(value, ModuleType):  # as the owner of a function
            return ("module", value.__name__)
        if isinstance(value, BuiltinFunctionType):
            return ("function", self._name(value), self.of(value.__self__))
        if isinstance(value, FunctionType):
            return self._of_function(value)
        if isinstance(value, MethodType):
            return ("method", self.of(value.__func__), self.of(value.__self__))
        if isinstance(value, partial):
            parts = (type(value), value.func, value.args, value.keywords)
            return ("partial", *map(self.of, parts))
        if isinstance(value, Mapping):
            pairs = tuple((self.of(key), self.of(item)) for key, item in value.items())
            return (self._class(type(value)), pairs, self._attributes(value))
        if isinstance(value, (list, tuple)):
            return (self._class(type(value)), tuple(map(self.of, value)), self._attributes(value))
        if isinstance(value, (set, frozenset)):
            return (self._class(type(value)), tuple(sorted(repr(self.of(item)) for item in value)))
        return (self._class(type(value)), self._attributes(value))

    def _class(self, value: type) -> str:
        if value not in self._classes:
            self._classes[value] = self._name(value)
        return self._classes[value]

    def _name(self, value: Any) -> str:
        return name_of_released(value)

    def _tensor(self, tensor: Tensor) -> tuple[Any, ...]:
        said = (tuple(tensor.shape), str(tensor.dtype), str(tensor.layout))
        # Tables of positions and masks are part of a network's form, counters are not.
        if tensor.is_floating_point() or tensor.is_complex() or not tensor.ndim:
            return said
        return (*said, _digest(tensor.detach().cpu().numpy()))

    def _of_function(self, function: FunctionType) -> Any:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        return (
            *("function", self._name(function), _code(function.__code__)),
            *map(self.of, (function.__defaults__, function.__kwdefaults__, cells)),
        )

    def _held(self, value: Any) -> Mapping[str, Any]:
        """Return the attributes of a value; of parts without what a copy would leave out."""
        held: Mapping[str, Any] = (
            value.__getstate__() if isinstance(value, nn.Module) else vars(value)
        )
        return held

    def _attributes(self, value: Any) -> Any:
        try:
            held = self._held(value)
        except RuntimeError as error:  # parametrised parts have none
            raise UnknownError(str(error)) from error
        except TypeError:
            if isinstance(value, (Mapping, list, tuple)):
                return ()
            raise UnknownError(f"{type(value)} shows nothing of itself") from None
        # Hooks are kept by numbers that count all there ever were.
        return tuple(
            (name, self.of(list(item.values()) if name.endswith("hooks") and item else item))
            for name, item in held.items()
        )


def name_of_released(value: Any) -> str:
    """Return the full name of a class or function whose code is known by it.

    Raises:
        UnknownError: its code may change while its name stays.
    """
    module = value.__module__ or "builtins"
    if not _is_released_module(module):
        raise UnknownError(f"the code of {value} may change")
    if isinstance(value, type):
        found: Any = sys.modules.get(module)
        for name in value.__qualname__.split("."):
            found = getattr(found, name, None)
        if found is not value:
            raise UnknownError(f"{value} is not what its module calls so")
        for base in value.__mro__ if issubclass(value, nn.Module) else ():
            for method in vars(base).values():
                _check_code(method)
    else:
        _check_code(value)
    return f"{module}.{value.__qualname__}"


def _check_code(value: Any) -> None:
    """See that a function, and what it is wrapped around, is written where a library is."""
    while value is not None:
        if isinstance(value, (partial, partialmethod)):
            value = value.func
        value = getattr(value, "__func__", value)  # of a class or static method
        if isinstance(value, FunctionType) and not _is_released(value.__code__.co_filename):
            raise UnknownError(f"{value} is of {value.__code__.co_filename}")
        value = getattr(value, "__wrapped__", None)


@cache
def _is_released_module(name: str) -> bool:
    while name:  # parts of a compiled module have no file
        if file := getattr(sys.modules.get(name), "__file__", None):
            return _is_released(file)
        if name in sys.builtin_module_names:
            return True
        name = name.rpartition(".")[0]
    return False


@cache
def _is_released(file: str) -> bool:
    """Tell whether a file lies where Python or one of the distributions has put it, or is ours."""
    path = Path(file).resolve()
    if any(map(path.is_relative_to, _places())):
        return True
    library = Path(sysconfig.get_path("stdlib")).resolve()
    return path.is_relative_to(library) and not {"site-packages", "dist-packages"} & {*path.parts}


@cache
def _places() -> tuple[Path, ...]:
    found = [Path(__file__).parents[1]]
    for package, distribution in RELEASED.items():
        with suppress(metadata.PackageNotFoundError):
            found.append(Path(str(metadata.distribution(distribution).locate_file(package))))
    return tuple(place.resolve() for place in found)


def _code(code: CodeType) -> tuple[Any, ...]:
    """Tell functions of one name apart, as lambdas are."""
    return code.co_code.hex(), code.co_names, tuple(map(_constant, code.co_consts))


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
