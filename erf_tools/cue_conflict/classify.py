"""From a network and stimuli to decisions among the sixteen categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from erf_tools.choices import declared, spelled_out
from erf_tools.cue_conflict.categories import CATEGORIES, IMAGENET_CLASSES
from erf_tools.cue_conflict.choices import Deciding
from erf_tools.cue_conflict.decisions import Decisions, decision_frame
from erf_tools.cue_conflict.makers import DecisionMaker
from erf_tools.cue_conflict.stimuli import SIDE, Stimulus, StimulusSet, open_stimuli
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.images import ahead
from erf_tools.kernels.devices import choose_device, device_name
from erf_tools.models.heads import IMAGENET_HEAD, are_probabilities, probabilities
from erf_tools.models.logits import classifier, fast_batch, undecided
from erf_tools.models.model import Model, as_model
from erf_tools.numbers import LARGEST_BATCH, whole_number
from erf_tools.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    evaluation_view,
    warped,
)
from erf_tools.provenance import versions
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


@spelled_out(declared(Deciding))
def shape_bias(
    model: Model | nn.Module,
    stimuli: str | Path | StimulusSet = "cue-conflict",
    label_map: Mapping[str, Sequence[int]] | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    progress: bool = False,
    deciding: Deciding | None = None,
    **choices: Any,
) -> DecisionMaker:
    """Measure the shape bias of a network.

    Args:
        model: from :func:`erf_tools.load_model`, or any ``nn.Module`` that gives logits.
        stimuli: a folder, ``"cue-conflict"`` for the published set, or a checked set.
        label_map: category -> class indices, for a head that is not ImageNet-1K's.
        batch_size: stimuli at once; by default what is fast on the device.
        device: as in :func:`erf_tools.effective_receptive_field`.
        progress: show a progress bar (in a terminal only).
        deciding: how the network decides.
        choices: of ``deciding`` that are chosen otherwise, as in ``preset="mvh"``.

    Returns:
        Counts and measures, with the decisions themselves in ``decisions``.

    Raises:
        UsageError: the stimuli carry no conflict, or something cannot be done as asked.
        ErfToolsError: the network failed.
    """
    deciding = replace(deciding or Deciding(), **choices)
    found = stimuli if isinstance(stimuli, StimulusSet) else open_stimuli(stimuli)
    if not found.conflict:
        raise UsageError(f"{found.source} holds single-cue stimuli, which have no shape bias")
    made = decide(model, found, deciding, label_map, batch_size, device, progress)
    return DecisionMaker.from_decisions(made)


def decide(
    model: Model | nn.Module,
    stimuli: StimulusSet,
    deciding: Deciding | None = None,
    label_map: Mapping[str, Sequence[int]] | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    progress: bool = False,
    fast: bool = True,
) -> Decisions:
    """Let a network decide on every stimulus; the arguments are those of :func:`shape_bias`.

    With ``fast``, what can be is folded into the weights first; see
    :func:`erf_tools.kernels.folding.folded`.

    Softmax over all classes in float32, then ``aggregation`` over each category's classes; the
    largest wins, and of equal ones the first in the alphabet. A head that gives probabilities
    already, as the provenance then says, is taken at its word.
    """
    if not isinstance(model, Model):
        model = as_model(model)
    deciding = deciding or Deciding()
    setting = settings(model, stimuli, deciding, label_map)
    chosen, preprocessing, name = PRESETS[deciding.preset], model.preprocessing, model.name
    mean, std = (
        (IMAGENET_MEAN, IMAGENET_STD)
        if chosen.imagenet_statistics
        else (preprocessing.mean, preprocessing.std)
    )
    target = choose_device(device, model.module)
    given: list[Tensor] = []
    bar = tqdm(total=len(stimuli), desc=name, unit="image", disable=None if progress else True)

    def pixels(stimulus: Stimulus) -> np.ndarray:
        return np.asarray(chosen.view(Image.fromarray(stimulus.pixels()), preprocessing))

    if batch_size is None:
        batch_size = fast_batch(target)
    batch_size = whole_number(batch_size, "--batch-size", 1, LARGEST_BATCH)
    views = ahead(pixels, stimuli.stimuli)
    with bar, classifier(model, target, mean, std, deciding.output_key, fast) as classify:
        while part := list(islice(views, batch_size)):
            logits = classify(np.stack(part))
            check_classes(name, logits.shape[1], label_map)
            _check_finite(name, logits, stimuli.stimuli[sum(map(len, given)) :])
            given.append(logits)
            bar.update(len(part))
    outputs = torch.cat(given)
    scores = category_scores(outputs, deciding.aggregation, label_map or IMAGENET_CLASSES)
    answers = [CATEGORIES[index] for index in scores.argmax(dim=1).tolist()]
    frame = decision_frame(
        [stimulus.name for stimulus in stimuli.stimuli],
        [stimulus.shape for stimulus in stimuli.stimuli],
        [stimulus.texture for stimulus in stimuli.stimuli],
        answers,
    )
    provenance = {
        **setting,
        "head": "probabilities" if are_probabilities(outputs) else "logits",
        "device": device_name(target),
        "tf32": False,
        "versions": versions(),
    }
    return Decisions(model.name, frame, provenance)


def settings(
    model: Model,
    stimuli: StimulusSet,
    deciding: Deciding,
    label_map: Mapping[str, Sequence[int]] | None,
) -> dict[str, Any]:
    """Return all that determines the decisions, as JSON values.

    Raises:
        UsageError: a network without a head, or one that cannot be shown 224x224.
    """
    if not model.weights.head:
        raise UsageError(
            f"{model.name} has no classifier, because {model.weights.source} holds none that fits; "
            "shape bias needs a head: give weights with theirs"
        )
    preset = deciding.preset
    size = SIDE if preset == "mvh" else model.preprocessing.size
    if model.input_size and tuple(model.input_size) != (size, size):
        raise UsageError(
            f"{model.name} was built for {dimensions(model.input_size)} inputs, and "
            f"the preset {preset} gives it {size}x{size}: load_model(..., resolution={size})"
        )
    return {
        "kind": "network",
        "model": model.record(),
        **asdict(deciding),
        "preset_description": PRESETS[preset].description,
        "input": [size, size],
        "ties": "first in the alphabet",
        "label_map": {key: list(value) for key, value in label_map.items()} if label_map else None,
        "stimuli": {**stimuli.record(), "label": stimuli.label},
    }


def category_scores(
    logits: Tensor, aggregation: str, classes: Mapping[str, Sequence[int]]
) -> Tensor:
    """Return ``[N, 16]`` scores, in the order of the categories, of a head's ``[N, classes]``."""
    shares = probabilities(logits)
    columns = []
    for category in CATEGORIES:
        own = shares[:, list(classes[category])]
        if aggregation == "max":
            columns.append(own.amax(dim=1))
        else:
            columns.append(own.mean(dim=1) if aggregation == "mean" else own.sum(dim=1))
    return torch.stack(columns, dim=1)


def check_classes(name: str, classes: int, label_map: Mapping[str, Sequence[int]] | None) -> None:
    """See that a head's classes are those of the categories.

    Args:
        name: of the network.
        classes: how many its head has.
        label_map: category -> class indices; ``None`` for ImageNet-1K's.

    Raises:
        UsageError: they are not.
    """
    if label_map is None and classes != IMAGENET_HEAD:
        raise UsageError(
            f"{name} has {classes} classes, which are not ImageNet-1K's: say with "
            "--label-map FILE which of them belong to which category"
        )
    largest = max(max(indices) for indices in (label_map or IMAGENET_CLASSES).values())
    if largest >= classes:
        raise UsageError(f"--label-map names class {largest}, but {name} has {classes}")


def _check_finite(name: str, logits: Tensor, stimuli: Sequence[Stimulus]) -> None:
    """Refuse logits that decide nothing: NaN, infinite, or all of them minus infinity."""
    bad = undecided(logits)
    if bad is not None:
        raise ErfToolsError(
            f"{name} gives logits that are not finite for the stimulus "
            f"{stimuli[bad].name}: it decides nothing; check its weights"
        )
