"""What is printed when a measurement is done: results, warnings, failures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from erf_tools.errors import ErfToolsError

if TYPE_CHECKING:
    from erf_tools.studies.erf import Study


def print_study(outcome: Study, output: Path) -> None:
    """Print a study's table, notes, warnings and files; then raise what failed."""
    from erf_tools.erf import tables

    for name in outcome.reused:
        folder = output / name
        typer.echo(
            f"{name}: measured before with the same images and settings; delete {folder} to "
            "measure it again",
            err=True,
        )
    for result in outcome.results:
        for note in result.setting["model"]["weights"].get("notes", ()):
            typer.echo(f"{result.name}: {note}", err=True)
        if zeros := result.number("zero"):
            typer.echo(
                f"warning: {result.name}: the map of {zeros} of {result.count} images is zero "
                "everywhere (every channel of the unit is off, or their gradients cancel); they "
                "count in the mean",
                err=True,
            )
        if dropped := result.number("nan"):
            typer.echo(
                f"warning: {result.name}: the map of {dropped} images is not finite; left out",
                err=True,
            )
        labelled = any(image.label is not None for image in result.images)
        if labelled and result.top1() != result.top1():
            typer.echo(
                f"warning: {result.name}: its classes are not those of the labels; no top-1",
                err=True,
            )
    typer.echo(tables.compact(outcome.table))
    typer.echo("")
    for note in tables.notes(outcome.table):
        typer.echo(note)
    typer.echo(f"\nWritten to {output}: " + ", ".join(path.name for path in outcome.files))
    raise_failures(outcome.failures)


def raise_failures(failures: Sequence[ErfToolsError]) -> None:
    """Print all failures but the last, and raise that, for :func:`erf_tools.cli.main` to print."""
    if failures:
        *others, last = failures
        for error in others:
            typer.echo(f"erf-tools: {error}", err=True)
        raise last
