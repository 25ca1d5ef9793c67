"""CSV files that users give: what is read of them, and one sentence where they cannot be read."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from erf_tools.errors import UsageError
from erf_tools.folders import given_path, read_file, why_unreadable
from erf_tools.formulas import as_meant
from erf_tools.text import visible

#: Bytes of a file, and characters of a value: more is no table of images or decisions.
_MOST_BYTES, _MOST_CHARACTERS = 2**26, 1000

#: Digits of an index; longer numbers are no class of any network.
_MOST_DIGITS = 9


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        place: the option, the file and the line, for messages.
        values: by column, without white space around them, and without what kept a spreadsheet
            from taking them for formulas.
    """

    place: str
    values: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]


def read_rows(path: Path, option: str, *columns: Sequence[str]) -> list[Row]:
    """Read a CSV file with a header; in UTF-8, with or without a byte-order mark.

    Args:
        path: the file.
        option: how it was given, for messages.
        columns: which it has to have; of several such lists, one.

    Raises:
        UsageError: it is missing, no text in UTF-8, or too large; it lacks a column, or has two of
            one name; or a row has other values than the header has columns.
    """
    place = f"{option} {path}"
    text = _text(given_path(path, option), place)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        if not header:
            raise UsageError(f"{place} cannot be read as CSV: it is empty")
        absents = [[column for column in own if column not in header] for own in columns]
        if absent := min(absents, key=bool):
            raise UsageError(f"{place} lacks the columns {', '.join(absent)}")
        if twice := [name for name in header if name and header.count(name) > 1]:
            raise UsageError(
                f"{place} has {header.count(twice[0])} columns {visible(twice[0])}; leave one"
            )
        for values in reader:
            if not values:  # an empty line
                continue
            where = f"{place}, line {reader.line_num}"
            if len(values) != len(header):
                raise UsageError(
                    f"{where} has {len(values)} values for {len(header)} columns; the file may be "
                    "cut off"
                )
            if any(len(value) > _MOST_CHARACTERS for value in values):
                raise UsageError(f"{where} has a value of over {_MOST_CHARACTERS} characters")
            meant = (as_meant(value.strip()) for value in values)
            rows.append(Row(where, dict(zip(header, meant, strict=True))))
    except csv.Error as error:
        raise UsageError(f"{place} cannot be read as CSV: {error}") from error
    return rows


def read_index(text: str) -> int | None:
    """Return a number from 0, or ``None`` if it is none."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _text(path: Path, place: str) -> str:
    try:
        data = read_file(path, _MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{place} cannot be read as CSV: {why_unreadable(error)}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # which UTF-16 is full of
        raise UsageError(
            f"{place} cannot be read as CSV: it is no text in UTF-8; save it as CSV in UTF-8"
        )
    return text
