"""Which module of a network passes its output to which: read off one differentiable pass.

Python code between modules, shortcuts above all, is seen by automatic differentiation as well, so
nothing has to be known of the network's class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from erf_tools.errors import ErfToolsError
from erf_tools.features.copies import probe_copy, random_states_kept
from erf_tools.features.inputs import input_like
from erf_tools.features.small_sizes import small_sizes

#: Runs a network on images ``[N, 3, h, w]`` and returns what is wanted of it.
Read = Callable[[nn.Module, Tensor], Sequence[Tensor]]

#: A tensor is known by the node of the graph that made it.
Node = Any


@dataclass
class Call:
    """One call of a module with one tensor, which gave one tensor.

    Attributes:
        name: dotted name of the module.
        shape: of its input.
        source: node of its input.
        result: node of its output; ``None`` until it has ended.
    """

    name: str
    shape: tuple[int, ...]
    source: Node
    result: Node = None


@dataclass(frozen=True)
class Dataflow:
    """What happened in a pass.

    Attributes:
        calls: in the order in which they began.
        maps: the maps that were read, ``[1, C, H, W]``.
        size: height and width of the image.
    """

    calls: tuple[Call, ...]
    maps: tuple[Tensor, ...]
    size: tuple[int, int]

    def consumers(self) -> Counter[Node]:
        """Return how many operations on the way to the maps use the result of each node."""
        return Counter(
            used for node in _ordered([map_.grad_fn for map_ in self.maps]) for used in _used(node)
        )

    def cuts(self, index: int) -> set[Node]:
        """Return the nodes that every path from the image to one of the maps passes."""
        root = self.maps[index].grad_fn
        nodes = _ordered([root])
        below: Counter[Node] = Counter()
        for node in nodes:
            below[node] = sum(below[used] for used in _used(node)) or 1
        above = Counter({root: 1})
        for node in reversed(nodes):
            for used in _used(node):
                above[used] += above[node]
        return {node for node in nodes if above[node] * below[node] == below[root]}


def observe(module: nn.Module, read: Read, size: tuple[int, int]) -> Dataflow:
    """Run a copy of a network in evaluation mode, with frozen parameters, on a small image.

    Args:
        module: the network.
        read: runs a network on images ``[1, 3, h, w]`` and returns maps ``[1, C, H, W]``.
        size: of the images to be analysed.

    Raises:
        ErfToolsError: it cannot be copied or does not take small images, or what it gives has no
            gradient.
    """
    like = input_like(module)
    for height, width in small_sizes(size):
        noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        copied = probe_copy(module)
        try:
            with random_states_kept(), _recorded(copied) as calls, torch.enable_grad():
                # The first module's input has a node of its own only behind an operation.
                maps = tuple(read(copied, noise.to(like).requires_grad_().clone()))
        except (Exception, SystemExit):  # networks refuse a size in any way they like
            continue
        if all(map_.grad_fn is not None for map_ in maps):
            ended = tuple(call for call in calls if call.result is not None)
            return Dataflow(ended, maps, (height, width))
    raise ErfToolsError("the network cannot be run on a small image")


@contextmanager
def _recorded(module: nn.Module) -> Iterator[list[Call]]:
    """Record the calls of all parts of a network."""
    names = {part: name for name, part in module.named_modules()}
    calls: list[Call] = []
    begun: list[Call | None] = []

    def begin(part: nn.Module, inputs: tuple[Any, ...]) -> None:
        call = None
        if len(inputs) == 1 and isinstance(inputs[0], Tensor):
            call = Call(names[part], tuple(inputs[0].shape), inputs[0].grad_fn)
            calls.append(call)
        begun.append(call)

    def end(_part: nn.Module, _inputs: Any, output: Any) -> None:
        call = begun.pop()
        if call and isinstance(output, Tensor):
            call.result = output.grad_fn

    with ExitStack() as hooks:
        for part in names:
            hooks.enter_context(part.register_forward_pre_hook(begin))
            hooks.enter_context(part.register_forward_hook(end))
        yield calls


def _used(node: Node) -> list[Node]:
    return [used for used, _ in node.next_functions if used is not None]


def _ordered(roots: Sequence[Node]) -> list[Node]:
    """Return all nodes below the roots, each after those it uses."""
    ordered: dict[Node, None] = {}
    waiting = [(root, False) for root in roots]
    entered: set[Node] = set()
    while waiting:
        node, done = waiting.pop()
        if done:
            ordered[node] = None
        elif node not in entered:
            entered.add(node)
            waiting.append((node, True))
            waiting += [(used, False) for used in _used(node)]
    return list(ordered)
