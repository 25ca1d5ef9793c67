"""Networks for measuring: what can be computed beforehand is folded into the weights.

In evaluation mode a BatchNorm is a fixed scale and shift, which the convolution before it, or the
unpadded 1x1 convolution behind it, can take over. The result is the same to rounding, with fewer
passes over memory and fewer maps kept for the gradient. Linear layers are padded to widths that are
computed sooner; see :mod:`erf_tools.kernels.aligning`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from erf_tools.errors import ErfToolsError
from erf_tools.features.copies import probe_copy
from erf_tools.features.dataflow import Dataflow, Read, observe
from erf_tools.kernels.aligning import align
from erf_tools.kernels.depthwise import DepthwiseConv2d

#: Other subclasses may make something of their weights first, as weight standardisation does.
_CONVOLUTIONS = (nn.Conv2d, Conv2dSame, DepthwiseConv2d)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)

#: Largest difference of a folded network's maps on noise, relative in norm.
_TOLERANCE = 1e-3


def folded(
    module: nn.Module, read: Read, size: tuple[int, int], tapped: Set[str] = frozenset()
) -> tuple[nn.Module, Dataflow | None]:
    """Return a copy of a network with parallel kernels merged and norms folded, where possible.

    The re-parameterised blocks of RepLKNet and of timm's networks (RepVGG and its kin) are merged,
    wavelet convolutions fused, and linear layers of odd widths padded.
    What the copy gives for noise is compared with what the network gives.

    Args:
        module: the network, in evaluation mode, its parameters frozen.
        read: runs a network on images ``[N, 3, h, w]`` and returns what is wanted of it.
        size: height and width of the images.
        tapped: names of layers that are read, which stay what they are.

    Returns:
        The copy, or ``module`` itself where nothing can be folded or the results would differ; and
        a pass of it on a small image, if there was one.
    """
    if not any(isinstance(part, _NORMS) or _merges(part) for part in module.modules()):
        return module, None

    try:
        before = observe(module, read, size)
    except ErfToolsError:
        return module, None
    try:
        merged = reparameterize_model(probe_copy(module), inplace=True)
        merged.requires_grad_(False)  # merged kernels are new parameters
        alike = len(list(merged.modules())) == len(list(module.modules()))
        flow = before if alike else observe(merged, read, size)
        parts = _replaceable(merged, flow)
        count = _fold_norms(merged, flow, parts, tapped) + align(merged, flow, parts, tapped)
        if alike and not count:
            return module, before
        after = observe(merged, read, size)
    except Exception:  # a network that cannot be copied, or whose tap is inside a merged block
        return module, before
    same = before.size == after.size and all(
        _close(own, other) for own, other in zip(before.maps, after.maps, strict=True)
    )
    return (merged, after) if same else (module, before)


def _merges(part: nn.Module) -> bool:
    """Tell whether timm's re-parameterisation asks this part for another form of itself."""
    return any(hasattr(part, name) for name in ("fuse", "reparameterize", "switch_to_deploy"))


@torch.no_grad()
def _close(own: Tensor, other: Tensor) -> bool:
    return own.shape == other.shape and bool((own - other).norm() <= _TOLERANCE * own.norm())


def _replaceable(module: nn.Module, flow: Dataflow) -> dict[str, nn.Module]:
    """Return the parts, by name, that are called once and that nothing else watches or changes."""
    times = Counter(call.name for call in flow.calls)
    return {
        call.name: part
        for call in flow.calls
        if times[call.name] == 1 and not _hooked(part := module.get_submodule(call.name))
    }


def _fold_norms(
    module: nn.Module, flow: Dataflow, parts: Mapping[str, nn.Module], tapped: Set[str]
) -> int:
    """Fold each norm that only a convolution next to it knows, in place; return how many."""
    count = 0
    consumers = flow.consumers()
    convolutions = {
        name: part
        for name, part in parts.items()
        if isinstance(part, nn.Conv2d) and type(part) in _CONVOLUTIONS
    }
    convolving = [call for call in flow.calls if call.name in convolutions]
    before = {call.result: call.name for call in convolving if call.name not in tapped}
    behind = {call.source: call.name for call in convolving}
    for call in flow.calls:
        norm = parts.get(call.name)
        if not isinstance(norm, nn.BatchNorm2d) or type(norm) not in _NORMS:
            continue
        if norm.running_mean is None:  # it would use the batch's own
            continue
        if call.source in before and consumers[call.source] == 1:
            _fold_into_previous(convolutions[before[call.source]], norm)
        elif (
            call.result in behind
            and consumers[call.result] == 1
            and call.name not in tapped
            and type(norm) is nn.BatchNorm2d
            and _is_pointwise(conv := convolutions[behind[call.result]])
        ):
            _fold_into_next(norm, conv)
        else:
            continue
        count += 1
        parent, _, name = call.name.rpartition(".")
        rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else None
        setattr(module.get_submodule(parent), name, rest or nn.Identity())
    return count


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.padding == (0, 0) and conv.groups == 1


def _hooked(part: nn.Module) -> bool:
    hooks = (part._forward_hooks, part._forward_pre_hooks)
    return any((*hooks, part._backward_hooks, part._backward_pre_hooks))


def _fold_into_previous(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *_statistics(norm))


def _fold_into_next(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> None:
    # The norm as a 1x1 convolution of each channel: its weight is the scale, its bias the shift.
    one = conv.weight.new_ones(norm.num_features, 1)
    scale, shift = fuse_conv_bn_weights(one, None, *_statistics(norm))
    with torch.no_grad():
        shifted = conv.weight[:, :, 0, 0] @ shift
        conv.bias = nn.Parameter(shifted if conv.bias is None else conv.bias + shifted, False)
        conv.weight *= scale[:, :, None]


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, float, Tensor, Tensor]:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    return mean, variance, norm.eps, norm.weight, norm.bias
