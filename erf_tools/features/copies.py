"""Copies of networks: what is tried on a copy leaves no trace on the network itself.

Networks keep state when they run: running averages, counters, tables made for the first size they
see, windows that shrink for good on a small image. A copy is thrown away after what it was made
for, and the next one starts from the state that the user's network has.
"""

from __future__ import annotations

import copy
import gc
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from erf_tools.errors import ErfToolsError


class NotCopyableError(ErfToolsError):
    """A network holds something that cannot be copied, or that a copy would share with it."""


def independent_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a network that shares nothing with it.

    Raises:
        NotCopyableError: there is none.
    """
    return _copied(module, {})


def probe_copy(module: nn.Module) -> nn.Module:
    """Return a copy that shares the memory of each parameter until one of the two writes to it.

    It is as independent as :func:`independent_copy`, and costs no memory while it only runs; but no
    other thread may write to the network meanwhile, as one that trains the user's own does.

    Raises:
        NotCopyableError: there is none.
    """
    shared: dict[int, Any] = {}
    for parameter in module.parameters():
        if type(parameter) is nn.Parameter:
            try:
                values = torch._lazy_clone(parameter.detach())
            except (RuntimeError, NotImplementedError):  # memory that torch does not own
                continue
            shared[id(parameter)] = nn.Parameter(values, parameter.requires_grad)
    return _copied(module, shared)


def _copied(module: nn.Module, copies: dict[int, Any]) -> nn.Module:
    if _is_closed_over(module):
        raise NotCopyableError("a function inside the network refers to the network itself")
    collecting = gc.isenabled()
    gc.disable()  # it would run over the many new objects again and again
    try:
        with torch.inference_mode(False), _TensorsWithoutHistory():
            return copy.deepcopy(module, copies)
    except Exception as error:  # objects refuse to be copied in any way they like
        raise NotCopyableError(f"the network cannot be copied ({error})") from error
    finally:
        if collecting:
            gc.enable()


class _TensorsWithoutHistory(TorchFunctionMode):
    """Copy tensors that came of a computation, as weight norm keeps them, without its graph."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, copies = args
            return copies.setdefault(id(tensor), tensor.detach().clone())
        return func(*args, **(kwargs or {}))


def _is_closed_over(module: nn.Module) -> bool:
    """Tell whether functions that are kept in the network work with its own parts.

    Functions are not copied, so a copy would compute with the parts of the original.
    """
    own = {id(part) for part in module.modules()}
    own |= {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    waiting: list[Any] = [vars(part) for part in module.modules()]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, FunctionType):
            inside = [*_contents(value), *(value.__defaults__ or ())]
            if any(id(used) in own for used in inside):
                return True
            waiting += inside
        elif isinstance(value, partial):
            waiting.append(value.func)
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
    return False


def _contents(function: FunctionType) -> list[Any]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    return found


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Restore the random states of Python, NumPy and torch at the end."""
    python, numbers = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)
