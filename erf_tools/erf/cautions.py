"""What has to stand beside a number: reasons why an ERF may mislead, each with what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from erf_tools.erf.intervals import FEWEST
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures.families.squares import largest_published_square, square_around
from erf_tools.text import dimensions

#: Share of its own accuracy below which a network counts as no longer itself.
COLLAPSE = 0.5

#: Share of maps that are zero, and number of images, from which there is nothing to say.
_ZEROS, _FEW = 0.03, 10

#: Kind of the reason that a network draws random numbers.
DRAWS = "random draws"

#: What has to be known of a map of a network that draws.
DRAWN = (
    "it draws random numbers in its forward pass, and the map is of these draws: another seed "
    "may give another; switch off what draws (dropout, stochastic depth, noise), or measure it "
    "with several seeds (torch.manual_seed before each)"
)


@dataclass(frozen=True)
class Caution:
    """One reason.

    Attributes:
        kind: in a word or two.
        sentence: what is the case, and what to do.
    """

    kind: str
    sentence: str


def cautions(result: ERF) -> list[Caution]:
    """Return what has to be known of a result, in the order of :data:`KINDS`."""
    found = [(kind, say(result)) for kind, say in KINDS.items()]
    return [Caution(kind, sentence) for kind, sentence in found if sentence]


def _one_class(result: ERF) -> str:
    if len(result.images) < 2:
        return ""
    labels = {image.label for image in result.images}
    folders = {image.name.rpartition("/")[0] for image in result.images}
    where = "class" if len(labels) == 1 and labels != {None} else "folder"
    if where == "folder" and (len(folders) > 1 or folders == {""}):
        return ""
    return f"all images are of one {where}; take them from several, as --order spread does"


def _saturated(result: ERF) -> str:
    most = largest_published_square(result.total.shape).ratio
    if not result.measures.linear_99 >= most - 1e-9:
        return ""
    return (
        f"r at 99 % is saturated (the largest published square covers {100 * most:.1f} %); compare "
        "by r at 50 % or by the effective side"
    )


def _off_center(result: ERF) -> str:
    stride = result.receptive_field.stride
    if result.square_center or stride is None:
        return ""
    away = [
        abs(place - length // 2)
        for place, length in zip(result.center, result.total.shape, strict=True)
    ]
    if not any(far > step / 2 for far, step in zip(away, stride, strict=True)):
        return ""
    return f"the unit's centre is {max(away):g} pixels from that of the squares; use --square unit"


def _contradicted(result: ERF) -> str:
    found = [run["contradicted_field"] for run in result.runs if run.get("contradicted_field")]
    if not found:
        return ""
    return field_contradicted(found[0])


def field_contradicted(size: Sequence[float]) -> str:
    """Return what has to be known of a map that reaches beyond a field of this size."""
    return (
        f"the map reaches beyond the theoretical field that was found, {dimensions(size)}, so "
        "neither that nor the unit's centre is known: something in the network does otherwise "
        "without gradients, or hides what units depend on"
    )


def _drawn(result: ERF) -> str:
    if not any(run.get("draws") for run in result.runs):
        return ""
    return DRAWN


def _bounded(result: ERF) -> str:
    sides = result.theoretical_size
    limits = zip(sides, result.total.shape, strict=True)
    if not all(isfinite(side) for side in sides) or not any(side < all_ for side, all_ in limits):
        return ""
    height, width = result.total.shape
    covered = min(sides[0], height) * min(sides[1], width) / (height * width)
    digits = "1f" if covered >= 0.01 else "2g"
    box = result.theoretical_box
    assert box  # a size that is known is that of boxes
    # A field that is off the squares' centre, or long, needs a larger square than its own area.
    r = square_around(box, result.total.shape, result.square_center).ratio
    bound = f", and linear r is at most {100 * r:.2f} %" if r < 1 else ""
    return (
        f"the theoretical field, {dimensions(sides)}, is smaller than the image, so the map covers "
        f"at most {100 * covered:.{digits}} % of it{bound}; compare with networks of such fields "
        "at one resolution"
    )


def _collapsed(result: ERF) -> str:
    here, own = result.top1(), result.top1(natively=True)
    if not here < COLLAPSE * own:
        return ""
    return (
        f"it is no longer itself at {dimensions(result.total.shape)}: it classifies "
        f"{100 * here:.0f} % of the labelled images right there, and {100 * own:.0f} % at its own "
        "size; measure it nearer to that size"
    )


def _zeros(result: ERF) -> str:
    zeros = result.number("zero")
    if not result.count or zeros <= _ZEROS * result.count:
        return ""
    rests = "nothing" if zeros == result.count else "the others"
    return (
        f"{zeros} of {result.count} maps are zero, so it rests on {rests}; another --unit, or "
        "--scalar sum, may see more"
    )


def _few(result: ERF) -> str:
    if result.count >= _FEW:
        return ""
    shown = f"it rests on {result.count} image{'s' * (result.count > 1)}"
    if result.count < FEWEST:
        return f"{shown}: take {_FEW} or more"
    return f"{shown}; its intervals are rough below {_FEW}: take more"


def _untrained(result: ERF) -> str:
    if result.trained:
        return ""
    return (
        "its weights are random: the map shows the architecture, not what a network learns; "
        "compare trained networks with --weights pretrained"
    )


#: All there are, by their kind, with what says it of a result; empty where it is not the case.
KINDS: Mapping[str, Callable[[ERF], str]] = {
    "one class": _one_class,
    "saturated": _saturated,
    "off centre": _off_center,
    "field within the image": _bounded,
    "field contradicted": _contradicted,
    DRAWS: _drawn,
    "accuracy collapsed": _collapsed,
    "zero maps": _zeros,
    "few images": _few,
    "untrained": _untrained,
}
