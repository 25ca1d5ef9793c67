"""Whether a layer's output is laid out as supposed: tried out, since shapes do not tell.

What a network gives for a few images is read in the ways its shape allows, until one of them puts
the units in the order of the image (:mod:`erf_tools.features.order`). Maps that show nothing are
read as their shapes suggest, if no other axes of theirs follow the image's rows and columns. Those
of a transposed map do, those of attention's weights, and those of a map without channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from erf_tools.errors import UsageError
from erf_tools.features.axes import readings, sums_to_one, unsupposed_readings
from erf_tools.features.copies import NotCopyableError, probe_copy, random_states_kept
from erf_tools.features.layout import as_map, select, supposed_layout
from erf_tools.features.order import IMAGES, Ground, Verdict, trial_images, verdict_of
from erf_tools.features.reading import Keep, listening, read_each, read_features
from erf_tools.features.small_sizes import small_sizes
from erf_tools.features.state import state_kept
from erf_tools.features.taps import (
    LAST_STAGE,
    Layout,
    Reading,
    Tap,
    find_taps,
    has_stages,
    has_timms_stages,
)

Size = tuple[int, int]

#: What an output may be instead of what it is supposed to be.
_RIVALS: dict[Layout, tuple[Layout, ...]] = {
    "NCHW": ("NHWC",),
    "NHWC": ("NCHW",),
    "NLC": ("NCL", "LNC"),
}

#: What a pass shows of a run of a layer: the tap with its reading, or why there is none.
_Outcome = Tap | UsageError


class _NotInPlaceError(UsageError):
    """A layer's output is no map of the images in their own order: another one has to be named."""


class _NoBatchError(_NotInPlaceError):
    """The first axis of a layer's output is not the batch."""


def proven(
    module: nn.Module, taps: Sequence[Tap], size: Size, fixed_size: bool = False
) -> list[Tap]:
    """Return taps with the readings that have been found right.

    The network itself is not run, but a copy, where it can be copied.

    Args:
        module: the network.
        taps: the layers.
        size: height and width of the images to be analysed.
        fixed_size: the network takes no other size.

    Returns:
        One per tap, in the order of ``taps``.

    Raises:
        UsageError: there is no such layer; it cannot be read as a map; or its first axis does not
            follow the batch or its units are not in the order of the image. The message says which
            tap helps.
    """
    # What timm hands out is NCHW; tests try it out for its families.
    known = {tap: tap for tap in taps if tap.reading or _is_timms(module, tap)}
    asked = [tap for tap in dict.fromkeys(taps) if tap not in known]
    for tap, outcomes in (_tried(module, asked, size, fixed_size) if asked else {}).items():
        outcome = _chosen(tap, outcomes)
        if isinstance(outcome, _NotInPlaceError):
            raise UsageError(f"{outcome}; {_around(module, tap, size, fixed_size)}")
        if isinstance(outcome, UsageError):
            raise outcome
        known[tap] = outcome
    return [known[tap] for tap in taps]


def find_map_layers(
    module: nn.Module, images: Tensor, pattern: str = "", fixed_size: bool = False
) -> dict[Tap, tuple[int, ...]]:
    """Return the layers that can be measured, in the order of their definition.

    Args:
        module: the network.
        images: of the size to be analysed, ``[N, 3, h, w]``.
        pattern: as in :func:`~erf_tools.features.taps.find_taps`; by default all layers made of
            others, and those that stand by themselves at the top.
        fixed_size: the network takes no other size.

    Returns:
        Taps as of :func:`proven`, one for each run of a module, and shapes ``[C, H, W]`` of their
        maps.

    Raises:
        UsageError: the pattern fits nothing.
    """
    if pattern:
        taps = find_taps(module, [pattern])
    else:
        taps = [
            Tap(name)
            for name, layer in module.named_modules()
            if name and ("." not in name or any(layer.children()))
        ]
    size = (int(images.shape[-2]), int(images.shape[-1]))
    if not taps:  # nothing would tell that the network cannot be run
        with torch.no_grad(), random_states_kept():
            probe_copy(module)(images)
    found: list[Tap] = []
    for tap, outcomes in _tried(module, taps, size, fixed_size).items():
        if tap.run is not None:
            outcomes = [_chosen(tap, outcomes)]
        elif len(outcomes) > 1:
            outcomes = [
                replace(outcome, run=run) if isinstance(outcome, Tap) else outcome
                for run, outcome in enumerate(outcomes, start=1)
            ]
        found += [outcome for outcome in outcomes if isinstance(outcome, Tap)]
    if not found:
        return {}
    with torch.no_grad():
        maps = read_each(module, found, images)
    return {tap: tuple(map_.shape[1:]) for tap, map_ in maps.items() if min(map_.shape[-2:]) > 1}


def _is_timms(module: nn.Module, tap: Tap) -> bool:
    return tap.is_method and has_timms_stages(module)


def _chosen(tap: Tap, outcomes: Sequence[_Outcome]) -> _Outcome:
    """Return what was found of the run that is meant."""
    count = len(outcomes)
    if not count:
        return UsageError(f"the layer {tap.path!r} did not run in a forward pass; name another")
    if tap.run is None and count > 1:
        return UsageError(
            f"{tap.name} runs {count} times in a forward pass; say which run: --layer "
            f"{tap.path}#{count}, or {replace(tap, run=count).code}, is the last"
        )
    if (tap.run or 1) > count:
        times = "once" if count == 1 else f"{count} times"
        return UsageError(f"the layer {tap.path!r} runs {times} in a forward pass, not {tap.run}")
    return outcomes[(tap.run or 1) - 1]


def _around(module: nn.Module, tap: Tap, size: Size, fixed_size: bool) -> str:
    """Return a remedy: the nearest layer around one that can be measured."""
    names = tap.path.split(".")
    around = [Tap(".".join(names[:end])) for end in range(len(names) - 1, 0, -1)]
    tried = _tried(module, around, size, fixed_size) if around else {}
    for outer, outcomes in tried.items():
        if isinstance(_chosen(outer, outcomes), Tap):
            return f"name the layer around it: {outer.code}, or --layer {outer.path}"
    if has_stages(module):
        return f"name one of its stages: {Tap(LAST_STAGE, stage=0).code}, or --stages for all"
    return "name another layer; `erf-tools layers` lists those that can be measured"


def _tried(
    module: nn.Module, taps: Sequence[Tap], size: Size, fixed_size: bool
) -> dict[Tap, list[_Outcome]]:
    """Return what was found of each run of each tap.

    What is refused on a small image is tried on one of the size to be analysed, and then image by
    image: a network may take no more than one at a time, or let them see each other. Where the
    order of units is in doubt still, it is tried in float64: rounding may hide where they are.
    """
    trials = [_Trial(size), _Trial(size, one_by_one=True), _Trial(size, one_by_one=True, wide=True)]
    if not fixed_size and not any(tap.grid for tap in taps):
        trials.insert(0, _Trial(small_sizes(size)[0]))
    found: dict[Tap, list[_Outcome]] = {}
    failure: Exception | SystemExit | None = None
    for trial in trials:
        doubtful = [tap for tap in found if any(map(trial.may_help, found[tap]))]
        unseen = [] if trial.wide else [tap for tap in taps if tap not in found]
        if not doubtful and not unseen:
            continue
        with ExitStack() as kept:
            kept.enter_context(random_states_kept())
            # What a network keeps of a pass on one size must not disturb those on another.
            try:
                network = probe_copy(module).eval()
            except NotCopyableError:
                if trial.wide or trial.size != size:
                    continue
                network = module
                kept.enter_context(state_kept(module))
            see = _seen_one_by_one if trial.one_by_one else _seen
            try:
                found |= see(network.double() if trial.wide else network, doubtful + unseen, trial)
            except UsageError:
                raise
            except (Exception, SystemExit) as error:  # networks refuse sizes in any way they like
                failure = error
    if failure and not found:
        raise failure
    return {tap: found[tap] for tap in taps}


@dataclass(frozen=True)
class _Trial:
    """How a network is tried.

    Attributes:
        size: height and width of the images.
        one_by_one: each of them by itself.
        wide: in float64.
    """

    size: Size
    one_by_one: bool = False
    wide: bool = False

    def may_help(self, outcome: _Outcome) -> bool:
        """Tell whether it may find what was not found before."""
        refused = _NotInPlaceError if self.one_by_one else UsageError
        return isinstance(outcome, refused) and not isinstance(outcome, _NoBatchError)


@torch.no_grad()
def _seen(network: nn.Module, taps: Sequence[Tap], trial: _Trial) -> dict[Tap, list[_Outcome]]:
    """Return what one pass shows of each run of each tap."""
    found: dict[Tap, list[_Outcome]] = {tap: [] for tap in taps}

    def keep(tap: Tap, _run: int, output: Any) -> None:
        found[tap].append(_examined(_selected(output, tap), network, tap, trial.size))

    _run(network, taps, trial_images(network, trial.size), keep)
    return found


@torch.no_grad()
def _seen_one_by_one(
    network: nn.Module, taps: Sequence[Tap], trial: _Trial
) -> dict[Tap, list[_Outcome]]:
    """Return what a pass for each image shows of each run of each tap."""
    given: dict[Tap, list[list[Tensor | UsageError]]] = {tap: [] for tap in taps}

    def keep(tap: Tap, run: int, output: Any) -> None:
        selected = _selected(output, tap)
        given[tap][-1].append(selected.clone() if isinstance(selected, Tensor) else selected)

    for image in trial_images(network, trial.size).split(1):
        for outputs in given.values():
            outputs.append([])
        _run(network, taps, image, keep)
    return {
        tap: [
            _examined(_joined(outputs, tap), network, tap, trial.size)
            for outputs in zip(*by_image, strict=True)
        ]
        for tap, by_image in given.items()
    }


def _run(network: nn.Module, taps: Sequence[Tap], images: Tensor, keep: Keep) -> None:
    """Hand what taps give for images to ``keep``."""
    given = set()

    def note(tap: Tap, run: int, output: Any) -> None:
        given.add(tap)
        keep(tap, run, output)

    for tap in taps:
        if tap.is_method:
            keep(tap, 1, read_features(network, tap, images))
    if hooked := [tap for tap in taps if not tap.is_method]:
        with listening(network, hooked, note):
            try:
                network(images)
            except (Exception, SystemExit):
                if given < set(hooked):  # what follows the last layer does not matter
                    raise


def _selected(output: Any, tap: Tap) -> Tensor | UsageError:
    """Return the tensor that is meant of a layer's output, or why there is none."""
    try:
        return select(output, tap)
    except UsageError as error:
        return error


def _joined(outputs: Sequence[Tensor | UsageError], tap: Tap) -> Tensor | UsageError:
    """Return the outputs for one image each as that for all of them."""
    tensors = []
    for output in outputs:
        if isinstance(output, UsageError):
            return output
        tensors.append(output)
    return torch.cat(tensors, dim=1 if tap.layout == "LNC" else 0)


def _examined(tensor: Tensor | UsageError, network: nn.Module, tap: Tap, size: Size) -> _Outcome:
    """Return the tap with the layout that its output for the trial images is found to have."""
    if isinstance(tensor, UsageError):
        return tensor
    try:
        supposed = tap.layout or supposed_layout(tensor, network, tap, size)
    except UsageError as error:
        return error
    layouts = [supposed] if tap.layout else [supposed, *_RIVALS[supposed]]
    first, *rivals = (reading for layout in layouts for reading in readings(tap, layout))
    verdict, outcome = _read_as(tensor, network, tap, first, size)
    if verdict == "certain":
        return outcome
    for rival in rivals:
        rated, found = _read_as(tensor, network, tap, rival, size)
        if rated != "certain":
            continue
        if rival.layout == "LNC":
            declared = replace(tap, layout="LNC", prefix_tokens=rival.prefix_tokens)
            return UsageError(
                f"{tap.name} gives {list(tensor.shape)} for {IMAGES} images: the batch comes "
                f"second; declare it with {declared.code}"
            )
        return found
    batch_first = tensor.movedim(1, 0) if supposed == "LNC" else tensor
    if tensor.layout != torch.strided or len(batch_first) != IMAGES or not tensor.numel():
        return outcome
    if supposed in ("NCHW", "NCL") and verdict != "wrong" and sums_to_one(tensor):
        return _out_of_order(tap, tensor)
    asked = replace(tap, prefix_tokens=None, grid=None)
    for other, reading, ground in unsupposed_readings(batch_first, supposed):
        rated, _ = _read_as(other, network, asked, reading, size, ground)
        positions_seen = ground == "order of positions" and verdict == "nothing to see"
        if rated != "certain" and not (rated == "right" and positions_seen):
            continue
        if other.ndim > tensor.ndim:
            return UsageError(
                f"{tap.name} gives {list(tensor.shape)} for {IMAGES} images: rows and columns "
                "without an axis of channels; give it one, as unsqueeze(1) does"
            )
        return outcome if verdict == "wrong" else _out_of_order(tap, tensor)
    return outcome


def _out_of_order(tap: Tap, tensor: Tensor) -> UsageError:
    return _NotInPlaceError(
        f"{tap.name} gives {list(tensor.shape)} for {IMAGES} images, which are not units in the "
        "order of the image's rows and columns"
    )


def _read_as(
    tensor: Tensor,
    network: nn.Module,
    tap: Tap,
    reading: Reading,
    size: Size,
    ground: Ground = "shape",
) -> tuple[Verdict, _Outcome]:
    """Return how an output looks when it is read in one way."""
    guessed = tap.prefix_tokens is None and bool(reading.prefix_tokens)
    tap = replace(tap, reading=reading)
    shape = list(tensor.shape)
    if shape[1 if reading.layout == "LNC" else 0] != IMAGES:
        kind = _NotInPlaceError if shape[0] == 1 else _NoBatchError  # or one for them all
        return "wrong", kind(
            f"{tap.name} gives {shape} for {IMAGES} images: its first axis is not the batch"
        )
    try:
        map_ = as_map(tensor, network, tap, size)
    except UsageError as error:
        return "wrong", error
    verdict = verdict_of(map_, guessed, ground)
    if verdict == "wrong":
        return verdict, _out_of_order(tap, tensor)
    if tensor.ndim == 3:
        prefix = shape[reading.layout.index("L")] - map_.shape[2] * map_.shape[3]
        tap = replace(tap, reading=Reading(reading.layout, prefix))
    return verdict, tap
