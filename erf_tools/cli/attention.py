"""The command ``erf-tools attention``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from erf_tools.choices import spelled_out, taken
from erf_tools.cli.inputs import selected_images, wanted_models
from erf_tools.cli.options import (
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

#: As the network is evaluated, where nothing else is asked for.
_PROCEDURE = tuple(
    replace(each, shown_default=shown)
    for each in PROCEDURE
    if (shown := {"resolution": "the network's own", "transform": "model"}.get(each.name))
)
_AS_EVALUATED = Procedure().varied(transform="model")


@spelled_out((*UNLABELLED, *_PROCEDURE), option)
def attention(
    model: Models,
    weights: WeightChoices = ["pretrained"],  # noqa: B006 - Typer copies it
    *,
    device: Device = "auto",
    seed: Seed = 0,
    offline: Offline = False,
    output: Output = Path("results/attention"),
    overwrite: Overwrite = False,
    **choices: Any,
) -> None:
    """Measure how far the heads of vision transformers attend, in pixels, layer by layer.

    Example: erf-tools attention --models vit_small_patch16_224,vit_base_patch16_224
    """
    images = ImageChoices(**taken(UNLABELLED, choices))
    procedure = _AS_EVALUATED.varied(**taken(_PROCEDURE, choices))
    wanted = wanted_models(model, weights, offline)
    selection = selected_images(images, seed)
    with heavy_imports():
        from erf_tools.studies.attention import ATTENTION
        from erf_tools.studies.recorded import measure_recorded

    outcome = measure_recorded(
        ATTENTION, wanted, selection, output, procedure, device, seed, overwrite, progress=True
    )
    print_outcome(outcome, output)
