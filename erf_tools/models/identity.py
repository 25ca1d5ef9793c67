"""What decides a network's numbers, but for the values of its weights: what its parts do.

Two networks of one class and the same weights may differ in an activation, in a number that a part
keeps, in a table of positions that is no parameter, or in code that was edited.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.features.architecture import (
    WRITTEN,
    Description,
    UnknownError,
    name_of_released,
)
from erf_tools.garbage import collector_resting
from erf_tools.models.code import is_own_code

#: Attributes that say from where a network came, or that it is measured without.
_WITHOUT = {
    *("_name_or_path", "name_or_path", "_commit_hash", "training", "_compiled_call_impl"),
}

#: Values outside of a function that count where its code names them.
_COUNTS = (*WRITTEN, FunctionType, type, Mapping, list, tuple, set, frozenset, Tensor, np.ndarray)

#: Of a class, what says nothing of what it does.
_BESIDE = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__firstlineno__"),
    *("__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__"),
    *("__annotations_cache__", "__orig_bases__", "__parameters__", "_abc_impl"),
}


def network_sha256(module: nn.Module, own: bool) -> str:
    """Return a digest that two networks with the same weights share only if they compute alike.

    It is of the classes of all parts and of what these hold; of code that is of no library with
    versions, of what it does. What cannot be told from another of its kind counts by its class.

    Args:
        module: the network.
        own: it is the user's own. Tables in it count by their values then; those that a library
            makes follow from what else is in the digest, and may differ in the last bit between
            processors.
    """
    with collector_resting(), torch.inference_mode(False):
        said = _Identity(module if own else None).of(module)
    return hashlib.sha256(repr(said).encode()).hexdigest()


def packages_of(module: nn.Module) -> set[str]:
    """Return the importable names of the packages that define the classes of a network's parts."""
    kinds = {type(part) for part in module.modules()}
    return {base.__module__.partition(".")[0] for kind in kinds for base in kind.__mro__}


class _Identity(Description):
    """A description that looks into code of the user's own, where the strict one gives up."""

    def __init__(self, own: nn.Module | None) -> None:
        super().__init__()
        # The values of these have a digest of their own.
        weights = own.state_dict(keep_vars=True).values() if own is not None else ()
        self._weights = {id(each) for each in weights}
        self._with_values = own is not None

    def of(self, value: Any) -> Any:
        if isinstance(value, torch.device):  # where it is measured is nothing of the network's
            return ("device",)
        if isinstance(value, property):
            return ("property", *map(self.of, (value.fget, value.fset)))
        if isinstance(value, (staticmethod, classmethod)):
            return (type(value).__name__, self.of(value.__func__))
        try:
            return super().of(value)
        except Exception:  # objects refuse to be looked into in any way they like
            return ("object", type(value).__qualname__)

    def _name(self, value: Any) -> str:
        try:
            return name_of_released(value)
        except UnknownError:
            pass
        if not isinstance(value, type):
            return str(value.__qualname__)
        self._classes[value] = value.__qualname__  # its methods may name it
        bases = [self._class(base) for base in value.__mro__[1:]]
        own = [(name, self.of(each)) for name, each in vars(value).items() if name not in _BESIDE]
        digest = hashlib.sha256(repr((bases, own)).encode()).hexdigest()
        return f"{value.__qualname__} {digest}"

    def _tensor(self, tensor: Tensor) -> tuple[Any, ...]:
        said = super()._tensor(tensor)
        if not self._with_values or id(tensor) in self._weights or tensor.is_meta:
            return said
        dense = tensor.detach().cpu().to_dense().contiguous()
        return (*said, hashlib.sha256(dense.flatten().view(torch.uint8).numpy().data).hexdigest())

    def _of_function(self, function: FunctionType) -> Any:
        try:
            name_of_released(function)
        except UnknownError:
            return (*super()._of_function(function), *self._named_by(function))
        return super()._of_function(function)

    def _named_by(self, function: FunctionType) -> Iterator[Any]:
        """Yield what a function's code names outside of it."""
        names = sorted(set(_names(function.__code__)))
        for name in names:
            value = function.__globals__.get(name)
            if isinstance(value, ModuleType) and is_own_code(getattr(value, "__file__", "") or ""):
                held = vars(value)
                inside = {each: held[each] for each in names if isinstance(held.get(each), _COUNTS)}
                yield name, self.of(inside)
            elif isinstance(value, _COUNTS):
                yield name, self.of(value)

    def _held(self, value: Any) -> Mapping[str, Any]:
        if isinstance(value, nn.Module):
            try:
                held = super()._held(value)
            except Exception:  # parametrised parts have no state to be copied
                held = vars(value)
        else:
            kind = type(value)
            library = kind.__module__.partition(".")[0] in sys.stdlib_module_names
            # Of files, locks and loggers the class counts: what they hold changes by itself.
            held = vars(value) if not library or kind is SimpleNamespace else {}
        return {name: each for name, each in held.items() if name not in _WITHOUT}


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
