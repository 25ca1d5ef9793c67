"""Where NaN must not go: into native code that takes positions or sizes, and where it is lost.

A kernel that reads an address from a NaN ends the process; one that decides by it, or makes a
number of it, gives an answer in which the dependency is lost. A pass that is watched ends there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any

import torch._dynamo  # torch imports it when it first runs, not the network
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from erf_tools.features.behaviour import READING


class UnsafeProbeError(Exception):
    """A network uses its values in a way that must not be tried with NaN."""


#: Namespaces of torch's own operators.
_OWN = ("aten", "prims", "prim")

#: Operators that take positions as floating numbers, or put values where indices say.
_POSITIONS = ("grid_sampler", "cudnn_grid_sampler", "max_unpool")

#: Operators whose result says something of the input's form, not of its values.
_OF_FORM = ("empty", "zeros", "ones", "full", "new_", "rand", "sym_", "is_same_size")

#: Operators that give indices or masks beside their values, which most networks do not use.
_WITH_EXTRAS = (
    *("max_pool", "adaptive_max_pool", "fractional_max_pool", "native_dropout"),
    *("_scaled_dot_product", "_flash_attention", "_efficient_attention"),
    *("_batch_norm", "native_batch_norm", "cudnn_", "miopen_"),
)

#: Elementwise operators that take one of their inputs by a mask.
_BY_MASK = ("where", "masked_fill")

#: Operators that leave NaN out, and that torch calls neither elementwise nor a reduction.
_LEAVING_OUT = ("nanmedian", "histc")

#: Packages whose compiled code does not take tensors' memory.
_HARMLESS = frozenset({*sys.stdlib_module_names, "torch", "numpy"})


class _OperatorsWatched(TorchDispatchMode):
    """Raises :class:`UnsafeProbeError` where an operator does what must not be done with NaN."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = func.name().rpartition("::")[2]
        risky = func.namespace not in _OWN or name.lstrip("_").startswith(
            (*_POSITIONS, *_LEAVING_OUT)
        )
        if risky and _hold_nan(args, kwargs):
            raise UnsafeProbeError(f"{func} would be given NaN")
        elementwise = torch.Tag.pointwise in _tags(func) and not name.startswith(_BY_MASK)
        # Before it is run, since it may work in place.
        spoilt = _spoilt(args, kwargs) if elementwise else []
        reduced = torch.Tag.reduction in _tags(func) and _hold_nan(args, kwargs)
        result = func(*args, **(kwargs or {}))
        if (reduced and not _hold_nan(result)) or (spoilt and _loses(spoilt, result)):
            raise UnsafeProbeError(f"{func} would make a number of NaN")
        if (
            not all(map(_is_floating, tree_leaves(result)))
            and not name.startswith((*_OF_FORM, *_WITH_EXTRAS))
            and _hold_nan(args, kwargs)
        ):
            raise UnsafeProbeError(f"{func} would decide by NaN")
        return result


@cache
def _tags(func: Any) -> frozenset[torch.Tag]:
    """Return what torch says of an operator, or of the one that it is the in-place form of."""
    packet = getattr(torch.ops.aten, func.overloadpacket.__name__.removesuffix("_"), None)
    form = getattr(packet, func._overloadname, None)
    return frozenset((*func.tags, *(form.tags if form else ())))


def _spoilt(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> list[Tensor]:
    """Return where NaN is in what an operator is given, for each that holds some."""
    given = args, {name: value for name, value in (kwargs or {}).items() if name != "out"}
    floating = (value for value in tree_leaves(given) if isinstance(value, Tensor))
    masks = [value.isnan() for value in floating if value.is_floating_point()]
    return [mask for mask in masks if mask.any()]


def _loses(spoilt: list[Tensor], result: Any) -> bool:
    """Tell whether an elementwise operator gave a number where it was given NaN."""
    found = result.isnan() if _is_floating(result) else torch.zeros(())
    return any(bool((mask & ~found.bool()).any()) for mask in spoilt)


def _is_floating(value: Any) -> bool:
    return value is None or (
        isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
    )


def _hold_nan(*values: Any) -> bool:
    return any(
        value.isnan().any().item()
        for value in tree_leaves(values)
        if isinstance(value, Tensor) and value.is_floating_point()
    )


@contextmanager
def watched() -> Iterator[None]:
    """End a pass before NaN reaches code that uses it as more than a number.

    Compiled code that is neither torch's nor the standard library's cannot be inspected; a pass
    ends before it is called.

    Raises:
        UnsafeProbeError: inside.
    """
    before = sys.getprofile()

    def note(_frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call":
            return
        package = str(getattr(function, "__module__", None) or "torch").partition(".")[0]
        if package not in _HARMLESS:
            raise UnsafeProbeError(f"{function} cannot be looked into")
        owner = getattr(function, "__self__", None)
        if isinstance(owner, Tensor) and function.__name__ in READING:
            with _disable_current_modes():
                if _hold_nan(owner):
                    raise UnsafeProbeError(f"{function.__name__} would be given NaN")

    try:
        with _OperatorsWatched():
            sys.setprofile(note)
            yield
    finally:
        sys.setprofile(before)
