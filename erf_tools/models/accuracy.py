"""Is the network still itself at this resolution? Top-1 on images whose class is known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from timm.data import ImageNetInfo
from torch import Tensor

from erf_tools.errors import UsageError
from erf_tools.images import Preprocessing, SourceImage, View, decode
from erf_tools.kernels.devices import normalise
from erf_tools.models.failures import explained
from erf_tools.models.loading import Model

_SYNSET = re.compile(r"(?:^|/)(n\d{8})(?=[/_.])")
_IMAGENET_CLASSES = 1000


def find_labels(images: Sequence[SourceImage], table: Path | None = None) -> dict[str, int]:
    """Return ImageNet-1K class indices by image name, for those images whose class is known.

    Args:
        images: their names may have the synset as a folder or at the start of the file name, as in
            ``n01440764/ILSVRC2012_val_00000293.JPEG``.
        table: CSV with the columns ``image`` (a name or a file name) and ``label`` (a class index
            or a synset), which goes before.

    Raises:
        UsageError: the table cannot be read, lacks a column, or has an unknown label.
    """
    synsets = {synset: index for index, synset in enumerate(ImageNetInfo().label_names())}
    listed = _read_table(table, synsets) if table else {}
    labels: dict[str, int] = {}
    for image in images:
        in_name = [synsets[found] for found in _SYNSET.findall(image.name) if found in synsets]
        label = listed.get(image.name, listed.get(image.name.rpartition("/")[2]))
        if label is not None:
            labels[image.name] = label
        elif in_name:
            labels[image.name] = in_name[-1]
    return labels


def _read_table(path: Path, synsets: Mapping[str, int]) -> dict[str, int]:
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise UsageError(f"--labels {path} cannot be read as CSV: {error}") from error
    if absent := {"image", "label"} - set(table.columns):
        raise UsageError(f"--labels {path} lacks the columns {', '.join(sorted(absent))}")
    labels = {}
    for name, label in zip(table["image"], table["label"], strict=True):
        index = synsets.get(label, int(label) if str(label).isdecimal() else None)
        if index is None:
            raise UsageError(
                f"--labels {path}: {label!r} of {name} is neither a class index nor a synset"
            )
        labels[name] = index
    return labels


def own_evaluation(model: Model) -> Preprocessing | None:
    """Return the network's own evaluation transform; ``None`` if it was built for another size."""
    size = model.preprocessing.size
    built_for = model.input_size or (size, size)
    return model.preprocessing if tuple(built_for) == (size, size) else None


def classify(
    model: Model, images: Sequence[SourceImage], view: View, device: torch.device
) -> dict[str, int]:
    """Return the class that a network gives each image, by name.

    Nothing is returned of a network that does not give logits ``[N, classes]``, or has more classes
    than ImageNet-1K: its indices mean something else.

    Args:
        model: the network, ready on ``device``.
        images: what to show it.
        view: how.
        device: where it is.
    """
    dtype = next((parameter.dtype for parameter in model.module.parameters()), torch.float32)
    own, found = model.preprocessing, {}
    with torch.inference_mode():
        for image, pixels in zip(images, decode(images, view), strict=True):
            inputs = normalise(np.stack([pixels]), own.mean, own.std, device, dtype)
            with explained(model.name, model.module, (inputs.shape[2], inputs.shape[3])):
                logits: Any = model.module(inputs)
            if not isinstance(logits, Tensor) or logits.ndim != 2:
                return {}
            if logits.shape[1] > _IMAGENET_CLASSES:
                return {}
            found[image.name] = int(logits.argmax())
    return found
