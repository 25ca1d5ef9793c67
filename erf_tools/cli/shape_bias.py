"""The command ``erf-tools shape-bias``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from erf_tools.choices import declared, spelled_out, taken
from erf_tools.cli.inputs import opened_stimuli, report_left_out, wanted_models
from erf_tools.cli.options import (
    Channels,
    Models,
    NoReference,
    Offline,
    Output,
    Overwrite,
    Seed,
    WeightChoices,
    option,
    split_names,
)
from erf_tools.cli.outcomes import print_outcome
from erf_tools.computing import BATCHED, Computing
from erf_tools.cue_conflict.choices import Deciding, HeadFree, StimulusChoices
from erf_tools.errors import UsageError
from erf_tools.importing import heavy_imports

if TYPE_CHECKING:
    from erf_tools.studies.written import TableStudy


@spelled_out(BATCHED, option, before="seed")
@spelled_out((*declared(StimulusChoices), *declared(Deciding), *declared(HeadFree)), option)
def shape_bias(
    model: Models = [],  # noqa: B006 - Typer copies it
    weights: WeightChoices = ["pretrained"],  # noqa: B006
    *,
    decisions: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE|DIR",
            help="Published decisions to put beside, or to measure without --model; repeatable.",
        ),
    ] = [],  # noqa: B006
    no_reference: NoReference = False,
    label_map: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV with the columns index and category, for heads that are not ImageNet-1K's.",
        ),
    ] = None,
    channels: Channels = 3,
    seed: Seed = 0,
    offline: Offline = False,
    output: Output = Path("results/shape_bias"),
    overwrite: Overwrite = False,
    **choices: Any,
) -> None:
    """Measure texture-versus-shape decisions, or with --head-free what layers hold of both.

    Example: erf-tools shape-bias --models resnet152,replknet31b
    """
    from erf_tools.cue_conflict.categories import SIXTEEN
    from erf_tools.cue_conflict.category_files import read_categories
    from erf_tools.cue_conflict.decisions import find_decision_files, read_decisions
    from erf_tools.cue_conflict.label_maps import read_label_map

    head_free = HeadFree(**taken(declared(HeadFree), choices))
    deciding = Deciding(**taken(declared(Deciding), choices))
    computing = Computing(**taken(BATCHED, choices))
    shown = StimulusChoices(**taken(declared(StimulusChoices), choices))
    categories = read_categories(shown.categories) if shown.categories else SIXTEEN
    names = split_names(model)
    if deciding.prompts != Deciding.prompts:
        _check_prompts(deciding.prompts, [] if head_free.head_free else names)
    if head_free.head_free and (decisions or label_map or not names):
        raise UsageError(
            "--head-free measures layers of networks: it needs --model, and takes neither "
            "--decisions nor --label-map"
        )
    if not names and not decisions:
        raise UsageError("--model is missing; or give --decisions to measure published ones")
    if decisions and len(categories.cues) < 2:
        raise UsageError("--decisions are of stimuli with two cues; --categories names one only")
    published = read_decisions(decisions, categories) if decisions else []
    if decisions:
        report_left_out(
            find_decision_files(decisions)[1], "files and folders that hold no decisions"
        )
    classes = read_label_map(label_map, categories.names) if label_map else None
    found, wanted = None, []
    if names:
        wanted = wanted_models(names, weights, offline, channels)
        found = opened_stimuli(shown.stimuli, shown.allow_partial, categories)

    common: dict[str, Any] = {
        "deciding": deciding,
        "computing": computing,
        "seed": seed,
        "overwrite": overwrite,
        "progress": True,
    }
    outcome: TableStudy
    if head_free.head_free:
        with heavy_imports():
            from erf_tools.studies.head_free import measure_head_free

        assert found
        outcome = measure_head_free(wanted, found, output, head_free, **common)
    else:
        with heavy_imports():
            from erf_tools.studies.shape_bias import measure_decisions

        outcome = measure_decisions(
            wanted, found, output, published, not no_reference, label_map=classes, **common
        )
    done = "measured" if head_free.head_free else "decided"
    print_outcome(outcome, output, f"{done} before on the same stimuli with the same settings")


def _check_prompts(prompts: str, names: list[str]) -> None:
    """See that prompts are for one of the networks, and can be read, before anything is measured.

    Raises:
        UsageError: they are not.
    """
    from erf_tools.models.prefixes import is_zero_shot
    from erf_tools.models.zero_shot import read_templates

    if not any(map(is_zero_shot, names)):
        raise UsageError(
            "--prompts is for decisions of networks that compare images with text, as "
            "open_clip:ViT-B-32; leave it out"
        )
    read_templates(prompts)
