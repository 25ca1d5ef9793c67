"""From a network and stimuli to decisions among the sixteen categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from erf_tools.choices import declared, popped, spelled_out
from erf_tools.computing import COMPUTING, Computing
from erf_tools.cue_conflict.categories import IMAGENET_CLASSES, Categories
from erf_tools.cue_conflict.choices import Deciding
from erf_tools.cue_conflict.decisions import Decisions, decision_frame
from erf_tools.cue_conflict.label_maps import checked_label_map
from erf_tools.cue_conflict.makers import DecisionMaker
from erf_tools.cue_conflict.scores import Scores
from erf_tools.cue_conflict.showing import shown, shown_settings, statistics
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.cue_conflict.stimulus_sets import Stimulus, StimulusSet
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.kernels.devices import choose_device, device_name
from erf_tools.models.class_names import unlike_imagenet
from erf_tools.models.heads import IMAGENET_HEAD, Head, head_of, log_probabilities
from erf_tools.models.logits import classifier, images_at_once, undecided
from erf_tools.models.model import Model, as_model
from erf_tools.provenance import versions
from erf_tools.text import first_few

#: Logarithm of scores that float32 has no room for, or not for others that are smaller yet.
_FAINT = log(torch.finfo(torch.float32).tiny / torch.finfo(torch.float32).eps)


@spelled_out((*declared(Deciding), *COMPUTING))
def shape_bias(
    model: Model | nn.Module,
    stimuli: str | Path | StimulusSet = "cue-conflict",
    label_map: Mapping[str, Sequence[int]] | None = None,
    progress: bool = False,
    deciding: Deciding | None = None,
    **choices: Any,
) -> DecisionMaker:
    """Measure the shape bias of a network.

    Args:
        model: from :func:`erf_tools.load_model`, or any ``nn.Module`` that gives logits.
        stimuli: a folder, ``"cue-conflict"`` for the published set, or a checked set.
        label_map: category -> class indices, for a head that is not ImageNet-1K's.
        progress: show a progress bar (in a terminal only).
        deciding: how the network decides.
        choices: of ``deciding`` that are chosen otherwise, as in ``preset="mvh"``; and of how the
            network is run, as in ``device="cpu"``, see :class:`~erf_tools.computing.Computing`.

    Returns:
        Counts and measures, with the decisions themselves in ``decisions``.

    Raises:
        UsageError: the stimuli carry no conflict, or something cannot be done as asked.
        ErfToolsError: the network failed.
    """
    computing = Computing(**popped(COMPUTING, choices))
    deciding = replace(deciding or Deciding(), **choices)
    found = stimuli if isinstance(stimuli, StimulusSet) else open_stimuli(stimuli)
    if not found.conflict:
        raise UsageError(f"{found.source} holds single-cue stimuli, which have no shape bias")
    found.of_conflict()
    made = decide(model, found, deciding, label_map, computing, progress)
    return DecisionMaker.from_decisions(made)


def decide(
    model: Model | nn.Module,
    stimuli: StimulusSet,
    deciding: Deciding | None = None,
    label_map: Mapping[str, Sequence[int]] | None = None,
    computing: Computing | None = None,
    progress: bool = False,
) -> Decisions:
    """Let a network decide on every stimulus; for the arguments see :func:`erf_tools.shape_bias`.

    Unless it is to be computed exactly, what can be is folded into the weights first; see
    :func:`erf_tools.kernels.folding.folded`.

    Softmax over all classes, then ``aggregation`` over each category's classes; the largest wins,
    and of equal ones the first in the alphabet. A head that gives probabilities already, as the
    provenance then says, is taken at its word. The decisions carry the scores that they were made
    by. Images that see each other are shown one by one, which the provenance says, too.
    """
    if not isinstance(model, Model):
        model = as_model(model)
    deciding, computing = deciding or Deciding(), computing or Computing()
    setting, name = settings(model, stimuli, deciding, label_map), model.name
    classes = category_classes(model, stimuli.categories, label_map)
    own = classes if model.classes or label_map is not None else None
    target = choose_device(computing.device, model.module)
    mean, std = statistics(deciding.preset, model.preprocessing)
    given: list[Tensor] = []
    batches = shown(model, stimuli, deciding.preset, computing, target, progress)
    with classifier(model, target, mean, std, deciding.output_key, not computing.exact) as classify:
        for pixels in batches:
            logits = classify(pixels)
            check_classes(name, logits.shape[1], own)
            _check_finite(name, logits, stimuli.stimuli[sum(map(len, given)) :])
            given.append(logits)
        refused = classify.together.refused
    outputs = torch.cat(given)
    scores = category_scores(outputs, deciding.aggregation, classes)
    answers = [list(classes)[index] for index in scores.argmax(dim=1).tolist()]
    names, shapes, textures = zip(
        *((stimulus.name, stimulus.shape, stimulus.texture) for stimulus in stimuli.stimuli),
        strict=True,
    )
    table = pd.DataFrame(scores.numpy(), index=list(names), columns=list(classes))
    ranks = pd.DataFrame(
        {
            cue: class_ranks(outputs, classes, categories)
            for cue, categories in (("shape", shapes), ("texture", textures))
        },
        index=table.index,
    )
    frame = decision_frame(names, shapes, textures, answers)
    provenance = {
        **setting,
        "head": head_of(outputs),
        "undecided": int((scores == scores[:, :1]).all(dim=1).sum()),
        "batch": 1 if refused else images_at_once(computing, target),
        "refused": refused,
        "device": device_name(target),
        "tf32": False,
        "versions": versions(),
    }
    in_order = (each.loc[frame.index] for each in (table, ranks))
    found = Scores(*in_order)
    return Decisions(model.name, frame, provenance, found, stimuli.categories)


def category_classes(
    model: Model, categories: Categories, label_map: Mapping[str, Sequence[int]] | None
) -> dict[str, Sequence[int]]:
    """Return which classes of a network's head belong to each category, in the order of these.

    Raises:
        UsageError: of one it is not known, the label map makes no sense, the network's classes are
            the categories already, or it names others than ImageNet's.
    """
    if model.classes and label_map is not None:
        raise UsageError(
            f"{model.name} is told the categories in words, and has no classes for a label map; "
            "leave --label-map out for it"
        )
    if model.classes:
        known: Mapping[str, Sequence[int]] = {
            name: (index,) for index, name in enumerate(model.classes)
        }
    else:
        known = (
            categories.classes
            if label_map is None
            else checked_label_map(label_map, categories.names)
        )
    without = [name for name in categories.names if not known.get(name)]
    if without:
        raise UsageError(
            f"{model.name}: which classes belong to {first_few(without)} is not known; say it in "
            "--categories FILE (of ImageNet-1K), or with --label-map FILE (of any head)"
        )
    if own := unlike_imagenet(model.module, known) if known is categories.classes else "":
        raise UsageError(
            f"{model.name} {own}: say with --label-map FILE which of its classes belong to which "
            "category"
        )
    return {name: known[name] for name in categories.names}


def settings(
    model: Model,
    stimuli: StimulusSet,
    deciding: Deciding,
    label_map: Mapping[str, Sequence[int]] | None,
) -> dict[str, Any]:
    """Return all that determines the decisions, as JSON values.

    Raises:
        UsageError: a network without a head, one that cannot be shown 224x224, or one of which it
            is not known which classes belong to each category.
    """
    model.check_head("shape bias")
    classes = category_classes(model, stimuli.categories, label_map)
    return {
        **shown_settings(model, stimuli, deciding.preset),
        **asdict(deciding),
        "prompts": deciding.prompts if model.classes else None,
        "ties": "first in the alphabet",
        "label_map": None
        if label_map is None
        else {key: list(own) for key, own in classes.items()},
    }


def category_scores(
    outputs: Tensor,
    aggregation: str,
    classes: Mapping[str, Sequence[int]],
    head: Head | None = None,
) -> Tensor:
    """Return ``[N, categories]`` scores, in the order of ``classes``, of a head's outputs.

    They are computed in float64 as logarithms, so that equal outputs have equal scores however many
    classes a category has, and rounded to float32. Where a row would be lost by that, as all
    categories are next to impossible, it is its scores over their sum.

    Args:
        outputs: of the head, ``[N, classes]``: logits, or probabilities.
        aggregation: how the probabilities of a category's classes become one number.
        classes: of each category.
        head: what the outputs are, if that is known from more of them.
    """
    shares = log_probabilities(outputs, head)
    columns = []
    for indices in classes.values():
        own = shares[:, list(indices)]
        largest = own.amax(dim=1)
        if aggregation != "max":
            relative = own - largest.where(largest.isfinite(), 0)[:, None]
            total = relative.exp().sum(dim=1)
            largest = largest + (total / len(indices) if aggregation == "mean" else total).log()
        columns.append(largest)
    scores = torch.stack(columns, dim=1)
    largest, whole = scores.amax(dim=1, keepdim=True), scores.logsumexp(dim=1, keepdim=True)
    return (scores - whole.where(largest.isfinite() & (largest < _FAINT), 0)).exp().float()


def class_ranks(
    outputs: Tensor, classes: Mapping[str, Sequence[int]], categories: Sequence[str]
) -> np.ndarray:
    """Return the rank of the best class of one category per image, ``[N]``, from 1.

    Args:
        outputs: of the head, ``[N, classes]``. Of equal ones the class with the lower number is
            first.
        classes: of each category.
        categories: one per image.
    """
    order = outputs.argsort(dim=1, descending=True, stable=True)
    places = order.argsort(dim=1)
    best = {
        category: places[:, list(classes[category])].amin(dim=1) for category in set(categories)
    }
    return np.array([int(best[category][row]) + 1 for row, category in enumerate(categories)])


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
