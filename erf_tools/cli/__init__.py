"""The command line: parse, make one library call, print.

Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from erf_tools.allocation import keep_freed_memory
from erf_tools.cli import (
    attention,
    audit,
    compare,
    dead_pixels,
    demo,
    erf,
    listing,
    measure,
    pages,
    reliance,
    shape_bias,
    sweep,
    weights,
)
from erf_tools.cli.outcomes import say
from erf_tools.cores import share_cores
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import FailuresError, reason
from erf_tools.text import visible


class _Commands(TyperGroup):
    """The commands; Ctrl+C ends each of them with a sentence and the exit code of shells."""

    def invoke(self, ctx: Any) -> Any:
        # Not in main: Typer would have exited by then, silently or otherwise.
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say(
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
    pretty_exceptions_enable=False,
)


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Declare what :func:`main` takes from anywhere on the command line."""


# In the order of the help.
app.command()(erf.erf)
app.command()(audit.audit)
app.command()(measure.measure)
app.command()(attention.attention)
app.command("dead-pixels")(dead_pixels.dead_pixels)
app.command("shape-bias")(shape_bias.shape_bias)
app.command()(reliance.reliance)
app.command()(compare.compare)
app.command()(sweep.sweep)
app.command()(pages.report)
app.command()(demo.demo)
app.command("app")(pages.explore)
app.command()(listing.models)
app.command()(listing.layers)
app.command()(listing.inspect)
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Run the command line; turn errors into one sentence each and an exit code."""
    share_cores()
    keep_freed_memory()
    os.environ["MPLBACKEND"] = "agg"  # nothing is shown in a window, whatever the user's choice
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        _check_empty(arguments)
        app(args=arguments)
    except ErfToolsError as error:
        _end(error, debug)
    except Exception as error:
        sentence = f"unforeseen: {reason(error)}; --debug shows where"
        if isinstance(error, OSError) and error.filename is None:  # of a stream that is open
            sentence = f"cannot print ({error.strerror}); what was written to files is kept"
            with suppress(OSError):  # or Python would try once more at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end(ErfToolsError(sentence), debug)


def _check_empty(arguments: Sequence[str]) -> None:
    """Refuse empty values, which would be taken for the current folder.

    Raises:
        UsageError: one is empty.
    """
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, sign, value = argument.partition("=")
        named = option.startswith("--") and sign
        if not (value if named else argument).strip():
            name = option if named else before if before.startswith("-") else "an argument"
            raise UsageError(f"{name} is empty; give it a value, or leave it out")


def _end(error: ErfToolsError, debug: bool) -> NoReturn:
    """Print what failed and exit."""
    with suppress(OSError):  # nobody can be told
        for each in error.failures if isinstance(error, FailuresError) else [error]:
            if debug:
                lines = "".join(traceback.format_exception(each)).splitlines()
                typer.echo("\n".join(map(visible, lines)), err=True)
            say(f"erf-tools: {each}", err=True)
    sys.exit(error.exit_code)
