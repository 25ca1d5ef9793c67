"""Linear layers whose rows are padded to whole vectors, which matrix products read faster.

Four products as of a block's two layers, forward and backward, take, in ms of one AVX2 core, with
SLaK-T's widths and with the next multiples of 8::

    | rows | widths | as they are | padded |
    |---|---|---|---|
    | 16384 | 124, 496 | 182 | 165 |
    | 4096 | 249, 996 | 170 | 108 |
    | 1024 | 499, 1996 | 156 | 108 |
    | 256 | 998, 3992 | 113 | 107 |
"""

from __future__ import annotations

from collections.abc import Mapping, Set

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.features.dataflow import Dataflow

#: Numbers in a vector of AVX2, in float32.
_VECTOR = 8

#: What acts on each number by itself; any number that it makes of padding meets a zero weight.
_ELEMENTWISE = (nn.GELU, nn.ReLU, nn.SiLU)


class AlignedLinear(nn.Linear):
    """A linear layer with zeros added to its weight, and to its input where it lacks them.

    Args:
        layer: what to compute; it stays what it is.
        wide: leave the output padded.
    """

    @torch.no_grad()
    def __init__(self, layer: nn.Linear, wide: bool) -> None:
        super().__init__(layer.in_features, layer.out_features, device="meta")
        columns, rows = (-width % _VECTOR for width in (self.in_features, self.out_features))
        self.weight = nn.Parameter(F.pad(layer.weight, (0, columns, 0, rows)), False)
        bias = layer.bias
        self.bias = None if bias is None else nn.Parameter(F.pad(bias, (0, rows)), False)
        self._wide = wide
        self.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[..., in_features]``, padded or not, to ``[..., out_features]``."""
        if missing := self.weight.shape[1] - input.shape[-1]:
            input = F.pad(input, (0, missing))
        out = F.linear(input, self.weight, self.bias)
        return out if self._wide else out[..., : self.out_features].contiguous()


def align(
    module: nn.Module, flow: Dataflow, parts: Mapping[str, nn.Module], tapped: Set[str]
) -> int:
    """Pad the linear layers of a network that need it, in place; return how many.

    Between two of them with nothing but an activation in between, the padding is left in.

    Args:
        module: the network.
        flow: what happens in it.
        parts: those that may be replaced, by name.
        tapped: names of layers that are read.
    """
    layers = {name: part for name, part in parts.items() if type(part) is nn.Linear}
    consumers = flow.consumers()
    taken = {call.source for call in flow.calls if call.name in layers}
    into = {
        call.source
        for call in flow.calls
        if isinstance(parts.get(call.name), _ELEMENTWISE)
        and call.name not in tapped
        and call.result in taken
        and consumers[call.result] == 1
    }
    count = 0
    for call in flow.calls:
        layer = layers.get(call.name)
        if layer is None or not (layer.in_features % _VECTOR or layer.out_features % _VECTOR):
            continue
        wide = call.result in into and consumers[call.result] == 1 and call.name not in tapped
        parent, _, name = call.name.rpartition(".")
        setattr(module.get_submodule(parent), name, AlignedLinear(layer, wide))
        count += 1
    return count
