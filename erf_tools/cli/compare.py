"""The command ``erf-tools compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from erf_tools.cli.options import Output
from erf_tools.cli.outcomes import print_table, say, say_written

_SHOWN = (
    *("model", "weights", "layer", "effective_side"),
    *("weights_shape_bias", "shape_bias", "shape_bias_low", "shape_bias_high", "coverage"),
    *("weights_reliance", "accuracy", "global_shape", "local_shape", "texture", "color"),
)


def compare(
    erf: Annotated[Path, typer.Option(metavar="DIR", help="Results of `erf-tools erf`.")],
    shape_bias: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Results of `erf-tools shape-bias`.")
    ] = None,
    reliance: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Results of `erf-tools reliance` of labelled images."),
    ] = None,
    output: Output = Path("results/compare"),
) -> None:
    """Put ERF measures beside shape bias, reliance or both: a table, and scatter plots.

    Example: erf-tools compare --erf results/erf --reliance results/reliance
    """
    from erf_tools.joined import join

    outcome = join(erf, shape_bias, output, reliance)
    columns = [name for name in _SHOWN if name in outcome.table]
    print_table(outcome.table[columns].round(4).replace(-0.0, 0.0))
    say()
    for remark in outcome.remarks:
        if not remark.endswith("different weights."):  # said as warnings
            say(remark)
    if outcome.left_out:
        say(f"Not in all of them, or there of other checkpoints: {', '.join(outcome.left_out)}")
    for name in outcome.other_weights:
        say(f"warning: {name} was measured with different weights", err=True)
    say_written(output, outcome.files)
