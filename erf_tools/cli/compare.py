"""The command ``erf-tools compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from erf_tools.cli.options import Output
from erf_tools.cli.outcomes import say, say_written


def compare(
    erf: Annotated[Path, typer.Option(metavar="DIR", help="Results of `erf-tools erf`.")],
    shape_bias: Annotated[
        Path, typer.Option(metavar="DIR", help="Results of `erf-tools shape-bias`.")
    ],
    output: Output = Path("results/compare"),
) -> None:
    """Put ERF measures beside shape bias: a table per model, and a scatter plot."""
    from erf_tools.joined import join
    from erf_tools.tables import as_text

    outcome = join(erf, shape_bias, output)
    columns = ["model", "weights", "layer", "effective_side", "shape_bias"]
    columns += ["shape_bias_low", "shape_bias_high", "coverage"]
    typer.echo(as_text(outcome.table[columns].round(4)))
    say()
    for remark in outcome.remarks[:2]:  # what follows is said as warnings, or stands in the tables
        say(remark)
    if outcome.left_out:
        say(f"In one of the two only, or there of other checkpoints: {', '.join(outcome.left_out)}")
    for name in outcome.other_weights:
        say(f"warning: {name} was measured with different weights in the two", err=True)
    say_written(output, outcome.files)
