"""Is the network still itself at this resolution? Top-1 on images whose class is known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from timm.data import ImageNetInfo

from erf_tools.csv_files import read_index, read_rows
from erf_tools.errors import UsageError
from erf_tools.features.inputs import floating_type
from erf_tools.images import SourceImage, decode
from erf_tools.kernels.devices import normalise
from erf_tools.models.class_names import unlike_imagenet
from erf_tools.models.failures import explained
from erf_tools.models.heads import IMAGENET_HEAD, find_logits
from erf_tools.models.model import Model
from erf_tools.preprocessing import Preprocessing, View

_SYNSET = re.compile(r"(?:^|/)(n\d{8})(?=[/_.])")


class ImageNetClass(int):
    """The index of a synset in ImageNet-1K: a class of heads with its thousand classes only."""


class LargerHeadClass(int):
    """The index of a class of heads with more classes than ImageNet-1K's."""


def find_labels(
    images: Sequence[SourceImage], table: Path | None = None, classes: int | None = IMAGENET_HEAD
) -> dict[str, int]:
    """Return class indices by image name, for those images whose class is known.

    Args:
        images: their names may have the synset as a folder or at the start of the file name, as in
            ``n01440764/ILSVRC2012_val_00000293.JPEG``.
        table: CSV with the columns ``image`` (a name or a file name) and ``label`` (an index of the
            network's classes, or a synset), which goes before.
        classes: how many there can be; ``None`` where each network's head says it later.

    Returns:
        Indices; those of synsets as :class:`ImageNetClass`, and those of a table with some beyond
        ImageNet-1K's as :class:`LargerHeadClass`.

    Raises:
        UsageError: the table cannot be read, lacks a column, has an unknown label, names an image
            twice, names several images at once, or none.
    """
    synsets = _synsets()
    listed = _read_table(table, synsets, classes) if table else {}
    labels: dict[str, int] = {}
    named: dict[str, str] = {}
    for image in images:
        in_name = [synsets[found] for found in _SYNSET.findall(image.name) if found in synsets]
        names = (image.name, image.name.rpartition("/")[2])
        entry = next((name for name in names if name in listed), None)
        if entry is not None:
            if named.setdefault(entry, image.name) != image.name:
                raise UsageError(
                    f"--labels {table}: {entry} may be {named[entry]} or {image.name}; write the "
                    "images' folders too"
                )
            labels[image.name] = listed[entry]
        elif in_name:
            labels[image.name] = in_name[-1]
    if table and not named:
        none = f"names none of the {len(images)} images, of which the first is"
        if len(images) == 1:
            none = "does not name the only image,"
        raise UsageError(f"--labels {table} {none} {images[0].name}")
    return labels


@cache
def _synsets() -> Mapping[str, ImageNetClass]:
    """Return the class of each synset of ImageNet-1K."""
    names = ImageNetInfo().label_names()
    return {synset: ImageNetClass(index) for index, synset in enumerate(names)}


def _read_table(path: Path, synsets: Mapping[str, int], classes: int | None) -> dict[str, int]:
    labels: dict[str, int] = {}
    for row in read_rows(path, "--labels", ("image", "label")):
        name, label = row["image"].replace("\\", "/").removeprefix("./"), row["label"]
        index = synsets.get(label, read_index(label))
        if index is None:
            raise UsageError(
                f"{row.place}: {label!r} of {name} is neither a class index nor a synset"
            )
        if classes is not None and index >= classes:
            raise UsageError(
                f"{row.place}: {label} of {name} is no class: indices go from 0 to {classes - 1}"
            )
        if name in labels:
            raise UsageError(f"{row.place}: {name} is listed a second time")
        labels[name] = index
    if max(labels.values(), default=0) < IMAGENET_HEAD:
        return labels
    return {
        name: index if isinstance(index, ImageNetClass) else LargerHeadClass(index)
        for name, index in labels.items()
    }


def check_labels(model: Model, labels: Mapping[str, int]) -> None:
    """See that a head whose number of classes a network declares has those of the labels.

    Raises:
        UsageError: a label is beyond them, and beyond ImageNet-1K's.
    """
    config = getattr(model.module, "config", None)
    classes = getattr(model.module, "num_classes", getattr(config, "num_labels", None))
    name = max(labels, key=lambda image: labels[image], default="")
    if name and isinstance(classes, int) and labels[name] >= max(classes, IMAGENET_HEAD):
        raise UsageError(
            f"{name} is of class {labels[name]}, but {model.name} has {classes} classes; give it "
            "--labels of its own"
        )


def own_evaluation(model: Model) -> Preprocessing | None:
    """Return the network's own evaluation transform; ``None`` if it was built for another size."""
    size = model.preprocessing.size
    built_for = model.input_size or (size, size)
    return model.preprocessing if tuple(built_for) == (size, size) else None


def classify(
    model: Model,
    images: Sequence[SourceImage],
    labels: Mapping[str, int],
    view: View,
    device: torch.device,
) -> dict[str, int]:
    """Return the class that a network gives each labelled image, by name.

    Nothing is returned of a network without a head, that does not give logits ``[N, classes]``, or
    whose classes are others than those of the labels. An image whose logits are not finite has no
    class.

    Args:
        model: the network, ready on ``device``.
        images: what to show it; those without a label are passed over.
        labels: by the images' names.
        view: how they are shown.
        device: where the network is.
    """
    synsets = any(isinstance(label, ImageNetClass) for label in labels.values())
    if not model.weights.head or (synsets and unlike_imagenet(model.module)):
        return {}
    dtype = floating_type(model.module)
    own, found = model.preprocessing, {}
    labelled = [image for image in images if image.name in labels]
    with torch.inference_mode():
        for image, pixels in zip(labelled, decode(labelled, view), strict=True):
            inputs = normalise(np.stack([pixels]), own.mean, own.std, device, dtype)
            with explained(model.name, model.module, (inputs.shape[2], inputs.shape[3])):
                logits = find_logits(model.module(inputs))
            if logits is None or not _judges(logits.shape[1], labels.values()):
                return {}
            if not logits.isnan().any():
                found[image.name] = int(logits.argmax())
    return found


def _judges(classes: int, labels: Iterable[int]) -> bool:
    """Tell whether a head with so many classes can be judged by the labels.

    ImageNet-1K's can by any. Of others, the user's own indices say which of its classes is meant,
    but a synset does not. Larger heads have ImageNet's classes in another order, and are judged by
    indices only where some are beyond these.
    """
    known = list(labels)
    if classes != IMAGENET_HEAD and any(isinstance(label, ImageNetClass) for label in known):
        return False
    larger = any(isinstance(label, LargerHeadClass) or label >= IMAGENET_HEAD for label in known)
    return max(known, default=0) < classes and (classes <= IMAGENET_HEAD or larger)
