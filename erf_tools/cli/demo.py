"""The command ``erf-tools demo``."""

from __future__ import annotations

from pathlib import Path

import typer

from erf_tools.cli.options import Output, Overwrite
from erf_tools.cli.outcomes import print_study, raise_failures
from erf_tools.importing import heavy_imports
from erf_tools.text import visible

_DEMO_MODELS = {
    "efficientnet_lite0": "pretrained",
    "replknet31b": "random",
    "replknet3": "random",
    "resnet101": "random",
}
_DEMO_RESOLUTION = 384


def demo(
    output: Output = Path("results/demo"),
    overwrite: Overwrite = False,
) -> None:
    """Measure four networks on built-in photographs: no network, a minute or two on two cores."""
    with heavy_imports():
        from erf_tools.erf.procedure import Procedure
        from erf_tools.images import select
        from erf_tools.models.requests import requests
        from erf_tools.studies import erf as study

    outcome = study.measure_erfs(
        requests(list(_DEMO_MODELS), list(_DEMO_MODELS.values())),
        select("builtin"),
        output,
        Procedure(resolution=_DEMO_RESOLUTION),
        overwrite=overwrite,
        progress=True,
    )
    print_study(outcome, output)
    shown = visible(str(output))
    typer.echo(
        f"""
Look at {shown}/erf_comparison.png: for each network, how much every input pixel contributes
to the central unit of its last feature map, averaged over {outcome.results[0].count} photographs
at {_DEMO_RESOLUTION}x{_DEMO_RESOLUTION}. Bright pixels contribute most; the solid square holds half
of the contribution, the dashed one 99 %.
replknet31b and replknet3 differ only in the size of their kernels (31x31 against 3x3): even
untrained, the large kernels see a far larger part of the image. efficientnet_lite0 is trained;
the other three have random weights, so their maps show architecture, not learning.
A map of each network on its own is in {shown}/<model>/heatmap.png. To look closer, open
{shown}/report.html in a browser: it needs no network."""
    )
    raise_failures(outcome.failures)
