"""Whether a layer's output is laid out as supposed: tried out, since shapes do not tell.

A network is run on four images: A, B, and two that are put together of both, one with A in its
upper half, one with A in its left half. Units that lie where they are read from are nearer to what
they are for A where the image is A's, and nearer to B's elsewhere. That compares each unit with
itself, so that it holds as well where attention spreads every change over all units, and it does
not hold where tokens are in another order, where windows or tokens come before images, and where
channels are taken for positions.

Some maps show nothing: each unit sees everything alike, or differences are lost in rounding. They
are read as their shapes suggest, if no other reading of them is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from erf_tools.errors import UsageError
from erf_tools.features.copies import NotCopyableError, probe_copy, random_states_kept, state_kept
from erf_tools.features.layout import as_map, select, supposed_layout
from erf_tools.features.reading import listening, read_each, read_features
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

#: How many images a network is tried on.
_IMAGES = 4

#: The small image that a network is tried on first; not square, so that rows differ from columns.
_SMALL = (64, 128)

#: Sizes are congruent to that of the images to be analysed modulo this; see ``dependency``.
_PERIOD = 64

#: Share of pairs of units, one in A's half and one in B's, that are ordered as they should be: half
#: of them by chance.
_RIGHT, _CERTAIN = 0.75, 0.9

#: Standard deviation over units of the logarithm of "nearer to A than to B", in times: with less,
#: units do not differ enough to tell where they are. Rounding alone makes 0.2 of it. Chance makes
#: the inverse of the square root of the number of channels, or some times that where channels are
#: alike: units are out of order only if they differ by more.
_TELLING, _BY_CHANCE = 0.25, 4

#: Units in each half; fewer can be out of order by chance.
_FEWEST = 8

#: Where that logarithm is cut off: beyond, a unit sees one image only.
_CUT = 10.0

#: What an output may be instead of what it is supposed to be.
_RIVALS: dict[Layout, tuple[Layout, ...]] = {
    "NCHW": ("NHWC",),
    "NHWC": ("NCHW",),
    "NLC": ("NCL", "LNC"),
}

#: Most prefix tokens that are looked for where nothing is said of them.
_MOST_PREFIX_TOKENS = 8

#: What a pass shows of a run of a layer: the tap with its reading, or why there is none.
_Outcome = Tap | UsageError

_Verdict = Literal["certain", "right", "nothing to see", "wrong"]


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

    What is refused on a small image is tried on one of the size to be analysed. Where the order of
    units is in doubt, it is tried in float64 at last: rounding may hide where they are.
    """
    small = tuple(least + wanted % _PERIOD for least, wanted in zip(_SMALL, size, strict=True))
    trials = [(size, False)]
    kept: AbstractContextManager[None] = nullcontext()
    try:
        network = probe_copy(module).eval()
    except NotCopyableError:
        network, kept = module, state_kept(module)
    else:
        trials.append((size, True))
        if not fixed_size and not any(tap.grid for tap in taps):
            trials.insert(0, ((small[0], small[1]), False))
    found: dict[Tap, list[_Outcome]] = {}
    for side, wide in trials:
        doubtful = _NotInPlaceError if wide else UsageError
        waiting = [
            tap
            for tap in taps
            if tap not in found
            or any(
                isinstance(outcome, doubtful) and not isinstance(outcome, _NoBatchError)
                for outcome in found[tap]
            )
        ]
        if not waiting:
            break
        try:
            with kept, random_states_kept():
                found |= _seen(network.double() if wide else network, waiting, side)
        except UsageError:
            raise
        except Exception:  # networks refuse sizes and types in any way they like
            if side == size and not found:
                raise
    return {tap: found[tap] for tap in taps}


@torch.no_grad()
def _seen(network: nn.Module, taps: Sequence[Tap], size: Size) -> dict[Tap, list[_Outcome]]:
    """Return what one pass shows of each run of each tap."""
    found: dict[Tap, list[_Outcome]] = {tap: [] for tap in taps}

    def keep(tap: Tap, _run: int, output: Any) -> None:
        found[tap].append(_examined(output, network, tap, size))

    images = _images(network, size)
    for tap in taps:
        if tap.is_method:
            outcome = _examined(read_features(network, tap, images), network, tap, size)
            found[tap].append(outcome)
    if hooked := [tap for tap in taps if not tap.is_method]:
        with listening(network, hooked, keep):
            try:
                network(images)
            except Exception:
                if not all(found.values()):  # what follows the last layer does not matter
                    raise
    return found


def _images(network: nn.Module, size: Size) -> Tensor:
    """Return A, B, A above B and A left of B: ``[4, 3, height, width]``."""
    floating = (weight for weight in network.parameters() if weight.is_floating_point())
    noise = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    one, other = noise[0] + 1, noise[1] - 1
    height, width = size
    above = torch.arange(height)[:, None] < height / 2
    before = torch.arange(width) < width / 2
    images = [one, other, torch.where(above, one, other), torch.where(before, one, other)]
    return torch.stack(images).to(next(floating, noise))


def _examined(output: Any, network: nn.Module, tap: Tap, size: Size) -> _Outcome:
    """Return the tap with the layout that its output for :func:`_images` is found to have."""
    try:
        tensor = select(output, tap)
        supposed = tap.layout or supposed_layout(tensor, network, tap, size)
    except UsageError as error:
        return error
    layouts = [supposed] if tap.layout else [supposed, *_RIVALS[supposed]]
    first, *rivals = (reading for layout in layouts for reading in _readings(tap, layout))
    verdict, outcome = _read_as(tensor, network, tap, first, size)
    if verdict in ("certain", "right"):
        return outcome
    for rival in rivals:
        verdict, found = _read_as(tensor, network, tap, rival, size)
        if verdict != "certain":
            continue
        if rival.layout == "LNC":
            declared = replace(tap, layout="LNC", prefix_tokens=rival.prefix_tokens)
            return UsageError(
                f"{tap.name} gives {list(tensor.shape)} for {_IMAGES} images: the batch comes "
                f"second; declare it with {declared.code}"
            )
        return found
    return outcome


def _readings(tap: Tap, layout: Layout) -> Iterator[Reading]:
    """Yield how an output of a layout may be read, the likeliest first."""
    yield Reading(layout, tap.prefix_tokens)
    if len(layout) == 3 and tap.prefix_tokens is None:
        for prefix in range(1, _MOST_PREFIX_TOKENS + 1):
            yield Reading(layout, prefix)


def _read_as(
    tensor: Tensor, network: nn.Module, tap: Tap, reading: Reading, size: Size
) -> tuple[_Verdict, _Outcome]:
    """Return how an output looks when it is read in one way."""
    tap = replace(tap, reading=reading)
    shape = list(tensor.shape)
    if shape[1 if reading.layout == "LNC" else 0] != _IMAGES:
        return "wrong", _NoBatchError(
            f"{tap.name} gives {shape} for {_IMAGES} images: its first axis is not the batch"
        )
    try:
        map_ = as_map(tensor, network, tap, size)
    except UsageError as error:
        return "wrong", error
    verdict = _verdict(map_)
    if verdict == "wrong":
        return verdict, _NotInPlaceError(
            f"{tap.name} gives {shape} for {_IMAGES} images, which are not units in the order of "
            "the image's rows and columns"
        )
    if tensor.ndim == 3:
        prefix = shape[reading.layout.index("L")] - map_.shape[2] * map_.shape[3]
        tap = replace(tap, reading=Reading(reading.layout, prefix))
    return verdict, tap


def _verdict(map_: Tensor) -> _Verdict:
    """Return whether units ``[4, C, H, W]`` for :func:`_images` lie where they are read from."""
    if map_.layout != torch.strided or not map_.is_floating_point():
        return "nothing to see"  # what is measured later says what is wrong with it
    one, other, above, before = map_
    telling = max(_TELLING, _BY_CHANCE / len(one) ** 0.5)
    verdicts: set[_Verdict] = set()
    for mixed, axis in ((above, 0), (before, 1)):
        nearness = (mixed - other).norm(dim=0).log() - (mixed - one).norm(dim=0).log()
        units = nearness.movedim(axis, 0).double().clamp(-_CUT, _CUT)
        half = len(units) // 2
        # Of an odd number of rows, the middle one has both.
        of_one, of_other = units[:half].flatten(), units[len(units) - half :].flatten()
        verdicts.add(_ordered(of_one[~of_one.isnan()], of_other[~of_other.isnan()], telling))
    for verdict in ("wrong", "nothing to see", "right"):
        if verdict in verdicts:
            return verdict
    return "certain"


def _ordered(upper: Tensor, lower: Tensor, telling: float) -> _Verdict:
    """Return whether values are larger than others, as a rank test does.

    That they are not is told only where they spread by more than ``telling``.
    """
    if not len(upper) or not len(lower):
        return "nothing to see"
    ranked = lower.sort().values
    smaller = torch.searchsorted(ranked, upper) + torch.searchsorted(ranked, upper, right=True)
    share = float(smaller.double().mean()) / (2 * len(lower))
    spread = float(torch.cat([upper, lower]).std())
    if share >= _CERTAIN and spread >= _TELLING:
        return "certain"
    if share >= _RIGHT:
        return "right"
    told = spread >= telling and min(len(upper), len(lower)) >= _FEWEST
    return "wrong" if told else "nothing to see"
