"""Reliance of one network, as a function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import nn

from erf_tools.choices import declared, popped, spelled_out
from erf_tools.computing import COMPUTING, Computing
from erf_tools.images import select
from erf_tools.models.model import Model, as_model
from erf_tools.numbers import LARGEST
from erf_tools.reliance.choices import Suppressing
from erf_tools.reliance.deciding import answers
from erf_tools.reliance.judged import JudgedImages, labelled_images, with_labels
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.reliance.suppressions import chosen


@spelled_out((*declared(Suppressing), *COMPUTING))
def feature_reliance(
    model: Model | nn.Module,
    images: str | Path | Sequence[str | Path | Image.Image] | JudgedImages,
    labels: str | Path | Iterable[int] | None = None,
    num_images: int | None = None,
    seed: int = 0,
    progress: bool = False,
    suppressing: Suppressing | None = None,
    **choices: Any,
) -> SuppressedAnswers:
    """Measure what a network loses when one cue at a time is suppressed in its images.

    Args:
        model: from :func:`erf_tools.load_model`, or any ``nn.Module`` that gives logits.
        images: a folder, a sequence of paths and PIL images, or images whose answers are known, as
            :func:`erf_tools.reliance.judged.conflict_images` gives them of stimuli.
        labels: index of the class of each of a sequence of images; else a CSV as ``--labels``,
            which folders and files named by synsets need not.
        num_images: how many at most; all by default.
        seed: of what is random in the suppressions, and of the choice of images.
        progress: show a progress bar (in a terminal only).
        suppressing: what is suppressed.
        choices: of ``suppressing`` that are chosen otherwise, as in ``cues="color"``; and of how
            the network is run, as in ``device="cpu"``, see
            :class:`~erf_tools.computing.Computing`. Batches are of versions of an image.

    Returns:
        The answers; ``to_frame()`` has accuracy, profile and areas with their intervals,
        ``curves()`` every strength, and both in a notebook show themselves.

    Raises:
        UsageError: no image has a label, or something cannot be done as asked.
        ErfToolsError: the network failed.
    """
    computing = Computing(**popped(COMPUTING, choices))
    suppressing = replace(suppressing or Suppressing(), **choices)
    chosen(suppressing.cues)  # before anything is read
    if not isinstance(images, JudgedImages):
        most = LARGEST if num_images is None else num_images
        if labels is None or isinstance(labels, (str, Path)):
            table = None if labels is None else Path(labels)
            images = labelled_images(select(images, most, seed=seed), table)
        else:
            images = with_labels(select(images, most, "sequential", seed), labels)
    if not isinstance(model, Model):
        model = as_model(model)
    return answers(model, images, suppressing, seed, computing, progress=progress)
