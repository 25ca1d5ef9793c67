"""Networks without what mixes all positions: what is left tells where their units look from.

A gate scales a channel by what was pooled over the image; norms over positions, attention and their
like let every pixel reach every unit. None of them moves the centre.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

#: Norms over positions.
_NORMS = (nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)

#: Names of classes whose output, of the same form as their input, depends on all positions of it.
#: ECA is a word of its own: it is in Recast and Decay, too.
_MIXING = re.compile(
    r"(?i:attention|attn|responsenorm|globalcontext|nonlocal)"
    r"|(?:E|Ce)ca(?![a-z])|(?<![A-Z])ECA(?![A-Z]{2}|[a-z])|(?<![A-Za-z])eca(?![a-z])"
)


@contextmanager
def gates_closed(module: nn.Module) -> Iterator[None]:
    """Keep NaN from what the network pools over all positions (squeeze-and-excitation)."""

    def hook(_part: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:] == (1, 1):
            with _disable_current_modes():  # who watches the network need not watch this
                return output.nan_to_num(0.0)
        return None

    with _hooked(module, hook):
        yield


def mixes(module: nn.Module) -> bool:
    """Tell whether a network has parts that :func:`mixing_undone` undoes."""
    return any(map(_mixes, module.modules()))


def _mixes(part: nn.Module) -> bool:
    return isinstance(part, _NORMS) or bool(_MIXING.search(type(part).__name__))


@contextmanager
def mixing_undone(module: nn.Module) -> Iterator[None]:
    """Let norms over positions, attention and channel attention give back their inputs."""

    def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if not _mixes(part):
            return None
        first, *rest = output if isinstance(output, tuple) else (output,)
        if not inputs or not isinstance(first, Tensor) or not isinstance(inputs[0], Tensor):
            return None
        if first.shape != inputs[0].shape:
            return None
        return (inputs[0], *rest) if isinstance(output, tuple) else inputs[0]

    with _hooked(module, hook):
        yield


@contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    with ExitStack() as hooks:
        for part in module.modules():
            hooks.enter_context(part.register_forward_hook(hook))
        yield
