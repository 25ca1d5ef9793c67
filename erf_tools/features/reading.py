"""Reading taps: the maps of some layers from one forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from erf_tools.errors import UsageError
from erf_tools.features.layout import as_map, select
from erf_tools.features.taps import LAST_MAP, LAST_STAGE, Tap, has_timms_stages

#: Is given a tap, the run that it is and the layer's output.
Keep = Callable[[Tap, int, Any], None]


class _EverythingReadError(BaseException):
    """Ends a forward pass when all taps have run: what follows is not needed.

    No :class:`Exception`, so that no handler of the network takes it for a failure: code that
    torch.fx has generated would print a traceback.
    """


def read_maps(module: nn.Module, taps: Sequence[Tap], images: Tensor) -> list[Tensor]:
    """Run ``module`` on ``images`` ``[N, 3, h, w]``; return the maps ``[N, C, H, W]`` of taps.

    A map is what it would be if it were read alone: what the network does later, in place, changes
    nothing of it. Modules are read from one pass, timm's methods from another.

    Raises:
        UsageError: there is no such layer, or its output cannot be read as a map.
    """
    size = (int(images.shape[-2]), int(images.shape[-1]))
    found: dict[Tap, Tensor] = {}
    if hooked := [tap for tap in dict.fromkeys(taps) if not tap.is_method]:
        read = _hooked(module, hooked, images)
        found |= {tap: _checked(tap, read.get(tap)) for tap in hooked}
    if stages := [tap for tap in taps if tap.path == LAST_STAGE]:
        found |= _stages(module, stages, images)
    if last := [tap for tap in taps if tap.path == LAST_MAP]:
        timm: Any = module
        with _plain(module):
            found |= dict.fromkeys(last, timm.forward_features(images))
    return [
        found[tap] if tap.path == LAST_STAGE else as_map(found[tap], module, tap, size)
        for tap in taps
    ]


def read_features(module: nn.Module, tap: Tap, images: Tensor) -> Tensor:
    """Return the map of one tap; see :func:`read_maps`."""
    return read_maps(module, [tap], images)[0]


def read_each(module: nn.Module, taps: Sequence[Tap], images: Tensor) -> dict[Tap, Tensor]:
    """Return the maps of those modules that can be read as one; see :func:`read_maps`."""
    size = (int(images.shape[-2]), int(images.shape[-1]))
    maps: dict[Tap, Tensor] = {}
    for tap, output in _hooked(module, taps, images).items():
        if isinstance(output, Tensor):
            with suppress(UsageError):
                maps[tap] = as_map(output, module, tap, size)
    return maps


@contextmanager
def listening(module: nn.Module, taps: Sequence[Tap], keep: Keep) -> Iterator[None]:
    """Hand each output of the taps' modules to ``keep`` while the network runs inside.

    Raises:
        UsageError: there is no such layer.
    """
    runs: Counter[Tap] = Counter()

    def hook(tap: Tap) -> Callable[..., None]:
        def heard(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            runs[tap] += 1
            keep(tap, runs[tap], output)

        return heard

    with ExitStack() as stack:
        for tap in taps:
            try:
                layer = module.get_submodule(tap.path)
            except AttributeError as error:
                known = [name for name, _ in module.named_children()]
                raise UsageError(
                    f"the network has no layer {tap.path!r}; its top layers are "
                    f"{', '.join(known) or 'none'}"
                ) from error
            stack.callback(layer.register_forward_hook(hook(tap)).remove)
        with _plain(module):
            yield


def _hooked(
    module: nn.Module, taps: Sequence[Tap], images: Tensor
) -> dict[Tap, Tensor | UsageError]:
    """Return what the modules of distinct taps give, from a pass that ends with the last of them.

    What a tap means of an output is copied when it is there, since modules behind it may work in
    place; what is read last needs no copy.
    """
    found: dict[Tap, Tensor | UsageError] = {}

    def keep(tap: Tap, run: int, output: Any) -> None:
        if tap in found or run != (tap.run or 1):
            return
        try:
            tensor = select(output, tap)
        except UsageError as error:
            found[tap] = error  # raised outside of the network, which could have a handler
        else:
            found[tap] = tensor.clone() if len(found) + 1 < len(taps) else tensor
        if len(found) == len(taps):
            raise _EverythingReadError

    with listening(module, taps, keep), suppress(_EverythingReadError):
        module(images)
    return found


def _checked(tap: Tap, found: Tensor | UsageError | None) -> Tensor:
    if found is None:
        run = "" if tap.run is None else f" {tap.run} times"
        raise UsageError(f"the layer {tap.path!r} did not run{run} in a forward pass; name another")
    if isinstance(found, UsageError):
        raise found
    return found


def _stages(module: nn.Module, taps: Sequence[Tap], images: Tensor) -> dict[Tap, Tensor]:
    """Return the maps of some of timm's stages."""
    timm: Any = module
    stages = [len(timm.feature_info) - 1 if tap.stage is None else tap.stage for tap in taps]
    by_stage: dict[int, Tensor] = {}
    # Only of timm's own networks it is known that no stage works in place on the one before.
    passes = [sorted(set(stages))] if has_timms_stages(module) else [[stage] for stage in stages]
    for indices in passes:
        with _plain(module):
            maps = timm.forward_intermediates(
                images,
                indices=indices,
                norm=False,
                output_fmt="NCHW",
                intermediates_only=True,
                stop_early=True,
            )
        by_stage |= dict(zip(indices, maps, strict=True))
    return {tap: by_stage[stage] for tap, stage in zip(taps, stages, strict=True)}


@contextmanager
def _plain(module: nn.Module) -> Iterator[None]:
    """Have each module of a network run as itself inside.

    timm's gradient checkpointing takes stages apart, and compiled code leaves hooks out.
    """
    parts = list(module.modules())
    checkpointing: list[Any] = [
        part for part in parts if getattr(part, "grad_checkpointing", False) is True
    ]
    compiled = any(
        getattr(part, "_compiled_call_impl", None) is not None or hasattr(part, "_orig_mod")
        for part in parts
    )
    with ExitStack() as stack:
        if compiled and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for part in checkpointing:
            part.grad_checkpointing = False
            stack.callback(setattr, part, "grad_checkpointing", True)
        yield
