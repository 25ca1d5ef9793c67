"""Networks without what mixes all positions: what is left tells where their units look from.

A gate scales a channel by what was pooled over the image; norms over positions, attention and their
like let every pixel reach every unit. None of them moves the centre.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import nan
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from erf_tools.features.architecture import UnknownError, name_of_released
from erf_tools.fields.safety import watched

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
def mixing_undone(module: nn.Module, but: Collection[str] = ()) -> Iterator[None]:
    """Let norms over positions, attention and channel attention give back their inputs.

    Args:
        module: the network that is run inside.
        but: names of the parts that are left as they are; see :func:`shifting_noted`.
    """
    names = {part: name for name, part in module.named_modules()}

    def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if not _mixes(part) or names[part] in but or not _gives_its_form(inputs, output):
            return None
        return (inputs[0], *output[1:]) if isinstance(output, tuple) else inputs[0]

    with _hooked(module, hook):
        yield


def _gives_its_form(inputs: tuple[Any, ...], output: Any) -> bool:
    first = output[0] if isinstance(output, tuple) and output else output
    given = inputs[0] if inputs else None
    if not isinstance(given, Tensor) or not isinstance(first, Tensor):
        return False
    return given.shape == first.shape


@contextmanager
def shifting_noted(module: nn.Module) -> Iterator[set[str]]:
    """Note which parts must not be undone, whatever their names: they are local, and look aside.

    Those are of the user's own classes. When the network runs inside, they are run on their own,
    with a line of NaN in their input: it comes out aside, and one place further if it was put one
    place further. What is in them and is undone is undone then, too.
    """
    names = {
        part: name
        for name, part in module.named_modules()
        if _mixes(part) and not isinstance(part, _NORMS) and _is_own(type(part))
    }
    noted: set[str] = set()

    def hook(part: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], out: Any) -> None:
        name = names.pop(part, None)
        if name is not None and _gives_its_form(inputs, out) and _shifts(part, inputs, named):
            noted.add(name)

    with ExitStack() as hooks:
        for part in names:
            hooks.enter_context(part.register_forward_hook(hook, with_kwargs=True))
        # Its hooks come after these, and know what these have noted.
        hooks.enter_context(mixing_undone(module, noted))
        yield noted


def _is_own(kind: type) -> bool:
    try:
        name_of_released(kind)
    except UnknownError:
        return True
    return False


def _shifts(part: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    """Tell whether a part is local along some axis of its first input, and looks aside there."""
    first, *rest = inputs

    def reached(axis: int, place: int) -> tuple[int, int] | None:
        spoilt = first.clone()
        spoilt.select(axis, place).fill_(nan)
        with watched():
            output = part.forward(spoilt, *rest, **named)
        output = output[0] if isinstance(output, tuple) else output
        places = output.isnan().movedim(axis, 0).flatten(1).any(dim=1).nonzero()[:, 0].tolist()
        inside = places and places[0] > 0 and places[-1] < first.shape[axis] - 1
        return (places[0], places[-1]) if inside else None

    for axis in range(1, first.ndim):
        middle = first.shape[axis] // 2
        try:
            here = reached(axis, middle)
            beside = here and reached(axis, middle + 1)
        except (Exception, SystemExit):  # it takes no NaN, or no line of it
            continue
        if here and beside == (here[0] + 1, here[1] + 1) and sum(here) != 2 * middle:
            return True
    return False


@contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    with ExitStack() as hooks:
        for part in module.modules():
            hooks.enter_context(part.register_forward_hook(hook))
        yield
