"""The command ``erf-tools erf``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from erf_tools.choices import declared, spelled_out, taken
from erf_tools.cli.inputs import selected_images, wanted_models
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
)
from erf_tools.cli.outcomes import print_study, raise_failures, say
from erf_tools.computing import COMPUTING, Computing
from erf_tools.erf.procedure import PROCEDURE, Procedure
from erf_tools.errors import UsageError
from erf_tools.image_choices import ImageChoices
from erf_tools.importing import heavy_imports
from erf_tools.models.requests import Layers, with_untrained
from erf_tools.perturbation.choices import CHECKING, Checking

if TYPE_CHECKING:
    from erf_tools.studies.erf import Study

_CHOICES = (*declared(ImageChoices), *PROCEDURE, *declared(Layers), *CHECKING)


@spelled_out(COMPUTING, option, before="seed")
@spelled_out(_CHOICES, option)
def erf(
    model: Models,
    weights: WeightChoices = ["pretrained"],  # noqa: B006 - Typer copies it
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Replace cells of the images too, and compare the change of the unit with the "
            "map.",
        ),
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Print each map, small, in the terminal too.")
    ] = False,
    against: Annotated[
        Literal["random"] | None,
        typer.Option(
            help="Measure each trained network untrained too, for paired differences between them."
        ),
    ] = None,
    no_reference: NoReference = False,
    channels: Channels = 3,
    seed: Seed = 0,
    offline: Offline = False,
    output: Output = Path("results/erf"),
    overwrite: Overwrite = False,
    **choices: Any,
) -> None:
    """Measure effective receptive fields: a heatmap per model, a table, and a page of all.

    Example: erf-tools erf --model replknet31b,resnet101 --weights random --resolution 512
    """
    images, procedure, layers = asked(choices)
    computing = Computing(**taken(COMPUTING, choices))
    checking = Checking(**taken(CHECKING, choices))
    if checking != Checking() and not check:
        raise UsageError("--cells and --replacement are for --check; add it, or leave them out")
    wanted = wanted_models(model, weights, offline, channels)
    if against:
        wanted = with_untrained(wanted)
    selection = selected_images(images, seed)
    with heavy_imports():
        from erf_tools.studies import erf as study

    outcome = study.measure_erfs(
        wanted,
        selection,
        output,
        procedure,
        layers,
        labels=Path(images.labels) if images.labels else None,
        computing=computing,
        seed=seed,
        overwrite=overwrite,
        progress=True,
        reference=not no_reference,
        checking=checking if check else None,
    )
    if preview:
        _print_maps(outcome)
    print_study(outcome, output)
    raise_failures(outcome.failures)


def asked(choices: Mapping[str, Any]) -> tuple[ImageChoices, Procedure, Layers]:
    """Return what a command line asks for; :mod:`erf_tools.report.commands` does the reverse.

    Raises:
        UsageError: it makes no sense.
    """
    return (
        ImageChoices(**taken(declared(ImageChoices), choices)),
        Procedure().varied(**taken(PROCEDURE, choices)),
        Layers(**taken(declared(Layers), choices)),
    )


def _print_maps(outcome: Study) -> None:
    from erf_tools.erf.preview import preview, terminal_shades

    shades = terminal_shades(sys.stdout, os.environ)
    for result in outcome.results:
        say(result.label)
        typer.echo(f"{preview(result.map, shades)}\n", color=True)
