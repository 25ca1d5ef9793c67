"""Stimuli of one's own: any categories, two cues in conflict or a single one, in any format."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from erf_tools.cue_conflict.categories import Categories
from erf_tools.cue_conflict.stimulus_sets import (
    PUBLISHED_DIGEST,
    Stimulus,
    StimulusSet,
    digest,
    parse_name,
    pixels_sha256,
    read_pixels,
    sentence,
)
from erf_tools.errors import UsageError, suggestion
from erf_tools.folders import Found, Remark, why_unreadable
from erf_tools.text import first_few


def open_own(
    folder: Path, found: Found, allow_partial: bool, categories: Categories
) -> StimulusSet:
    """Open stimuli that were declared by ``--categories``.

    With two cues their names are ``<first>/<first><n>-<second><m>``, where the numbers say which
    images they were made of; with one cue ``<category>/`` and any name.

    Raises:
        UsageError: there are none, or something in the folder is none; see
            :func:`~erf_tools.cue_conflict.stimuli.open_stimuli`.
    """
    conflict = len(categories.cues) > 1
    stimuli: dict[str, Stimulus] = {}
    left_out: list[Remark] = [remark for remark in found.left_out if "/" not in remark[0]]
    unusable = [f"{name} ({why})" for name, why in found.left_out if "/" in name]
    strays, twice, folders = [], [], set()
    for place, path in found.files:
        category, _, name = place.rpartition("/")
        if not category:
            left_out.append((place, "no stimulus"))
            continue
        folders.add(category)
        if category not in categories.names:
            continue
        pair = parse_name(name, categories) if conflict else (category, category)
        if pair is None or pair[0] != category:
            strays.append(place)
            continue
        # Names without folders say which images a stimulus was made of.
        own = PurePosixPath(name if conflict else place).with_suffix("").as_posix()
        if own in stimuli:
            twice.append(place)
            continue
        try:
            pixels = read_pixels(path)
        except Exception as error:  # Pillow's decoders raise a dozen kinds
            unusable.append(f"{place} ({why_unreadable(error)})")
            continue
        stimuli[own] = Stimulus(own, *pair, path, pixels_sha256(pixels))
    strangers = sorted(folders - set(categories.names))
    deviations = [
        sentence(kind, names, one, many)
        for kind, names, one, many in (
            (
                "category",
                [name for name in categories.names if name not in folders],
                "has no folder",
                "have no folders",
            ),
            ("folder", strangers, "is no category", "are no categories"),
            ("file", strays, "is no stimulus of its folder", "are no stimuli of their folder"),
            ("file", twice, "is there in another format", "are there in other formats"),
            ("file", unusable, "cannot be used", "cannot be used"),
        )
        if names
    ]
    if not stimuli:
        form = "<first>/<first><n>-<second><m>.png" if conflict else "<category>/<any name>.png"
        near = [f"; {strange}: {suggestion(strange, categories.names, 1)}" for strange in strangers]
        raise UsageError(
            f"--stimuli {folder} holds no stimuli of {first_few(categories.names)} ({form})"
            + "".join(near[:1])
        )
    if deviations and not allow_partial:
        raise UsageError(
            f"--stimuli {folder}: {'; '.join(deviations)} (--allow-partial measures what is there)"
        )
    if not conflict and all(parse_name(each.path.name, categories) for each in stimuli.values()):
        example = next(iter(stimuli.values())).path.name
        raise UsageError(
            f"--stimuli {folder} holds names of two cues, as {example}, and "
            f"{categories.file or 'the declaration'} has one; say what both are called in cues"
        )
    ordered = tuple(sorted(stimuli.values(), key=lambda stimulus: stimulus.name))
    sha256 = digest(ordered)
    if sha256 == PUBLISHED_DIGEST:
        raise UsageError(
            f"--stimuli {folder} holds the published stimuli, whose cues are shape and texture; "
            "leave --categories out"
        )
    return StimulusSet(
        ordered, conflict, str(folder), sha256, tuple(deviations), tuple(left_out), categories
    )
