"""The command ``erf-tools audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erf_tools.choices import declared, spelled_out, taken
from erf_tools.cli.inputs import selected_images, wanted_models
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
from erf_tools.computing import COMPUTING, Computing
from erf_tools.erf.procedure import Procedure
from erf_tools.image_choices import UNLABELLED, ImageChoices
from erf_tools.importing import heavy_imports


@spelled_out(COMPUTING, option, before="seed")
@spelled_out((*UNLABELLED, *declared(Procedure)), option)
def audit(
    model: Models,
    weights: WeightChoices = ["pretrained"],  # noqa: B006 - Typer copies it
    *,
    channels: Channels = 3,
    seed: Seed = 0,
    offline: Offline = False,
    output: Output = Path("results/audit"),
    overwrite: Overwrite = False,
    **choices: Any,
) -> None:
    """Measure networks by every published protocol: does their order survive the choice of one?

    Example: erf-tools audit --models resnet50,convnext_tiny --resolution 224 --num-images 8
    """
    images = ImageChoices(**taken(UNLABELLED, choices))
    procedure = Procedure().varied(**taken(declared(Procedure), choices))
    computing = Computing(**taken(COMPUTING, choices))
    wanted = wanted_models(model, weights, offline, channels)
    selection = selected_images(images, seed)
    with heavy_imports():
        from erf_tools.erf import shown_audit
        from erf_tools.studies.audit import audit_erfs
        from erf_tools.tables import as_text

    outcome = audit_erfs(
        wanted,
        selection,
        output,
        procedure,
        computing=computing,
        seed=seed,
        overwrite=overwrite,
        progress=True,
    )
    taus = as_text(shown_audit.agreement_matrix(outcome.agreement))
    heading = "Kendall's tau between the orders that protocols give by effective side:"
    print_outcome(outcome, output, below=f"{heading}\n{taus}")
