"""Receptive fields that were found before: kept in the cache, and tried before they are used.

They depend on the architecture, not on the weights' values, so one search serves all networks of
one kind, in every command, in each worker of a sweep and in the explorer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from erf_tools.downloads import cache_folder
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.architecture import RELEASED, architecture_sha256
from erf_tools.features.dataflow import Read
from erf_tools.features.taps import Tap
from erf_tools.fields.dependency import fields_hold, receptive_fields
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.files import canonical_json, file_sha256, read_json, write_json
from erf_tools.provenance import versions

#: Folders of our own code that decide what is found.
_CODE = ("features", "fields", "kernels", "models")


def remembered_fields(
    module: nn.Module,
    read: Read,
    size: tuple[int, int],
    fixed_size: bool,
    taps: Sequence[Tap],
    inputs: Sequence[str] = (),
) -> list[ReceptiveField]:
    """Return the receptive fields of maps of a network, from the cache where they are there.

    They are kept under what they can depend on: the architecture, what is read of it, the size, the
    device and the versions and code of all that takes part. A pass on a small image has to agree
    with them; else they are searched for again. Networks with code that is of no released
    library are not remembered.

    Args:
        module: the network.
        read: gives the maps of ``taps``, and behind them ``inputs``.
        size: height and width of the images, in pixels.
        fixed_size: the network takes no other size.
        taps: what is read.
        inputs: names of the modules whose inputs are read.

    Returns:
        One per map; see :func:`~erf_tools.fields.dependency.receptive_fields`.

    Raises:
        ErfToolsError: as there.
    """
    known = _conditions(module, size, fixed_size, taps, inputs)
    if known is None:
        return receptive_fields(module, read, size, fixed_size)
    name = hashlib.sha256(canonical_json(known).encode()).hexdigest()
    file = cache_folder() / "fields" / f"{name}.json"
    kept = _kept(file)
    if kept and fields_hold(kept, module, read, size, fixed_size):
        return kept
    fields = receptive_fields(module, read, size, fixed_size)
    with suppress(ErfToolsError):  # where nothing can be kept, it is searched for each time
        write_json(file, {**known, "fields": [field.record() for field in fields]})
    return fields


def _conditions(
    module: nn.Module,
    size: tuple[int, int],
    fixed_size: bool,
    taps: Sequence[Tap],
    inputs: Sequence[str],
) -> dict[str, Any] | None:
    """Return all that fields can depend on, as JSON values; ``None`` where that is not known."""
    architecture = architecture_sha256(module)
    if architecture is None:
        return None
    return {
        "architecture_sha256": architecture,
        "taps": [asdict(tap) for tap in taps],
        "inputs": list(inputs),
        "resolution": list(size),
        "fixed_size": fixed_size,
        "devices": sorted({weight.device.type for weight in module.parameters()}),
        "versions": versions(RELEASED.values()),
        "code_sha256": _code_sha256(),
    }


@cache
def _code_sha256() -> str:
    """Return a digest of our own code that decides what is found."""
    package = Path(__file__).parents[1]
    files = sorted(file for folder in _CODE for file in (package / folder).rglob("*.py"))
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


def _kept(file: Path) -> list[ReceptiveField]:
    try:
        return [ReceptiveField.from_record(record) for record in read_json(file)["fields"]]
    except (UsageError, KeyError, TypeError, ValueError):  # none yet, or damaged
        return []
