"""Which parts of a network mix all positions, by what they do, whatever their names.

On a long strip whose start is NaN, such a part makes NaN of all positions, and a local one of those
nearby. A part that mixes is undone as soon as it is found, so that those around and behind it show
what they do themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from erf_tools.fields.locality import form_kept, mixing_undone, named_as_mixing

#: Of the positions of a part's input, the largest share that is NaN where it shows what it does.
_SHOWING = 0.5

#: Functions that may move what they are given.
_MOVING = ("roll", "flip", "grid_sample", "interpolate", "pixel_shuffle", "pixel_unshuffle")


@contextmanager
def mixing_noted(module: nn.Module, but: Collection[str]) -> Iterator[set[str]]:
    """Note the names of parts that mix all positions and can be left out.

    Those are the parts that are named so, and those that are seen to when the network runs inside,
    on a strip whose start is NaN. What also moves what it is given is left as it is, since the
    centre would move with it.

    Args:
        module: the network.
        but: names of parts that must be left as they are.
    """
    names = {part: name for name, part in module.named_modules() if name and name not in but}
    noted = named_as_mixing(module).difference(but)
    began: list[int] = []

    def begin(_part: nn.Module, _inputs: Any) -> None:
        began.append(moving.number)

    def note(part: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], out: Any) -> None:
        before = began.pop()
        name, kept = names.get(part), form_kept(inputs, named, out)
        if name is None or kept is None:
            return
        if name not in noted and moving.number == before and _mixes_all(*kept):
            noted.add(name)
        if name in noted:  # nothing in it counts for the parts around it
            moving.number = before

    with ExitStack() as hooks:
        for part in module.modules():
            hooks.enter_context(part.register_forward_pre_hook(begin))
            hooks.enter_context(part.register_forward_hook(note, with_kwargs=True))
        # Its hooks come after these, and know what these have noted.
        hooks.enter_context(mixing_undone(module, noted))
        moving = hooks.enter_context(_MovingCounted())
        yield noted


def _mixes_all(given: Tensor, found: Tensor) -> bool:
    """Tell whether few positions of an input were NaN, and all of the output are."""
    if given.ndim < 3:
        return False
    with _disable_current_modes():  # who watches the network need not watch this
        before, after = given.isnan(), found.isnan()
        for channels in (1, -1):
            # Positions are those whose channels are NaN together.
            spoilt = before.any(channels)
            if spoilt.equal(before.all(channels)):
                share = spoilt.float().mean().item()
                return 0 < share <= _SHOWING and bool(after.any(channels).all())
    return False


class _MovingCounted(TorchFunctionMode):
    """Counts calls of functions that may move the centre."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one of torch's functions."""
        self.number += _moves(getattr(func, "__name__", ""), args, kwargs or {})
        return func(*args, **(kwargs or {}))


def _moves(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Tell whether a unit of a result does not lie in the middle of what it is made of."""
    if name == "pad":
        return not _pads_evenly(*args, **kwargs)
    if name in ("conv1d", "conv2d", "conv3d"):
        return not _is_centred(*args, **kwargs)
    return name.startswith(("conv_transpose", "upsample")) or name in _MOVING


def _pads_evenly(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> bool:
    """Tell whether as much is put before as behind; ones are what linear attention counts by."""
    return list(pad[0::2]) == list(pad[1::2]) or bool(value)


def _is_centred(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> bool:
    """Tell whether a convolution with these arguments pads as much before as it reaches."""
    kernel = weight.shape[2:]

    def along(axis: int, value: int | Sequence[int]) -> int:
        return value if isinstance(value, int) else value[axis % len(value)]

    reach = [along(axis, dilation) * (size - 1) for axis, size in enumerate(kernel)]
    if isinstance(padding, str):
        return not any(each % 2 if padding == "same" else each for each in reach)
    return all(2 * along(axis, padding) == each for axis, each in enumerate(reach))
