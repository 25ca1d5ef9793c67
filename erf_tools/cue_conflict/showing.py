"""How stimuli are shown to a network: presets, and batches of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image

from erf_tools.computing import Computing
from erf_tools.cue_conflict.stimulus_sets import SIDE, Stimulus, StimulusSet
from erf_tools.errors import UsageError
from erf_tools.images import ahead
from erf_tools.models.logits import images_at_once
from erf_tools.models.model import Model
from erf_tools.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    evaluation_view,
    warped,
)
from erf_tools.progress import progress_bar
from erf_tools.text import dimensions


@dataclass(frozen=True)
class Preset:
    """How a stimulus becomes a network's input.

    Attributes:
        name: on the command line.
        description: in words, for provenance.
        view: gives the input's pixels.
        imagenet_statistics: use ImageNet's mean and standard deviation for every network, not its
            own.
    """

    name: str
    description: str
    view: Callable[[Image.Image, Preprocessing], Image.Image]
    imagenet_statistics: bool = False


#: By name.
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "direct",
            "the whole stimulus at the network's size, not resized where that is 224; the "
            "network's own mean and std",
            lambda image, own: warped(image, (own.size, own.size), own.interpolation),
        ),
        Preset(
            "mvh",
            "224x224 as it is, ImageNet mean and std for every network (model-vs-human)",
            lambda image, _preprocessing: image,
            imagenet_statistics=True,
        ),
        Preset("model", "the network's full evaluation transform, crop included", evaluation_view),
    )
}


def shown_settings(model: Model, stimuli: StimulusSet, preset: str) -> dict[str, Any]:
    """Return how a network is shown stimuli, as JSON values.

    Raises:
        UsageError: it is built for another size than that of the preset.
    """
    size = SIDE if preset == "mvh" else model.preprocessing.size
    if model.input_size and tuple(model.input_size) != (size, size):
        raise UsageError(
            f"{model.name} was built for {dimensions(model.input_size)} inputs, and "
            f"the preset {preset} gives it {size}x{size}: load_model(..., resolution={size})"
        )
    return {
        "kind": "network",
        "model": model.record(),
        "preset": preset,
        "preset_description": PRESETS[preset].description,
        "input": [size, size],
        "stimuli": {**stimuli.record(), "label": stimuli.label},
    }


def statistics(preset: str, own: Preprocessing) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation by which a preset normalises, per channel.

    Args:
        preset: name of one of :data:`PRESETS`.
        own: the network's.
    """
    if PRESETS[preset].imagenet_statistics:
        return IMAGENET_MEAN, IMAGENET_STD
    return own.mean, own.std


def shown(
    model: Model,
    stimuli: StimulusSet,
    preset: str,
    computing: Computing,
    device: torch.device,
    progress: bool = False,
) -> Iterator[np.ndarray]:
    """Yield the pixels of all stimuli in their order, batch by batch.

    Args:
        model: the network that they are for.
        stimuli: the stimuli.
        preset: name of one of :data:`PRESETS`.
        computing: how many at once; by default what is fast on the device.
        device: where the network is.
        progress: show a progress bar (in a terminal only).

    Yields:
        uint8 ``[N, height, width, 3]``.
    """

    def pixels(stimulus: Stimulus) -> np.ndarray:
        image = Image.fromarray(stimulus.pixels())
        _check_size(stimulus.name, image, preset)
        return np.asarray(PRESETS[preset].view(image, model.preprocessing))

    batch_size = images_at_once(computing, device)
    views = ahead(pixels, stimuli.stimuli)
    with progress_bar(progress, total=len(stimuli), desc=model.name) as bar:
        while part := list(islice(views, batch_size)):
            yield np.stack(part)
            bar.update(len(part))


def _check_size(name: str, image: Image.Image, preset: str) -> None:
    """See that a preset can show a stimulus of this size, whose shape stays as it is.

    Raises:
        UsageError: it cannot.
    """
    size = dimensions((image.height, image.width))
    if preset == "mvh" and image.size != (SIDE, SIDE):
        raise UsageError(
            f"the stimulus {name} is {size}, and the preset mvh shows {SIDE}x{SIDE} as they are; "
            "--preset direct or model resizes"
        )
    if preset == "direct" and image.width != image.height:
        raise UsageError(
            f"the stimulus {name} is {size}, which the preset direct would distort; --preset model "
            "crops"
        )
