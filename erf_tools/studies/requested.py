"""From what a study is asked for to networks, layers, and what their results have to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erf_tools.erf.procedure import DEFAULT_RESOLUTION, Procedure
from erf_tools.features.taps import Tap, find_taps, stage_taps
from erf_tools.models.loading import load_model
from erf_tools.models.model import Model
from erf_tools.models.requests import Layers, Request


def load_requested(request: Request, procedure: Procedure, seed: int) -> Model:
    """Load a network for the resolution it is to be measured at.

    Raises:
        ErfToolsError: see :func:`erf_tools.load_model`.
    """
    resolution = procedure.resolution
    if resolution is None and procedure.protocol.transform != "model":
        resolution = DEFAULT_RESOLUTION
    return load_model(request.model, request.weights, seed, resolution, request.channels)


def find_layers(model: Model, layers: Layers) -> list[Tap]:
    """Return the taps of the layers that are asked for.

    Raises:
        UsageError: the network has no such layers.
    """
    if layers.stages:
        return stage_taps(model.module)
    if layers.layers:
        return find_taps(model.module, layers.layers, layers.output_key)
    return [model.tap]


def requested_layers(
    request: Request, procedure: Procedure, layers: Layers, seed: int, output: Path
) -> tuple[Model, dict[Path, Tap]]:
    """Return a network, and its layers by the folders where their results go, below ``output``.

    Raises:
        ErfToolsError: see :func:`load_requested` and :func:`find_layers`.
        UsageError: two layers would share a folder.
    """
    model = load_requested(request, procedure, seed)
    taps = find_layers(model, layers)
    folders = layers.folders(output / request.folder, [tap.name for tap in taps])
    return model, dict(zip(folders, taps, strict=True))


def expected_setting(model: Model, tap: Tap, procedure: Procedure) -> dict[str, Any]:
    """Return what the setting of a result has to say if measuring would give it again."""
    return {
        **procedure.record(),
        "model": model.record(),
        "tap": {**tap.record(), "default": tap == model.default_tap},
        "resolution": list(procedure.size(model.preprocessing)),
    }
