"""Writing tables: everything as CSV, and for people as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from erf_tools.files import write_text

#: What stands where a value is missing.
NONE = "-"

_LATEX = {"sigma": r"$\sigma$", "†": r"$^\dagger$", "kappa": r"$\kappa$"}


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, atomically; missing values are empty."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    return path


def write_tables(
    stem: Path, table: pd.DataFrame, shown: pd.DataFrame, remarks: Sequence[str]
) -> list[Path]:
    """Write ``stem.csv`` with ``table``, and ``stem.md`` and ``stem.tex`` with ``shown``.

    Args:
        stem: path without suffix.
        table: all values, in full precision.
        shown: the same for people: text, its first two columns names.
        remarks: what a reader has to know; below the Markdown table, comments in LaTeX.
    """
    csv, markdown, latex = (
        stem.with_name(stem.name + suffix) for suffix in (".csv", ".md", ".tex")
    )
    write_csv(table, csv)
    body = shown.to_markdown(index=False, disable_numparse=True, stralign="right")
    write_text(markdown, "\n".join([body, "", *(f"- {line}" for line in remarks), ""]))
    columns = "ll" + "r" * (shown.shape[1] - 2)
    body = shown.to_latex(index=False, escape=True, column_format=columns)
    for plain, command in _LATEX.items():
        body = body.replace(plain, command)
    write_text(latex, "\n".join([*(f"% {line}" for line in remarks), body]))
    return [csv, markdown, latex]
