"""The command line: parse, make one library call, print.

Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import signal
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from erf_tools.cli import compare, demo, erf, listing, pages, shape_bias, sweep, weights
from erf_tools.errors import ErfToolsError


class _Commands(TyperGroup):
    """The commands; Ctrl+C ends each of them with a sentence and the exit code of shells."""

    def invoke(self, ctx: Any) -> Any:
        # Not in main: Typer would have exited by then, silently or otherwise.
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo(
                "erf-tools: interrupted; what was finished is kept, and the same command again "
                "does the rest",
                err=True,
            )
            raise typer.Exit(128 + signal.SIGINT) from None


app = typer.Typer(
    name="erf-tools",
    help="What a vision network looks at: effective receptive fields and shape bias.",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Declare what :func:`main` takes from anywhere on the command line."""


# In the order of the help.
app.command()(erf.erf)
app.command("shape-bias")(shape_bias.shape_bias)
app.command()(compare.compare)
app.command()(sweep.sweep)
app.command()(pages.report)
app.command()(demo.demo)
app.command("app")(pages.explore)
app.command()(listing.models)
app.command()(listing.layers)
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Run the command line; turn errors into one sentence and an exit code."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except ErfToolsError as error:
        if len(arguments) < len(sys.argv) - 1:
            traceback.print_exc()
        typer.echo(f"erf-tools: {error}", err=True)
        sys.exit(error.exit_code)
