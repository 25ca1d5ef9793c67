"""What a file of weights holds, in words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from erf_tools.models.checkpoints import Checkpoint, StoredState
from erf_tools.models.looks import Look, look_of
from erf_tools.models.prefixes import is_factory
from erf_tools.models.shards import read_index

#: How classifiers are called, wherever they lie.
_HEAD = re.compile(r"(?:.*?\.)?((?:fc|heads?|classifier|last_linear)(?:\.[\w.]+)?)\.weight")


@dataclass(frozen=True)
class PartDescription:
    """A state dict in a file, in words.

    Attributes:
        name: under which it lies; empty for the file's own.
        wrappers: what wrappers of torch had put into its names.
        keys: how many it has.
        values: how many numbers its tensors hold.
        kinds: of its floating-point numbers.
        head: classes and name of what looks like its classifier; empty if nothing does.
        look: which network it looks like.
    """

    name: str
    wrappers: tuple[str, ...]
    keys: int
    values: int
    kinds: tuple[str, ...]
    head: str
    look: Look | None


def describe_parts(found: Checkpoint) -> list[PartDescription]:
    """Return the state dicts of a file, the preferred first; not the states of an optimiser."""
    networks = [part for part in found.parts if any("." in key for key in part.state)]
    return [_described(part) for part in networks or found.parts]


def files_of(found: Checkpoint) -> list[Path]:
    """Return the file of a checkpoint, or the index and the files of several."""
    index = read_index(found.path)
    return [found.path, *index.files] if index else [found.path]


def next_command(found: Checkpoint, parts: Sequence[PartDescription]) -> str:
    """Return a command that goes on with a file, to be typed as it is or with a name filled in."""
    look = next((part.look for part in parts if part.look), None)
    member = look.member if look else ""
    if look and (not member or is_factory(member)):  # of a library that is not known here
        return f"erf-tools models --search {shlex.quote(look.family.name.split(' or ')[0])}"
    name = member or "FILE.py:FUNCTION"
    return f"erf-tools erf --model {name} --weights {shlex.quote(str(found.path))}"


def _described(part: StoredState) -> PartDescription:
    tensors = [value for value in part.state.values() if isinstance(value, Tensor)]
    kinds = {str(v.dtype).removeprefix("torch."): None for v in tensors if v.is_floating_point()}
    return PartDescription(
        part.name,
        part.wrappers,
        len(part.state),
        sum(value.numel() for value in tensors),
        tuple(kinds),
        _head(part),
        look_of(part.state),
    )


def _head(part: StoredState) -> str:
    for key in reversed(part.state):
        value, named = part.state[key], _HEAD.fullmatch(key)
        if named and isinstance(value, Tensor) and value.ndim > 1:
            return f"{value.shape[0]} ({named[1]})"
    return ""
