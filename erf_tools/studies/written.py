"""What a study writes of all its results together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass
class WrittenTables:
    """What shows results together.

    Attributes:
        table: all values.
        shown: the same as text for people.
        remarks: what a reader has to know.
        files: those that could be written.
    """

    table: pd.DataFrame
    shown: pd.DataFrame
    remarks: tuple[str, ...]
    files: list[Path]
