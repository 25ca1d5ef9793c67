"""Which models a command is asked for, and with which weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from erf_tools.addresses import is_address
from erf_tools.errors import UsageError


@dataclass(frozen=True)
class Request:
    """One model of a study: its name and which weights it shall have.

    Attributes:
        model: its name.
        weights: ``pretrained``, ``random``, a file or an address.
        in_series: one of several checkpoints of one model.
    """

    model: str
    weights: str = "pretrained"
    in_series: bool = False

    @property
    def folder(self) -> str:
        """Where its results go, below the study's folder."""
        folder = folder_name(self.model)
        return f"{folder}/{folder_name(Path(self.weights).stem)}" if self.in_series else folder


def requests(models: Sequence[str], weights: Sequence[str]) -> list[Request]:
    """Pair models with weights: one choice for all of them, or one each.

    A choice with ``*``, ``?`` or ``[...]`` is a series: all files it fits, in the order of the
    numbers in their names.

    Raises:
        UsageError: a model is named twice, the numbers do not fit, or there is no such file.
    """
    if not models:
        raise UsageError("--model is missing; `erf-tools models` lists what there is")
    for name in models:
        if models.count(name) > 1:
            raise UsageError(f"--model names {name} twice")
    folders = [folder_name(name) for name in models]
    for name, folder in zip(models, folders, strict=True):
        if folders.count(folder) > 1:
            raise UsageError(f"--model {name}: another model would be written to the same folder")
    if len(weights) == 1 and len(models) > 1 and weights[0] not in ("pretrained", "random"):
        raise UsageError(
            f"--weights {weights[0]}: one file is for one model; give --weights once per model"
        )
    if len(weights) not in (1, len(models)):
        raise UsageError(
            f"--weights is given {len(weights)} times for {len(models)} models; "
            "give it once, or once per model in the same order"
        )
    chosen = list(weights) * len(models) if len(weights) == 1 else weights
    wanted: list[Request] = []
    for name, choice in zip(models, chosen, strict=True):
        if has_magic(choice) and not is_address(choice) and not Path(choice).exists():
            wanted += [Request(name, file, in_series=True) for file in _series(choice)]
        else:
            wanted.append(Request(name, choice))
    return wanted


def _series(pattern: str) -> list[str]:
    files = glob(str(Path(pattern).expanduser()))
    if not files:
        raise UsageError(f"--weights {pattern}: there is no such file")
    stems = [Path(file).stem for file in files]
    if len(set(stems)) < len(stems):
        raise UsageError(f"--weights {pattern}: two of the files have the same name")
    return sorted(files, key=by_numbers)


def by_numbers(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts epoch_9 before epoch_10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def folder_name(model: str) -> str:
    """Return a model's name as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", model)
