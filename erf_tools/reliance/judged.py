"""Which images networks are tried on, and which answers to each are counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from erf_tools.cue_conflict.categories import CUES, Categories
from erf_tools.cue_conflict.label_maps import checked_label_map, read_label_map
from erf_tools.cue_conflict.stimulus_sets import Stimulus, StimulusSet
from erf_tools.errors import UsageError
from erf_tools.folders import Remark
from erf_tools.images import Selection, SourceImage, counted
from erf_tools.numbers import whole_number
from erf_tools.preprocessing import Preprocessing, evaluation_view, warped
from erf_tools.reliance.suppressions import SIDE
from erf_tools.text import dimensions

#: How photographs become images of 224x224: the short side is resized to 256, the centre cut out.
VIEW = Preprocessing(size=SIDE)


@dataclass(frozen=True)
class JudgedImage:
    """An image, and the answers that are counted.

    Attributes:
        name: of the image.
        sha256: of its bytes, or of a stimulus' pixels.
        content: where it is read from.
        answers: by what is counted (``accuracy``; ``shape`` and ``texture``), the classes that
            count, or the category's number.
    """

    name: str
    sha256: str
    content: SourceImage | Stimulus
    answers: Mapping[str, tuple[int, ...]]

    def pixels(self) -> np.ndarray:
        """Return the image as uint8 ``[224, 224, 3]``: of a stimulus all, of others the middle.

        Raises:
            UsageError: a stimulus is no square.
            ErfToolsError: it can no longer be read, or was changed.
        """
        if isinstance(self.content, Stimulus):
            image = Image.fromarray(self.content.pixels())
            if image.width != image.height:
                raise UsageError(
                    f"the stimulus {self.name} is {dimensions((image.height, image.width))}, and "
                    f"all of it is shown as {SIDE}x{SIDE}; cut stimuli to squares"
                )
            return np.asarray(warped(image, (SIDE, SIDE), VIEW.interpolation))
        return np.asarray(evaluation_view(self.content.open(), VIEW))


@dataclass(frozen=True)
class JudgedImages:
    """Images of which the right answers are known.

    Attributes:
        images: all of them.
        counted: what answers are counted as.
        categories: what is answered; ``None`` where it is a class of the head.
        label_map: the classes of each category, where the head is not ImageNet-1K's.
        record: where they come from, as JSON values.
        left_out: images without a label.
    """

    images: tuple[JudgedImage, ...]
    counted: tuple[str, ...]
    categories: Categories | None
    label_map: Mapping[str, Sequence[int]] | None
    record: Mapping[str, Any]
    left_out: tuple[Remark, ...] = ()

    @property
    def view(self) -> str:
        """How networks are shown them, in words."""
        of_stimuli = all(isinstance(image.content, Stimulus) for image in self.images)
        first = f"whole at {SIDE}" if of_stimuli else f"short side 256, centre {SIDE}"
        return f"{first}, then the network's own size"


def labelled_images(
    selection: Selection, labels: Path | None = None, label_map: Path | None = None
) -> JudgedImages:
    """Return those images whose class is known; accuracy is counted.

    Args:
        selection: the images. Without ``label_map``, synsets in the names of folders or files are
            their labels (``n01440764/a.jpg``, ``n01440764_tench.JPEG``).
        labels: CSV; see :func:`erf_tools.models.accuracy.find_labels`.
        label_map: CSV with the columns ``index`` and ``category``, for heads of one's own: the
            label of an image is the name of a folder that it lies in, and any class of that
            category is right.

    Raises:
        UsageError: no image has a label, or a table cannot be read.
    """
    from erf_tools.models.accuracy import find_labels  # with torch

    answers: dict[str, tuple[int, ...]]
    if label_map:
        if labels:
            raise UsageError("--labels and --label-map exclude each other; leave one out")
        classes = read_label_map(label_map, None)
        answers = {}
        for image in selection.images:
            folders = [part for part in image.name.split("/")[:-1] if part in classes]
            if folders:
                answers[image.name] = tuple(classes[folders[-1]])
    else:
        found = find_labels(selection.images, labels, classes=None)
        answers = {name: (index,) for name, index in found.items()}
    files = {"labels": labels, "label_map": label_map}
    return _judged(selection, [answers.get(image.name) for image in selection.images], **files)


def with_labels(selection: Selection, labels: Iterable[int]) -> JudgedImages:
    """Return images with the classes that are given, one each; accuracy is counted.

    Raises:
        UsageError: they are not as many, one is no class, or an image cannot be read.
    """
    for name, why in selection.unreadable:
        raise UsageError(f"{name} cannot be read: {why}; leave it out, and its label")
    try:
        labels = list(labels)
    except TypeError:
        raise UsageError(
            f"labels are {labels!r}; give the index of a class for each image"
        ) from None
    if len(labels) != len(selection):
        raise UsageError(
            f"there are {len(labels)} labels for {len(selection)} images; give one each"
        )
    classes = [whole_number(label, "a label", 0) for label in labels]
    return _judged(selection, [(index,) for index in classes])


def _judged(
    selection: Selection,
    answers: Sequence[tuple[int, ...] | None],
    labels: Path | None = None,
    label_map: Path | None = None,
) -> JudgedImages:
    each = list(zip(selection.images, answers, strict=True))
    known = tuple(
        JudgedImage(image.name, image.sha256, image, {"accuracy": right})
        for image, right in each
        if right is not None
    )
    if not known:
        none = f"none of the {counted(len(selection), selection.source, 'in')} has a label"
        if len(selection) == 1:
            none = f"the only image, {selection.images[0].name}, has no label"
        raise UsageError(
            f"{none}: put images in folders named by synsets (n01440764), name them in "
            "--labels FILE, or the folders' classes in --label-map FILE"
        )
    left_out = tuple((image.name, "it has no label") for image, right in each if right is None)
    record = {
        "source": selection.source,
        "order": selection.order,
        "seed": selection.seed,
        "count": len(known),
        "selected": len(selection),
        "labels": str(labels) if labels else None,
        "label_map": str(label_map) if label_map else None,
    }
    return JudgedImages(known, ("accuracy",), None, None, record, left_out)


def conflict_images(
    stimuli: StimulusSet, label_map: Mapping[str, Sequence[int]] | None = None
) -> JudgedImages:
    """Return the stimuli whose shape and texture disagree; shape and texture are counted apart.

    Raises:
        UsageError: they are single-cue stimuli, none has a conflict, they have other cues than
            shape and texture, or the label map makes no sense.
    """
    if not stimuli.conflict:
        raise UsageError(f"{stimuli.source} holds single-cue stimuli; use cue-conflict stimuli")
    categories = stimuli.categories
    if categories.cues != CUES:
        raise UsageError(
            f"{stimuli.source} has the cues {' and '.join(categories.cues)}, and reliance counts "
            "shape and texture; use stimuli with these"
        )
    known = tuple(
        JudgedImage(
            each.name,
            each.sha256,
            each,
            {
                "shape": (categories.names.index(each.shape),),
                "texture": (categories.names.index(each.texture),),
            },
        )
        for each in stimuli.of_conflict()
    )
    record = {**stimuli.record(), "label": stimuli.label, "count": len(known)}
    ordered = None if label_map is None else checked_label_map(label_map, categories.names)
    return JudgedImages(known, ("shape", "texture"), categories, ordered, record)
