"""Which network a state dict looks like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from erf_tools.models.families import FAMILIES, NamedFamily


@dataclass(frozen=True)
class Look:
    """What a state dict looks like.

    Attributes:
        family: of networks.
        member: of the family, as it is typed; empty where it is none that is known.
    """

    family: NamedFamily
    member: str = ""

    @property
    def words(self) -> str:
        """The look in words."""
        named = f": {self.member}" if self.member else ""
        return f"{self.family.name} in the names of {self.family.library}{named}"


def look_of(state: Mapping[str, Any]) -> Look | None:
    """Return which network a state dict looks like; ``None`` where it is like none that is known.

    Args:
        state: tensors by name.
    """
    names = "\n".join(state)
    for family in FAMILIES:
        if all(_found(pattern, names) for pattern in family.patterns):
            return Look(family, family.members.get(_signature(family, state, names), ""))
    return None


def _found(pattern: str, names: str) -> re.Match[str] | None:
    return re.search(rf"^(?:.*\.)?(?:{pattern})$", names, re.MULTILINE)


def _signature(family: NamedFamily, state: Mapping[str, Any], names: str) -> tuple[int, ...]:
    """Return the numbers of blocks of a state dict, by stage, and the lengths that tell members."""
    lengths = []
    for pattern, axis in family.sizes:
        found = _found(pattern, names)
        shape = getattr(state.get(found[0]), "shape", ()) if found else ()
        lengths.append(shape[axis] if axis < len(shape) else 0)
    return (*_blocks(family, names), *lengths)


def _blocks(family: NamedFamily, names: str) -> list[int]:
    if not family.blocks:
        return []
    found = re.findall(rf"^(?:.*\.)?{family.blocks}$", names, re.MULTILINE)
    stages: dict[str, int] = {}
    for groups in found:
        stage = groups[0] if isinstance(groups, tuple) else ""
        stages[stage] = stages.get(stage, 0) + 1
    return [stages[stage] for stage in sorted(stages)]
