"""What the layers of a network hold of shape and texture, from one pass over the stimuli."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from erf_tools.computing import Computing
from erf_tools.cue_conflict.choices import Deciding, HeadFree
from erf_tools.cue_conflict.representation import LayerCues, Layered, Sharing, representation
from erf_tools.cue_conflict.showing import shown, shown_settings, statistics
from erf_tools.cue_conflict.stimulus_sets import StimulusSet
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.depths import depths
from erf_tools.features.inputs import floating_type
from erf_tools.features.places import places
from erf_tools.features.proof import proven
from erf_tools.features.reading import read_maps
from erf_tools.features.taps import Tap, find_taps, has_stages, stage_taps
from erf_tools.kernels.devices import (
    choose_device,
    copy_on_device,
    device_name,
    normalise,
)
from erf_tools.kernels.folding import folded
from erf_tools.models.failures import explained
from erf_tools.models.logits import images_at_once
from erf_tools.models.model import Model, as_model
from erf_tools.models.together import Together
from erf_tools.provenance import versions


def head_free(
    model: Model | nn.Module,
    stimuli: StimulusSet,
    chosen: HeadFree | None = None,
    deciding: Deciding | None = None,
    computing: Computing | None = None,
    progress: bool = False,
) -> Layered:
    """Measure how much of shape and of texture the layers of a network hold.

    Features are the maps' means over all places (``[N, channels]``), of the stimuli whose cues
    conflict. Images that see each other are shown one by one, which the provenance says.

    Args:
        model: from :func:`erf_tools.load_model`, or any ``nn.Module`` with maps.
        stimuli: a checked set.
        chosen: which layers, and which similarity.
        deciding: the preset by which stimuli are shown, and which part of a layer's output.
        computing: how; unless exactly, what can be is folded into the weights first.
        progress: see :func:`erf_tools.shape_bias`.

    Raises:
        UsageError: the stimuli carry no conflict, or there is no such layer.
        ErfToolsError: the network failed, or its features are not finite.
    """
    if not isinstance(model, Model):
        model = as_model(model)
    computing = computing or Computing()
    chosen, deciding = chosen or HeadFree(head_free=True), deciding or Deciding()
    if not stimuli.conflict:
        raise UsageError(f"{stimuli.source} holds single-cue stimuli; triplets need both cues")
    setting = layer_settings(model, stimuli, chosen, deciding)
    conflict = replace(stimuli, stimuli=stimuli.of_conflict())
    taps = chosen_taps(model, chosen, deciding)
    size, fixed_size = (setting["input"][0], setting["input"][1]), model.input_size is not None
    where = places(model.module, taps, size, fixed_size)
    order = depths(setting["layers"], where) or range(len(taps))
    target = choose_device(computing.device, model.module)
    given: list[list[Tensor]] = []
    with (
        explained(model.name, model.module, size),
        copy_on_device(model.module, target) as network,
    ):
        taps = proven(network, taps, size, fixed_size)

        def read(net: nn.Module, images: Tensor) -> list[Tensor]:
            return read_maps(net, taps, images)

        if not fixed_size and not computing.exact:
            network, _ = folded(network, read, size, {tap.path for tap in taps})
        dtype = floating_type(network)
        mean, std = statistics(deciding.preset, model.preprocessing)

        @torch.inference_mode()
        def features(pixels: np.ndarray) -> list[Tensor]:
            maps = read(network, normalise(pixels, mean, std, target, dtype))
            return [each.mean(dim=(2, 3)).cpu() for each in maps]

        together = Together(network, features)
        for pixels in shown(model, conflict, deciding.preset, computing, target, progress):
            given.append([each.double() for each in together(pixels)])
    frame = pd.DataFrame(
        {
            "shape": [each.shape for each in conflict.stimuli],
            "texture": [each.texture for each in conflict.stimuli],
        },
        index=pd.Index([each.name for each in conflict.stimuli], name="stimulus"),
    )
    sharing = Sharing.among(frame)
    layers = []
    for tap, parts in zip(taps, zip(*given, strict=True), strict=True):
        pooled = torch.cat(parts).numpy()
        if not np.isfinite(pooled).all():
            raise ErfToolsError(
                f"{model.name} has features that are not finite at {tap.name}; check its weights"
            )
        found = representation(pooled, sharing, chosen.similarity)
        layers.append(LayerCues(tap.name, pooled.shape[1], found))
    layers = [layers[index] for index in sorted(range(len(taps)), key=order.__getitem__)]
    provenance = {
        **setting,
        "places": where,  # of its layers, as they were asked for
        "batch": 1 if together.refused else images_at_once(computing, target),
        "refused": together.refused,
        "device": device_name(target),
        "tf32": False,
        "versions": versions(),
    }
    return Layered(model.name, tuple(layers), provenance)


def chosen_taps(model: Model, chosen: HeadFree, deciding: Deciding) -> Sequence[Tap]:
    """Return the layers that are measured.

    Raises:
        UsageError: there is no such layer.
    """
    if chosen.layers:
        return find_taps(model.module, chosen.layers, deciding.output_key)
    return stage_taps(model.module) if has_stages(model.module) else [model.tap]


def layer_settings(
    model: Model, stimuli: StimulusSet, chosen: HeadFree, deciding: Deciding
) -> dict[str, Any]:
    """Return all that determines what is measured, as JSON values.

    Raises:
        UsageError: the network is built for another size, or there is no such layer.
    """
    return {
        **shown_settings(model, stimuli, deciding.preset),
        "kind": "head-free",
        "layers": [
            {**tap.record(), "default": tap == model.default_tap}
            for tap in chosen_taps(model, chosen, deciding)
        ],
        "similarity": chosen.similarity,
        "features": "means of the map over all places",
    }
