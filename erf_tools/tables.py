"""Writing tables: everything as CSV, and for people as Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tabulate import tabulate

from erf_tools.errors import UsageError
from erf_tools.failures import reason
from erf_tools.files import write_text
from erf_tools.folders import read_file
from erf_tools.formulas import as_meant, harmless
from erf_tools.statistics import Estimate
from erf_tools.text import unsigned_zero, visible

#: What stands where a value is missing.
NONE = "-"

#: What would be more than text in a Markdown table; `&` and the backslash first.
_MARKDOWN = {
    **{"&": "&amp;", "\\": "\\\\", "<": "&lt;", "|": "\\|", "](": "]\\(", "][": "]\\["},
    **{"`": "\\`", "*": "\\*", "~": "\\~"},
}

#: Where underscores may begin or end emphasis: not within a word.
_EMPHASIS = re.compile(r"(?<!\w)_+|_+(?!\w)")

#: Letters in headings of LaTeX tables; in names they are a part of a word.
_GREEK = {"sigma": r"$\sigma$", "kappa": r"$\kappa$"}


class Subject(NamedTuple):
    """What a number in any table is of; ``layer`` is empty where it is of the whole network."""

    model: str
    weights: str
    layer: str = ""


#: Its columns in tables.
SUBJECT = Subject._fields

#: Columns of every table of differences: ``model`` minus ``other``.
DIFFERENCES = (
    *SUBJECT,
    *("other", "other_weights", "other_layer"),
    *("measure", "difference", "difference_low", "difference_high"),
)


def difference_row(
    subject: Subject, other: Subject, measure: str, found: Estimate
) -> dict[str, Any]:
    """Return a row of a table of differences.

    Args:
        subject: the first one.
        other: the one that is subtracted.
        measure: its name.
        found: the difference.
    """
    values = (*subject, *other, measure, found.value, found.low, found.high)
    return dict(zip(DIFFERENCES, values, strict=True))


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, atomically; missing values are empty.

    A word that a spreadsheet would take for a formula gets an apostrophe before it, which
    :func:`read_csv` takes away again.
    """
    guarded = _with_words(table, harmless)
    text = guarded.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # which Python's csv does not quote unasked
        text = guarded.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    write_text(path, text)
    return path


def read_csv(
    path: Path, words: Collection[str] | None = None, needed: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table that :func:`write_csv` wrote.

    Args:
        path: the file.
        words: columns of words, which all are by default. In others what is empty is missing.
        needed: columns that it has to have.

    Raises:
        UsageError: it is missing, is no such table, or lacks a column.
    """
    try:
        content = read_file(path)
        options: dict[str, Any] = {"keep_default_na": False, "encoding": "utf-8-sig"}
        columns = pd.read_csv(io.BytesIO(content), nrows=0, **options).columns
        numbers = [] if words is None else [each for each in columns if each not in words]
        table = pd.read_csv(
            io.BytesIO(content),
            dtype={column: str for column in columns if column not in numbers},
            na_values={column: [""] for column in numbers},
            **options,
        )
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise UsageError(f"{path} cannot be read as CSV ({reason(error)})") from error
    if absent := [column for column in needed if column not in table.columns]:
        raise UsageError(f"{path} lacks the columns {', '.join(absent)}; measure again")
    return _with_words(table, as_meant)


def _with_words(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Return a table with its words changed."""
    changed = table.copy()
    for column in table.select_dtypes(exclude=["number", "bool"]):
        changed[column] = [
            change(cell) if isinstance(cell, str) else cell for cell in table[column]
        ]
    return changed


def estimate_text(found: Estimate, show: Callable[[float], str]) -> str:
    """Return an estimate as text, ``value [low, high]``; the value alone without an interval.

    Args:
        found: the estimate; :data:`NONE` stands for NaN.
        show: makes text of a number.
    """
    value, low, high = numbers((found.value, found.low, found.high), show)
    return value if NONE in (value, low) else f"{value} [{low}, {high}]"


def numbers(values: Iterable[float], show: Callable[[float], str]) -> list[str]:
    """Return numbers as text; :data:`NONE` for NaN. What is rounded to zero has no sign."""
    return [unsigned_zero(show(value)) if value == value else NONE for value in values]


def marked_low(texts: Iterable[str], low: Iterable[bool]) -> list[str]:
    """Return texts of values, those that are too low to rely on marked as such."""
    return [f"{text} LOW" if is_low else text for text, is_low in zip(texts, low, strict=True)]


def interval_columns(*names: str) -> list[str]:
    """Return the columns of values with intervals; see :class:`~erf_tools.statistics.Estimate`."""
    return [column for name in names for column in Estimate(nan).columns(name)]


def intervals(table: pd.DataFrame, column: str, show: Callable[[float], str]) -> list[str]:
    """Return the intervals of a column as text, ``[low, high]``; :data:`NONE` where there is none.

    Args:
        table: all values.
        column: of which the ends lie in the columns ``column_low`` and ``column_high``.
        show: makes text of a number.
    """
    lows, highs = (numbers(table[f"{column}_{end}"], show) for end in ("low", "high"))
    return [
        f"[{low}, {high}]" if low != NONE else NONE for low, high in zip(lows, highs, strict=True)
    ]


def with_intervals(table: pd.DataFrame, column: str, show: Callable[[float], str]) -> list[str]:
    """Return a column as :func:`estimate_text`; for the arguments see :func:`intervals`."""
    columns = (table[column], table[f"{column}_low"], table[f"{column}_high"])
    return [estimate_text(Estimate(*found), show) for found in zip(*columns, strict=True)]


def as_text(shown: pd.DataFrame) -> str:
    """Return a table as text for a terminal."""
    return _tabulated(_with_words(shown, visible), "simple")


def _tabulated(shown: pd.DataFrame, form: str, **options: Any) -> str:
    return tabulate(
        shown, headers="keys", tablefmt=form, showindex=False, disable_numparse=True, **options
    )


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
    shown, remarks = _with_words(shown, visible), [visible(remark) for remark in remarks]
    body = _tabulated(_with_words(shown, _in_markdown), "pipe", stralign="right")
    below = [f"- {_in_markdown(line)}" for line in remarks]
    write_text(markdown, "\n".join([body, "", *below, ""]))
    columns = "ll" + "r" * (shown.shape[1] - 2)
    body = shown.to_latex(index=False, escape=True, column_format=columns)
    heading, rule, rows = body.partition("\\midrule")  # of a name, its backslash is escaped
    for plain, command in _GREEK.items():
        heading = heading.replace(plain, command)
    body = f"{heading}{rule}{rows}".replace("†", r"$^\dagger$")
    write_text(latex, "\n".join([*(f"% {line}" for line in remarks), body]))
    return [csv, markdown, latex]


def _in_markdown(text: str) -> str:
    """Return text that Markdown shows as it is: nothing in it ends a cell, or is markup."""
    for sign, escaped in _MARKDOWN.items():
        text = text.replace(sign, escaped)
    return _EMPHASIS.sub(lambda found: found[0].replace("_", "\\_"), text)
