"""The command ``erf-tools compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from erf_tools.cli.options import Output


def compare(
    erf: Annotated[Path, typer.Option(metavar="DIR", help="Results of `erf-tools erf`.")],
    shape_bias: Annotated[
        Path, typer.Option(metavar="DIR", help="Results of `erf-tools shape-bias`.")
    ],
    output: Output = Path("results/compare"),
) -> None:
    """Put ERF measures beside shape bias: a table per model, and a scatter plot."""
    from erf_tools.compare import compare as join
    from erf_tools.cue_conflict.tables import as_text

    outcome = join(erf, shape_bias, output)
    columns = ["model", "weights", "effective_side", "shape_bias", "ci_low", "ci_high", "coverage"]
    typer.echo(as_text(outcome.table[columns].round(4)))
    if outcome.left_out:
        typer.echo(f"\nIn one of the two only: {', '.join(outcome.left_out)}")
    for name in outcome.other_weights:
        typer.echo(f"warning: {name} was measured with different weights in the two", err=True)
    typer.echo(f"\nWritten to {output}: " + ", ".join(path.name for path in outcome.files))
