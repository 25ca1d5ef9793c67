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
from erf_tools.files import remove, write_json
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

    def record(self, name: str) -> None:
        """Write the provenance, to a name of its own: commands may share the folder."""

        def write(path: Path) -> Path:
            write_json(path, self.provenance)
            return path

        self.add(name, write)

    def page(self, read: Callable[[], Results], reference: bool = True) -> None:
        """Write the page of what was measured; ``read`` may read what was written before it."""
        self.add("report.html", lambda path: write_report(path, read(), self.failures, reference))


def remove_earlier(
    output: Path,
    shown: Mapping[str, Sequence[str]],
    written: Sequence[Path],
    failures: Failures,
) -> None:
    """Remove what an earlier run of a command has written together and this one has not.

    It would lie beside tables of other results. A figure without the provenance of erf-tools in its
    metadata is the user's: it stays, with the tables that would belong to it, as do links.

    Args:
        output: the study's folder.
        shown: stems of figures that the command writes of some results only, each with the names of
            the tables that belong to it.
        written: what this run has written.
        failures: what cannot be removed is added here.
    """
    for stem, tables in shown.items():
        figure = [output / f"{stem}{suffix}" for suffix in (".png", ".pdf")]
        with failures.alone(stem):
            earlier = [path for path in figure if path not in written and _is_ours(path)]
            if earlier:
                earlier += [output / name for name in tables if output / name not in written]
            for path in earlier:
                if path.is_file() and not path.is_symlink():
                    remove(path)


def _is_ours(figure: Path) -> bool:
    """Tell whether a file is a figure of erf-tools, which has its provenance in its metadata."""
    return figure.is_file() and not figure.is_symlink() and b"erf-tools" in figure.read_bytes()


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
