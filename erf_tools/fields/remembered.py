"""Receptive fields that were found before: tried by a pass on a small image before they are used.

They depend on the architecture, not on the weights' values, so one search serves all networks of
one kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from erf_tools.features.architecture import architecture_sha256
from erf_tools.features.dataflow import Read
from erf_tools.features.findings import Finding
from erf_tools.features.taps import Tap
from erf_tools.fields.dependency import fields_hold, receptive_fields
from erf_tools.fields.receptive_field import ReceptiveField


def remembered_fields(
    module: nn.Module,
    read: Read,
    size: tuple[int, int],
    fixed_size: bool,
    taps: Sequence[Tap],
    inputs: Sequence[str] = (),
) -> list[ReceptiveField]:
    """Return the receptive fields of maps of a network, from the cache where they are there.

    A pass on a small image has to agree with them; else they are searched for again. Networks with
    code that is of no released library are not remembered.

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
    architecture = architecture_sha256(module)
    finding = Finding(
        "fields", architecture, taps, size, fixed_size=fixed_size, inputs=list(inputs)
    )
    kept = _fields(finding.known)
    if kept and fields_hold(kept, module, read, size, fixed_size):
        return kept
    fields = receptive_fields(module, read, size, fixed_size)
    finding.keep(fields=[field.record() for field in fields])
    return fields


def _fields(known: Mapping[str, Any]) -> list[ReceptiveField]:
    try:
        return [ReceptiveField.from_record(record) for record in known["fields"]]
    except (KeyError, TypeError, ValueError):  # none yet, or damaged
        return []
