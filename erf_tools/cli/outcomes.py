"""What is printed: lines, tables, and what a measurement gave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from erf_tools.errors import ErfToolsError
from erf_tools.failures import FailuresError
from erf_tools.text import visible

if TYPE_CHECKING:
    import pandas as pd

    from erf_tools.studies.erf import Study
    from erf_tools.studies.written import TableStudy


def say(line: str = "", err: bool = False) -> None:
    """Print one line; names in it can neither end it nor act on the terminal."""
    typer.echo(visible(line), err=err)


def say_written(output: Path, files: Iterable[Path]) -> None:
    """Say which files were written, below which folder."""
    say()
    names = ", ".join(path.relative_to(output).as_posix() for path in files)
    say(f"Written to {output}: {names}")


def print_table(
    rows: pd.DataFrame | Iterable[Sequence[object]], headers: Sequence[str] | None = None
) -> None:
    """Print a table; rows that are none yet get headers."""
    import pandas as pd

    from erf_tools.tables import as_text

    typer.echo(as_text(pd.DataFrame(rows, columns=headers)))


def print_study(outcome: Study, output: Path) -> None:
    """Print a study's table, notes, warnings and files."""
    from erf_tools.erf import shown_tables

    for name in outcome.reused:
        say(f"{name}: measured before with the same images and settings", err=True)
    for result in outcome.results:
        for note in result.setting["model"]["weights"].get("notes", ()):
            typer.echo(f"{result.network_label}: {note}", err=True)
        if zeros := result.number("zero"):
            say(
                f"warning: {result.label}: the map of {zeros} of {result.count} images is zero "
                "everywhere (every channel of the unit is off, or their gradients cancel); they "
                "count in the mean",
                err=True,
            )
        if dropped := result.number("nan"):
            say(
                f"warning: {result.label}: the map of {dropped} images is not finite; left out",
                err=True,
            )
        labelled = any(image.label is not None for image in result.images)
        if labelled and result.trained and result.top1() != result.top1():
            typer.echo(
                f"warning: {result.network_label}: its classes are not those of the labels; no "
                "top-1",
                err=True,
            )
    typer.echo(shown_tables.compact(outcome.table))
    say()
    for note in shown_tables.notes(outcome.table):
        say(note)
    if outcome.checks:
        from erf_tools.perturbation import tables as checks

        say()
        typer.echo(checks.compact(checks.perturbation_table(outcome.checks)))
        say()
        for note in checks.notes(outcome.checks):
            say(note)
    say_written(output, outcome.files)


def print_outcome(
    outcome: TableStudy,
    output: Path,
    reused: str = "measured before with the same images and settings",
    below: str = "",
) -> None:
    """Print a study's table, remarks and files, and raise what failed.

    Args:
        outcome: of the study.
        output: its folder.
        reused: what is said of networks whose results lay there already.
        below: what stands below the table.
    """
    for name in outcome.reused:
        say(f"{name}: {reused}", err=True)
    print_table(outcome.shown)
    say()
    if below:
        typer.echo(f"{below}\n")
    for remark in outcome.remarks:
        say(remark)
    say_written(output, outcome.files)
    raise_failures(outcome.failures)


def raise_failures(failures: Iterable[ErfToolsError], asked: int = 0) -> None:
    """Raise what failed, for :func:`erf_tools.cli.main` to print.

    Args:
        failures: what failed.
        asked: how many things were to be done, where that is known.
    """
    if listed := list(failures):
        raise FailuresError(listed, all_of_it=len(listed) == asked)
