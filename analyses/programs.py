"""What the analyses share as programs: options, kept parts of long runs, written results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from matplotlib.figure import Figure

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.figures import save_figure
from erf_tools.files import canonical_json, write_json
from erf_tools.provenance import versions
from erf_tools.tables import as_text, write_tables

Quick = Annotated[
    bool, typer.Option("--quick", help="A smaller form, within three minutes on two cores.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Output = Annotated[Path, typer.Option(help="Folder for table, figure and provenance.")]


def run(main: Callable[..., None]) -> None:
    """Run an analysis as a command: errors are one sentence, 2 for misuse and 1 for failure."""
    try:
        typer.run(main)
    except ErfToolsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def kept(
    path: Path, setting: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a part of a long run: what an earlier run left at ``path``, else computed and kept.

    Args:
        path: a JSON file.
        setting: all that the part depends on, as JSON values; versions are added. A file of another
            setting is computed anew.
        compute: gives the part, as JSON values.
    """
    expected = {**setting, "versions": versions()}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if canonical_json(stored["setting"]) == canonical_json(expected):
            return dict(stored["result"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or damaged
    result = dict(compute())
    write_json(path, {"setting": expected, "result": result})
    return result


def publish(
    output: Path,
    name: str,
    table: pd.DataFrame,
    shown: pd.DataFrame,
    remarks: Sequence[str],
    figure: Figure,
    setting: Mapping[str, Any],
) -> None:
    """Write an analysis' results, and print the table, the remarks and where they lie.

    Args:
        output: the folder.
        name: of the analysis, and so of its files.
        table: all values, in full precision: ``name.csv``.
        shown: the same for people: ``name.md`` and ``name.tex``.
        remarks: what a reader has to know, and what was found.
        figure: ``name.png`` and ``name.pdf``.
        setting: what was computed, as JSON values: ``name.json``, and in the figure's metadata.
    """
    provenance = {"analysis": name, "setting": dict(setting), "versions": versions()}
    write_tables(output / name, table, shown, remarks)
    save_figure(figure, output / name, provenance)
    write_json(output / f"{name}.json", {**provenance, "remarks": list(remarks)})
    typer.echo(as_text(shown))
    typer.echo("")
    for remark in remarks:
        typer.echo(f"- {remark}")
    typer.echo(f"\nWritten to {output}: " + ", ".join(f"{name}.{s}" for s in _SUFFIXES))


_SUFFIXES = ("csv", "md", "tex", "png", "pdf", "json")
