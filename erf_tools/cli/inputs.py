"""What is measured, made ready beforehand: models and images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from erf_tools.cli.options import split_names, split_weights
from erf_tools.cli.outcomes import say
from erf_tools.importing import heavy_imports

if TYPE_CHECKING:
    from erf_tools.cue_conflict.categories import Categories
    from erf_tools.cue_conflict.stimulus_sets import StimulusSet
    from erf_tools.folders import Remark
    from erf_tools.image_choices import ImageChoices
    from erf_tools.images import Selection
    from erf_tools.models.requests import Request

#: How many of the files left out for one reason are named, and how many reasons.
_NAMED = 10


def wanted_models(
    models: list[str], weights: list[str], offline: bool, channels: int = 3
) -> list[Request]:
    """Check names, and fetch what is missing, before anything heavy is loaded for it."""
    from erf_tools.downloads import go_offline
    from erf_tools.models import weight_files
    from erf_tools.models.catalogue import ENTRIES
    from erf_tools.models.requests import requests

    if offline:
        go_offline()
    wanted = requests(split_names(models), split_weights(weights), channels)
    if others := [request.model for request in wanted if request.model not in ENTRIES]:
        with heavy_imports():  # to look for a name is to import its library
            from erf_tools.models.names import resolve
            from erf_tools.models.prefixes import is_factory

            for name in others:
                if not is_factory(name):
                    resolve(name)
    weight_files.prefetch(wanted, progress=True)
    return wanted


def opened_stimuli(
    source: str, allow_partial: bool, categories: Categories | None = None
) -> StimulusSet:
    """Open stimuli, and say what is left out of them, what is missing, and whose they are."""
    from erf_tools.cue_conflict.categories import SIXTEEN
    from erf_tools.cue_conflict.stimuli import open_stimuli
    from erf_tools.cue_conflict.stimulus_sets import CITATION

    found = open_stimuli(source, allow_partial, progress=True, categories=categories or SIXTEEN)
    report_left_out(found.left_out, "files and folders that hold no stimuli")
    for deviation in found.deviations:
        say(f"partial stimuli: {deviation}", err=True)
    if found.categories.as_published:
        say(CITATION, err=True)
    return found


def selected_images(images: ImageChoices, seed: int) -> Selection:
    """Choose images, and say what of them is left out."""
    from erf_tools.images import select

    selection = select(images.source, images.count, images.order, seed)
    report_images(selection, images.count)
    return selection


def report_images(selection: Selection, asked: int) -> None:
    """Say which files are left out, and whether there are fewer images than asked for."""
    report_left_out(selection.left_out, "files and folders left out")
    report_left_out(selection.unreadable, "images that cannot be read")
    for name, remark in selection.remarks:
        say(f"{name} {remark}", err=True)
    if len(selection) < asked:
        found = "1 image: using it"
        if len(selection) != 1:
            found = f"{len(selection)} images: using all of them"
        say(f"{selection.source} has {found}", err=True)


def report_left_out(left_out: Sequence[Remark], what: str) -> None:
    """Name files that are left out, the first few for each of a few reasons, and count them."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out:
        by_reason.setdefault(reason, []).append(name)
    reasons = list(by_reason.items())
    for reason, names in reasons[:_NAMED]:
        for name in names[:_NAMED]:
            say(f"skipped {name}: {reason}", err=True)
        if len(names) > _NAMED:
            say(f"skipped {len(names) - _NAMED} more: {reason}", err=True)
    if others := sum(len(names) for _, names in reasons[_NAMED:]):
        say(f"skipped {others} more for other reasons", err=True)
    if left_out:
        say(f"{what}: {len(left_out)}", err=True)
