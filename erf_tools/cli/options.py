"""Options that several commands share, and how what is given to them is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from erf_tools.errors import UsageError

Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "--models",
        metavar="NAME,...",
        help="A name of `erf-tools models`, a timm name, or package.module:factory. "
        "Repeat it, or separate names by commas.",
    ),
]
BatchSize = Annotated[str, typer.Option(metavar="auto|N", help="Images at once.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Fetch nothing; HF_HUB_OFFLINE=1 does the same.")
]
Output = Annotated[Path, typer.Option(help="Folder for the results.")]


def split_names(values: list[str]) -> list[str]:
    """Return the values of a repeatable option, which may hold several separated by commas."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def read_batch_size(text: str) -> int | None:
    """Return the number, or None for ``auto``.

    Raises:
        UsageError: it is neither.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--batch-size is {text!r}; it is auto or a positive number")
    return int(text)
