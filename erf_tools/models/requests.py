"""Which models a command is asked for, and with which weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from erf_tools.errors import UsageError


@dataclass(frozen=True)
class Request:
    """One model of a study: its name and which weights it shall have."""

    model: str
    weights: str = "pretrained"


def requests(models: Sequence[str], weights: Sequence[str]) -> list[Request]:
    """Pair models with weights: one choice for all of them, or one each.

    Raises:
        UsageError: a model is named twice, or the numbers do not fit.
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
    return [Request(name, choice) for name, choice in zip(models, chosen, strict=True)]


def folder_name(model: str) -> str:
    """Return a model's name as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", model)
