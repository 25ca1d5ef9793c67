"""The command ``erf-tools dead-pixels``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erf_tools.choices import spelled_out, taken
from erf_tools.cli.inputs import selected_images, wanted_models
from erf_tools.cli.options import (
    Channels,
    Device,
    Models,
    Offline,
    Output,
    Overwrite,
    Seed,
    WeightChoices,
    option,
)
from erf_tools.cli.outcomes import print_outcome
from erf_tools.erf.procedure import PROCEDURE, Procedure
from erf_tools.image_choices import UNLABELLED, ImageChoices
from erf_tools.importing import heavy_imports

#: Those of single units, and of ways of computing that are not needed here.
_OTHERS = ("unit", "square", "precision", "display")

_PROCEDURE = tuple(each for each in PROCEDURE if each.name not in _OTHERS)


@spelled_out((*UNLABELLED, *_PROCEDURE), option)
def dead_pixels(
    model: Models,
    weights: WeightChoices = ["pretrained"],  # noqa: B006 - Typer copies it
    *,
    channels: Channels = 3,
    device: Device = "auto",
    seed: Seed = 0,
    offline: Offline = False,
    output: Output = Path("results/dead-pixels"),
    overwrite: Overwrite = False,
    **choices: Any,
) -> None:
    """Measure which pixels contribute hardly anything to all units of a network together.

    Example: erf-tools dead-pixels --models resnet50,convnext_tiny --resolution 224
    """
    images = ImageChoices(**taken(UNLABELLED, choices))
    procedure = Procedure().varied(**taken(_PROCEDURE, choices))
    wanted = wanted_models(model, weights, offline, channels)
    selection = selected_images(images, seed)
    with heavy_imports():
        from erf_tools.studies.dead_pixels import DEAD_PIXELS
        from erf_tools.studies.recorded import measure_recorded

    outcome = measure_recorded(
        DEAD_PIXELS, wanted, selection, output, procedure, device, seed, overwrite, progress=True
    )
    print_outcome(outcome, output)
