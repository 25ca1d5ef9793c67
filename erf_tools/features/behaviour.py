"""What a network does with values and sizes: seen by watching one pass.

A network whose values decide what is computed (an early exit, a router, a mask) can do on one image
what it did not do on another, and one that looks at the size of its maps can do something else on
a part of an image. None of this can be found by comparing results on a few images; the operations
show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

#: Operations that hand values to Python, or put them into an order of their own.
_DECIDING = frozenset(
    {"_local_scalar_dense", "nonzero", "topk", "sort", "argsort", "kthvalue", "median", "mode"}
    | {"masked_select", "bucketize", "searchsorted", "multinomial", "bernoulli", "unique_dim"}
)

#: Methods of tensors that do so without an operation: behind them nothing can be watched.
READING = frozenset({"numpy", "tolist", "__array__", "__dlpack__", "data_ptr", "untyped_storage"})

#: Operations that place what they give by the size of what they are given.
_STRETCHING = ("upsample_", "_upsample_", "grid_sampler", "affine_grid")


@dataclass
class Behaviour:
    """What a pass has shown.

    Attributes:
        decisions: operations by which values of the image decide what is computed.
        stretching: operations by which a unit's value depends on the size of the whole map.
    """

    decisions: set[str] = field(default_factory=set)
    stretching: set[str] = field(default_factory=set)


@contextmanager
def watched(images: Tensor, behaviour: Behaviour) -> Iterator[None]:
    """Add to ``behaviour`` what a network that is run inside does with these images.

    An integer or a boolean that is computed from the image counts as a decision where it is used.
    (The places of maxima that a pooling returns as well are no decisions unless they are used.)
    """
    operations = _Operations(behaviour, images)
    with _Methods(behaviour, operations), operations:
        yield


class _Operations(TorchDispatchMode):
    """Follows what is made of the images, detached values too, through torch's operations."""

    def __init__(self, behaviour: Behaviour, images: Tensor) -> None:
        super().__init__()
        self._behaviour = behaviour
        self._followed = WeakTensorKeyDictionary()
        self._followed[images] = True

    def follows(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value in self._followed

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        followed = [tensor for tensor in given if tensor in self._followed]
        if _stretches(func, name, args, kwargs or {}, given, outputs):
            self._behaviour.stretching.add(name)
        if followed:
            if name in _DECIDING or not all(_has_values(tensor) for tensor in followed):
                self._behaviour.decisions.add(name)
            changed = given[:1] if func._schema.is_mutable else []
            for tensor in (*outputs, *changed):
                self._followed[tensor] = True
        return result


class _Methods(TorchFunctionMode):
    """Notes where Python reads the values of a followed tensor by itself."""

    def __init__(self, behaviour: Behaviour, operations: _Operations) -> None:
        super().__init__()
        self._behaviour = behaviour
        self._operations = operations

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one of torch's functions."""
        name = getattr(func, "__name__", "")
        if name in READING and args and self._operations.follows(args[0]):
            self._behaviour.decisions.add(name)
        return func(*args, **(kwargs or {}))


def _has_values(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _stretches(
    func: Any,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    given: list[Tensor],
    outputs: list[Tensor],
) -> bool:
    if not given or not outputs:
        return False
    before, after = given[0].shape[2:], outputs[0].shape[2:]
    if "adaptive" in name and "pool" in name:
        return any(length != 1 for length in after)
    if not name.startswith(_STRETCHING):
        return False
    names = [argument.name for argument in func._schema.arguments]
    if dict(zip(names, args, strict=False)).get("align_corners") or kwargs.get("align_corners"):
        return True
    # By a whole factor the weights repeat from unit to unit, whatever the size of the map.
    return "upsample" not in name or any(
        max(lengths) % min(lengths) for lengths in zip(before, after, strict=True)
    )
