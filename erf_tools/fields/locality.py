"""Networks without what mixes all positions: what is left tells where their units look from.

Which parts do is told by their names here, and by what they do in :mod:`erf_tools.fields.mixing`.
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
    """Tell whether a network has parts that are named as what mixes all positions."""
    return bool(named_as_mixing(module))


def named_as_mixing(module: nn.Module) -> set[str]:
    """Return the names of norms over positions, and of parts whose classes are called attention."""
    return {name for name, part in module.named_modules() if _mixes(part)}


def _mixes(part: nn.Module) -> bool:
    return isinstance(part, _NORMS) or bool(_MIXING.search(type(part).__name__))


@contextmanager
def mixing_undone(module: nn.Module, undone: Collection[str]) -> Iterator[None]:
    """Let parts give back their inputs, where their outputs have the same form.

    Args:
        module: the network that is run inside.
        undone: names of these parts.
    """
    names = {part: name for name, part in module.named_modules()}

    def hook(part: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], out: Any) -> Any:
        kept = names[part] in undone and form_kept(inputs, named, out)
        if not kept:
            return None
        return (kept[0], *out[1:]) if isinstance(out, tuple) else kept[0]

    with _hooked(module, hook, with_kwargs=True):
        yield


def form_kept(
    inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any
) -> tuple[Tensor, Tensor] | None:
    """Return a part's first input and first output, if they are tensors of one shape."""
    first = output[0] if isinstance(output, tuple) and output else output
    given = next(iter((*inputs, *named.values())), None)
    if not isinstance(given, Tensor) or not isinstance(first, Tensor):
        return None
    return (given, first) if given.shape == first.shape else None


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
    undone = named_as_mixing(module)

    def hook(part: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], out: Any) -> None:
        name = names.pop(part, None)
        if name is None or not inputs or not form_kept(inputs, named, out):
            return
        if _shifts(part, inputs, named):
            noted.add(name)
            undone.discard(name)

    with ExitStack() as hooks:
        for part in names:
            hooks.enter_context(part.register_forward_hook(hook, with_kwargs=True))
        # Its hooks come after these, and know what these have noted.
        hooks.enter_context(mixing_undone(module, undone))
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
def _hooked(
    module: nn.Module, hook: Callable[..., Any], with_kwargs: bool = False
) -> Iterator[None]:
    with ExitStack() as hooks:
        for part in module.modules():
            hooks.enter_context(part.register_forward_hook(hook, with_kwargs=with_kwargs))
        yield
