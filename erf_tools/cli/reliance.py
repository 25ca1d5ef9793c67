"""The command ``erf-tools reliance``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from erf_tools.choices import declared, spelled_out, taken
from erf_tools.cli.inputs import opened_stimuli, report_images, report_left_out, wanted_models
from erf_tools.cli.options import (
    Channels,
    Models,
    Offline,
    Output,
    Overwrite,
    Seed,
    WeightChoices,
    option,
)
from erf_tools.cli.outcomes import print_outcome
from erf_tools.computing import BATCHED, Computing
from erf_tools.errors import UsageError
from erf_tools.importing import heavy_imports
from erf_tools.numbers import LARGEST
from erf_tools.reliance.choices import Suppressing

if TYPE_CHECKING:
    from erf_tools.reliance.judged import JudgedImages


@spelled_out(BATCHED, option, before="seed")
@spelled_out(declared(Suppressing), option)
def reliance(
    model: Models,
    weights: WeightChoices = ["pretrained"],  # noqa: B006 - Typer copies it
    *,
    images: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="A folder of images with labels; accuracy is counted."),
    ] = None,
    num_images: Annotated[
        int | None, typer.Option(min=1, help="How many images at most.", show_default="all")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV with the columns image and label (class index or synset); folders and files "
            "named by synsets need none.",
        ),
    ] = None,
    stimuli: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|cue-conflict",
            help="Cue-conflict stimuli instead; decisions by shape and by texture are counted.",
        ),
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Measure what there is of a set, and say so.")
    ] = False,
    label_map: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV with the columns index and category, for heads that are not ImageNet-1K's; "
            "with --images, categories are names of folders.",
        ),
    ] = None,
    channels: Channels = 3,
    seed: Seed = 0,
    offline: Offline = False,
    output: Output = Path("results/reliance"),
    overwrite: Overwrite = False,
    **choices: Any,
) -> None:
    """Measure what networks lose when one cue at a time is suppressed in their images.

    Example: erf-tools reliance --models efficientnet_lite0 --images imagenet/val --cues color
    """
    from erf_tools.reliance.suppressions import chosen

    suppressing = Suppressing(**taken(declared(Suppressing), choices))
    computing = Computing(**taken(BATCHED, choices))
    chosen(suppressing.cues)  # before anything is read
    if (images is None) == (stimuli is None):
        raise UsageError("give either --images, a folder with labels, or --stimuli")
    wanted = wanted_models(model, weights, offline, channels)
    judged = (
        _labelled(images, num_images, labels, label_map, seed)
        if images is not None
        else _conflict(str(stimuli), allow_partial, label_map)
    )
    with heavy_imports():
        from erf_tools.studies.reliance import measure_reliance

    outcome = measure_reliance(
        wanted,
        judged,
        output,
        suppressing,
        computing=computing,
        seed=seed,
        overwrite=overwrite,
        progress=True,
    )
    print_outcome(outcome, output, "what was answered before to the same images is used")


def _labelled(
    images: str, count: int | None, labels: Path | None, label_map: Path | None, seed: int
) -> JudgedImages:
    from erf_tools.images import select
    from erf_tools.reliance.judged import labelled_images

    selection = select(images, count or LARGEST, seed=seed)
    report_images(selection, count or 0)
    judged = labelled_images(selection, labels, label_map)
    report_left_out(judged.left_out, "images without a label")
    return judged


def _conflict(stimuli: str, allow_partial: bool, label_map: Path | None) -> JudgedImages:
    from erf_tools.cue_conflict.label_maps import read_label_map
    from erf_tools.reliance.judged import conflict_images

    found = opened_stimuli(stimuli, allow_partial)
    return conflict_images(found, read_label_map(label_map) if label_map else None)
