"""What studies write of all their results together, and what they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from erf_tools.errors import ErfToolsError
from erf_tools.failures import Failures
from erf_tools.figures import save_figure
from erf_tools.files import write_json
from erf_tools.report.page import write_report
from erf_tools.report.results import Results
from erf_tools.tables import write_csv, write_tables

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Files:
    """The files that show results together. Each stands alone: what cannot be written is listed.

    Attributes:
        output: the study's folder.
        failures: what cannot be written is added here.
        provenance: of all results, as JSON values.
        written: those that could be written.
    """

    output: Path
    failures: Failures
    provenance: Mapping[str, Any]
    written: list[Path] = field(default_factory=list)

    def add(self, name: str, write: Callable[[Path], Path | Sequence[Path]]) -> None:
        """Write a file, or several of one stem, and list it.

        Args:
            name: of the file, or the stem.
            write: writes it at a path, and says what was written.
        """
        with self.failures.alone(name):
            found = write(self.output / name)
            self.written.extend([found] if isinstance(found, Path) else found)

    def tables(
        self, stem: str, table: pd.DataFrame, shown: pd.DataFrame, remarks: Sequence[str]
    ) -> None:
        """Write what :func:`erf_tools.tables.write_tables` does."""
        self.add(stem, lambda path: write_tables(path, table, shown, remarks))

    def csv(self, stem: str, make: Callable[[], pd.DataFrame]) -> None:
        """Write a table for programs."""
        self.add(f"{stem}.csv", lambda path: write_csv(make(), path))

    def figure(self, stem: str, draw: Callable[[], Figure]) -> None:
        """Write a figure as PNG and PDF."""
        self.add(f"{stem}.png", lambda _: save_figure(draw(), self.output / stem, self.provenance))

    def record(self, name: str = "provenance.json") -> None:
        """Write the provenance."""

        def write(path: Path) -> Path:
            write_json(path, self.provenance)
            return path

        self.add(name, write)

    def page(self, read: Callable[[], Results], reference: bool = True) -> None:
        """Write the page of what was measured; ``read`` may read what was written before it."""
        self.add("report.html", lambda path: write_report(path, read(), self.failures, reference))


@dataclass(frozen=True)
class WrittenTables:
    """What shows results together.

    Attributes:
        table: all values.
        shown: the same as text for people.
        remarks: what a reader has to know.
        files: those of all networks together.
    """

    table: pd.DataFrame
    shown: pd.DataFrame
    remarks: Sequence[str]
    files: Files


@dataclass(frozen=True, kw_only=True)
class TableStudy:
    """What a study gave.

    Attributes:
        table: all values.
        shown: the same as text for people.
        remarks: what a reader has to know.
        reused: networks whose results lay there already, or some of them.
        failures: one per network that could not be measured, and per file that was not written.
        files: what was written for the whole study.
    """

    table: pd.DataFrame
    shown: pd.DataFrame
    remarks: Sequence[str]
    reused: tuple[str, ...]
    failures: tuple[ErfToolsError, ...]
    files: tuple[Path, ...]

    @classmethod
    def of(cls, made: WrittenTables, reused: Sequence[str], **more: Any) -> Self:
        """Return a study of what it has written."""
        return cls(
            table=made.table,
            shown=made.shown,
            remarks=made.remarks,
            reused=tuple(reused),
            failures=tuple(made.files.failures),
            files=tuple(made.files.written),
            **more,
        )
