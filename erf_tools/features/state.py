"""What a network holds beside its structure: remembered, compared and given back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from erf_tools.errors import ErfToolsError
from erf_tools.garbage import collector_resting

#: Values that are compared by what they are.
_PLAIN = (bool, int, float, complex, str)


class State:
    """What a network held at one time: buffers, attributes, hooks and modes, and its weights.

    Args:
        module: the network.
        weights: remember parameters, their gradients and flags as well, which takes their memory.
    """

    @collector_resting()
    def __init__(self, module: nn.Module, weights: bool) -> None:
        self._attributes = [(vars(part), dict(vars(part))) for part in module.modules()]
        self._containers: list[tuple[Any, Any]] = [
            (value, value.copy())
            for _, values in self._attributes
            for value in values.values()
            if type(value).__module__ in ("builtins", "collections")
            and isinstance(value, (dict, list, set, deque))
        ]
        held = [value for _, values in self._attributes for value in values.values()]
        for container, _ in self._containers:
            held += container.values() if isinstance(container, dict) else container
        if weights:
            held += [parameter.grad for parameter in module.parameters()]
        else:
            held = [value for value in held if not isinstance(value, nn.Parameter)]
        tensors = {id(value): value for value in held if isinstance(value, Tensor)}
        self._tensors = {
            id(tensor): (tensor, tensor.data, tensor.detach().clone(), tensor.requires_grad)
            for tensor in tensors.values()
        }

    def moved(self) -> bool:
        """Tell whether numbers have changed, as running averages and counters do.

        What was not there before, as a table made for the first size that is seen, is no change.
        """
        return any(self._differ(before, now) for before, now in self._pairs())

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        """Yield what the network held, each beside what it holds now."""
        for present, values in self._attributes:
            for name, value in values.items():
                yield value, present.get(name)
        for container, content in self._containers:
            if isinstance(container, dict):
                for key, value in content.items():
                    yield value, container.get(key)
            elif isinstance(container, (list, deque)):
                yield len(content), len(container)
                yield from zip(content, container, strict=False)

    def _differ(self, before: Any, now: Any) -> bool:
        if isinstance(before, Tensor) and isinstance(now, Tensor):
            if before is now and id(before) not in self._tensors:
                return False  # a weight
            numbers = self._tensors[id(before)][2] if id(before) in self._tensors else before
            return not _same(numbers, now)
        if isinstance(before, _PLAIN) and isinstance(now, _PLAIN):
            return before != now and not (before != before and now != now)  # NaN stays NaN
        return False

    def restore(self) -> None:
        """Give the network all of it back."""
        for present, values in self._attributes:
            present.clear()
            present.update(values)
        for container, content in self._containers:
            container.clear()
            if isinstance(container, (list, deque)):
                container.extend(content)
            else:
                container.update(content)
        for tensor, memory, numbers, requires_grad in self._tensors.values():
            if not _same(memory, numbers):
                memory.copy_(numbers)
            tensor.data = memory
            if tensor.is_leaf:
                tensor.requires_grad_(requires_grad)


def _same(one: Tensor, other: Tensor) -> bool:
    """Tell whether tensors hold the same numbers, NaN among them; no, where they do not compare."""
    try:
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if one.is_meta or other.is_meta:
            return one.is_meta and other.is_meta  # without numbers
        if one.layout != torch.strided:
            one, other = one.to_dense(), other.to_dense()
        if torch.equal(one, other):
            return True
        return bool(((one == other) | ((one != one) & (other != other))).all())
    except (RuntimeError, NotImplementedError):  # nested tensors, and those of other devices
        return False


@contextmanager
def state_kept(module: nn.Module, weights: bool = True) -> Iterator[None]:
    """Restore a network's state at the end; see :class:`State`."""
    before = State(module, weights)
    try:
        yield
    finally:
        before.restore()


@contextmanager
def state_guarded(module: nn.Module) -> Iterator[None]:
    """See that a network stays as it is while copies of it run.

    Where its weights move as well, it is being trained in another thread, whose affair that is.

    Raises:
        ErfToolsError: at the end, if its state has changed; it has got it back.
    """
    before, versions = State(module, weights=False), _versions(module)
    try:
        yield
    except BaseException:
        if before.moved() and _versions(module) == versions:
            before.restore()
        raise
    if before.moved() and _versions(module) == versions:
        before.restore()
        raise ErfToolsError(
            "running a copy of the network changed the network itself, so that nothing measured is "
            "kept (its state has been given back): a function or hook in it finds its parts by "
            "itself; let it take them from the module that it is given (self)"
        )


def _versions(module: nn.Module) -> list[int]:
    """Return how often torch has written to each parameter."""
    return [value._version for value in module.parameters() if not value.is_inference()]
