"""Copies of networks: what is tried on a copy leaves no trace on the network itself.

Networks keep state when they run: running averages, counters, tables made for the first size they
see, windows that shrink for good on a small image. A copy is thrown away after what it was made
for, and the next one starts from the state that the user's network has.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import CellType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from erf_tools.errors import ErfToolsError
from erf_tools.features.references import reached
from erf_tools.garbage import collector_resting


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
    own = {id(part) for part in module.modules()}
    own |= {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    try:
        with collector_resting(), torch.inference_mode(False), _TensorsWithoutHistory():
            copied = copy.deepcopy(module, dict(copies))
            if _reaches(copied, own):
                copied = _copied_with_functions(module, copies, own)
    except Exception as error:  # objects refuse to be copied in any way they like
        raise NotCopyableError(f"the network cannot be copied ({error})") from error
    if _reaches(copied, own):
        raise NotCopyableError("something that the network uses refers to the network itself")
    return copied


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


def _reaches(start: Any, own: set[int]) -> bool:
    """Tell whether something leads to one of a network's parts and tensors, given by their ids."""
    return any(id(value) in own for value in reached(start))


def _copied_with_functions(module: nn.Module, copies: dict[int, Any], own: set[int]) -> nn.Module:
    """Return a copy whose functions work with its own parts; :mod:`copy` leaves them as they are.

    Args:
        module: the network.
        copies: what stands for some objects, by their ids.
        own: ids of the parts and tensors of the network.
    """
    copies = dict(copies)
    pairs = []
    for function in reached(module):
        if isinstance(function, FunctionType) and _reaches(function, own):
            # Functions may share variables, and refer to each other: they are filled last.
            cells = (copies.setdefault(id(cell), CellType()) for cell in function.__closure__ or ())
            twin = FunctionType(
                function.__code__, function.__globals__, function.__name__, None, tuple(cells)
            )
            pairs.append((function, copies.setdefault(id(function), twin)))
    copied = copy.deepcopy(module, copies)
    for function, twin in pairs:
        for cell, own_cell in zip(function.__closure__ or (), twin.__closure__ or (), strict=True):
            with suppress(ValueError):  # not filled yet
                own_cell.cell_contents = copy.deepcopy(cell.cell_contents, copies)
        twin.__defaults__ = copy.deepcopy(function.__defaults__, copies)
        twin.__kwdefaults__ = copy.deepcopy(function.__kwdefaults__, copies)
        twin.__dict__.update(copy.deepcopy(function.__dict__, copies))
        twin.__qualname__, twin.__module__ = function.__qualname__, function.__module__
    return copied


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


def random_states() -> tuple[Any, ...]:
    """Return the random states of Python, NumPy and torch, to be compared with those of later."""
    _, keys, *rest = np.random.get_state(legacy=True)
    torchs = [torch.get_rng_state()]
    if torch.cuda.is_initialized():
        torchs += torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        torchs.append(torch.mps.get_rng_state())
    drawn = (state.numpy().tobytes() for state in torchs)
    return random.getstate(), np.asarray(keys).tobytes(), *rest, *drawn
