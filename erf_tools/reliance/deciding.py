"""Networks answer to suppressed images, which are made once for all of them, ahead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from erf_tools.computing import Computing
from erf_tools.cue_conflict.classify import category_classes, category_scores, check_classes
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.images import PixelStore, ahead
from erf_tools.kernels.devices import choose_device
from erf_tools.models.accuracy import ImageNetClass
from erf_tools.models.class_names import unlike_imagenet
from erf_tools.models.heads import IMAGENET_HEAD, Head, head_of
from erf_tools.models.logits import Classifier, classifier, images_at_once, undecided
from erf_tools.models.model import Model
from erf_tools.preprocessing import warped
from erf_tools.progress import progress_bar
from erf_tools.provenance import versions
from erf_tools.reliance.changes import measure_changes
from erf_tools.reliance.choices import Suppressing
from erf_tools.reliance.filters import opencv
from erf_tools.reliance.judged import JudgedImage, JudgedImages
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.reliance.suppressions import Suppression, chosen, needs_opencv, suppress
from erf_tools.text import dimensions

#: Side and interpolation of what a network is shown.
Shown = tuple[int, str]


@dataclass(frozen=True, eq=False)
class SuppressedImage:
    """An image under all suppressions.

    Attributes:
        image: which one.
        unchanged: its pixels, uint8 ``[224, 224, 3]``.
        shown: uint8 ``[1 + variants, side, side, 3]``, for each way that a network is shown it.
        changes: see :func:`~erf_tools.reliance.changes.measure_changes`.
    """

    image: JudgedImage
    unchanged: np.ndarray
    shown: dict[Shown, np.ndarray]
    changes: np.ndarray


def suppressed(
    images: Sequence[JudgedImage],
    rows: Sequence[Suppression],
    seed: int,
    ways: set[Shown],
    store: PixelStore | None = None,
) -> Iterator[SuppressedImage]:
    """Yield images under all suppressions; the next ones are made in other threads meanwhile.

    Args:
        images: the images.
        rows: the suppressions.
        seed: of random choices.
        ways: how networks are shown them.
        store: keeps what is made for the networks that come after these.
    """
    kept = (store or PixelStore(0)).kept
    names = tuple(row.name for row in rows)

    def make(image: JudgedImage) -> SuppressedImage:
        key = (image.sha256, names, seed)
        changed = kept(key, lambda: suppress(image.pixels(), rows, image.sha256, seed))
        shown = {
            (side, interpolation): np.stack(
                [
                    np.asarray(warped(Image.fromarray(each), (side, side), interpolation))
                    for each in changed
                ]
            )
            for side, interpolation in ways
        }
        changes = kept((*key, "changes"), lambda: measure_changes(changed))
        return SuppressedImage(image, changed[0].copy(), shown, changes)

    return ahead(make, images)


def setting(
    model: Model, judged: JudgedImages, rows: Sequence[Suppression], seed: int, key: str | None
) -> dict[str, Any]:
    """Return all that a network's answers depend on, but for the images, as JSON values.

    Raises:
        UsageError: the network has no head, takes no images of its own size, or says that its
            classes are not those of the images' labels.
    """
    model.check_head("reliance")
    _check_names(model, judged)
    side = model.preprocessing.size
    if model.input_size and tuple(model.input_size) != (side, side):
        raise UsageError(
            f"{model.name} was built for {dimensions(model.input_size)} inputs, and is shown "
            f"{side}x{side}: load_model(..., resolution={side})"
        )
    return {
        "kind": "reliance",
        "model": model.record(),
        "suppressions": {row.name: row.record() for row in rows},
        "counted": list(judged.counted),
        "label_map": {key: list(own) for key, own in (judged.label_map or {}).items()} or None,
        "categories": judged.categories.record() if judged.categories else None,
        "output_key": key,
        "seed": seed,
        "view": judged.view,
        "opencv": opencv().__version__ if any(map(needs_opencv, rows)) else None,
        "versions": versions(),
    }


def _check_names(model: Model, judged: JudgedImages) -> None:
    """See that a network's classes, where it says what they are, are those counted on."""
    if judged.categories:
        category_classes(model, judged.categories, judged.label_map)
        return
    of_synsets = any(
        isinstance(label, ImageNetClass)
        for image in judged.images
        for label in image.answers["accuracy"]
    )
    if own := unlike_imagenet(model.module) if of_synsets else "":
        raise UsageError(
            f"{model.name} {own}: say which of its classes are meant with --label-map FILE, or for "
            "--images with their indices in --labels FILE"
        )


@dataclass(eq=False)
class Decider:
    """A network that answers, and what it has answered so far.

    Attributes:
        name: of the network.
        way: how it is shown images.
        setting: see :func:`setting`.
        judged: what the images are, and what is counted.
        batch: how many versions at once.
        classify: gives logits.
        classes: of the head, of each category; ``None`` where it is a class that is answered.
        own: whether they were declared for this head.
        done: its answers so far, of an earlier run and then by image, by what they take its outputs
            for: logits, and also probabilities, as long as all of them may be.
    """

    name: str
    way: Shown
    setting: dict[str, Any]
    judged: JudgedImages
    batch: int
    classify: Classifier
    classes: Mapping[str, Sequence[int]] | None
    own: bool
    done: dict[Head, list[SuppressedAnswers]]

    @property
    def count(self) -> int:
        """How many images it has answered to, by an earlier run too."""
        return sum(len(each.names) for each in self._taken)

    @property
    def _taken(self) -> list[SuppressedAnswers]:
        """The answers that count by what is known of the head: all of its outputs decide."""
        return next(iter(self.done.values()))

    def answer(self, image: SuppressedImage) -> None:
        """Answer to all versions of the next image.

        Raises:
            ErfToolsError: the network failed, or its answers cannot be judged.
        """
        stack, judged = image.shown[self.way], image.image
        given = []
        for start in range(0, len(stack), self.batch):
            given.append(self.classify(stack[start : start + self.batch]))
            self._check(given[-1], judged)
        outputs = torch.cat(given)
        if head_of(outputs) == "logits":
            self.done.pop("probabilities", None)
            if not self.done:
                raise ErfToolsError(
                    f"{self.name} gave values from 0 to 1 for the first images, which were taken "
                    f"for probabilities, and gives logits for {judged.name}; remove its answers, "
                    "to measure it again in one go"
                )
        for head, done in self.done.items():
            done.append(self._answers(image, outputs, head))

    def _answers(self, image: SuppressedImage, outputs: Tensor, head: Head) -> SuppressedAnswers:
        judged, counted, choices = image.image, self.judged.counted, outputs.shape[1]
        if self.classes is not None:
            outputs = category_scores(outputs, "mean", self.classes, head)
            choices = len(self.classes)
        answers = outputs.argmax(dim=1).numpy().astype(np.int32)
        record = {"head": head if self.classes else None, "refused": self.classify.together.refused}
        return SuppressedAnswers(
            {**self.setting, **record},
            self.judged.record,
            (judged.name,),
            (judged.sha256,),
            answers[None],
            {name: np.isin(answers, judged.answers[name])[None] for name in counted},
            image.changes[None],
            np.array([len(judged.answers[counted[0]]) / choices]),
            self._taken[0].example if self._taken else image.unchanged,
            (outputs == outputs[:, :1]).all(dim=1).numpy()[None],
        )

    def _check(self, logits: Tensor, image: JudgedImage) -> None:
        if (row := undecided(logits)) is not None:
            raise ErfToolsError(
                f"{self.name} gives logits that are not finite for {image.name} (version {row} of "
                "a batch): it decides nothing; check its weights"
            )
        classes = logits.shape[1]
        if self.classes is not None:
            check_classes(self.name, classes, self.classes if self.own else None)
        elif classes != IMAGENET_HEAD and any(
            isinstance(label, ImageNetClass) for label in image.answers["accuracy"]
        ):
            raise UsageError(
                f"{self.name} has {classes} classes, which are not ImageNet-1K's: say with "
                "--label-map FILE which folders hold which of them"
            )
        elif max(image.answers["accuracy"]) >= classes:
            raise UsageError(
                f"{image.name} is of class {max(image.answers['accuracy'])}, but {self.name} has "
                f"{classes} classes"
            )

    def result(self) -> SuppressedAnswers:
        """Return all answers, with those of an earlier run."""
        self.done = {head: [SuppressedAnswers.joined(done)] for head, done in self.done.items()}
        return self._taken[0]


@contextmanager
def decider(
    model: Model,
    judged: JudgedImages,
    own_setting: dict[str, Any],
    computing: Computing,
    earlier: SuppressedAnswers | None = None,
) -> Iterator[Decider]:
    """Have a network ready to answer."""
    target, own = choose_device(computing.device, model.module), model.preprocessing
    key, classes = own_setting["output_key"], None
    done: dict[Head, list[SuppressedAnswers]] = {"logits": []}
    if judged.categories:
        classes = category_classes(model, judged.categories, judged.label_map)
        done = {"probabilities": [], "logits": []}
    if earlier:
        done = {earlier.setting.get("head") or "logits": [earlier]}
    with classifier(model, target, own.mean, own.std, key, fast=not computing.exact) as classify:
        if earlier:
            classify.together.refused = earlier.setting.get("refused", "")
        yield Decider(
            model.name,
            (own.size, own.interpolation),
            own_setting,
            judged,
            images_at_once(computing, target),
            classify,
            classes,
            bool(model.classes) or judged.label_map is not None,
            done,
        )


def answers(
    model: Model,
    judged: JudgedImages,
    suppressing: Suppressing,
    seed: int = 0,
    computing: Computing | None = None,
    store: PixelStore | None = None,
    progress: bool = False,
) -> SuppressedAnswers:
    """Let one network answer to all images under all suppressions.

    Args:
        model: the network.
        judged: the images.
        suppressing: what is suppressed.
        seed: of random choices.
        computing: how; batches are of versions of an image.
        store: see :func:`suppressed`.
        progress: show a progress bar (in a terminal only).

    Raises:
        ErfToolsError: the network failed, or its answers cannot be judged.
    """
    rows = chosen(suppressing.cues)
    own = setting(model, judged, rows, seed, suppressing.output_key)
    with decider(model, judged, own, computing or Computing()) as ready:
        made = suppressed(judged.images, rows, seed, {ready.way}, store)
        total = len(judged.images)
        for image in progress_bar(progress, iterable=made, desc="reliance", total=total):
            ready.answer(image)
        return ready.result()
