"""A network that classifies: from pixels to logits; what goes wrong is said in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.computing import Computing
from erf_tools.errors import UsageError
from erf_tools.features.inputs import floating_type
from erf_tools.kernels.devices import copy_on_device, normalise
from erf_tools.kernels.folding import folded
from erf_tools.models.failures import explained
from erf_tools.models.heads import describe, find_logits
from erf_tools.models.model import Model
from erf_tools.models.together import Together

#: Images at once. On a CPU the maps of more do not stay in its caches (16 take 1.5 times as long).
_BATCH = {"cpu": 4, "cuda": 64}


def images_at_once(computing: Computing, device: torch.device) -> int:
    """Return how many images are shown at once: as many as asked for, else as many as are fast."""
    return computing.images_at_once or _BATCH.get(device.type, 16)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network that gives logits.

    Attributes:
        together: the network, which is shown images together where they do not see each other.
    """

    together: Together

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Return logits ``[N, classes]``, float32 on the CPU, of uint8 ``[N, height, width, 3]``.

        Raises:
            UsageError: the network gives no logits, or not as many as there are images.
            ErfToolsError: it failed.
        """
        (logits,) = self.together(pixels)
        return logits.float()


@contextmanager
def classifier(
    model: Model,
    device: torch.device,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    output_key: str | None = None,
    fast: bool = True,
) -> Iterator[Classifier]:
    """Have a copy of a network on ``device`` that gives logits.

    Args:
        model: the network.
        device: where to have it.
        mean: per channel, subtracted from pixels in [0, 1].
        std: per channel, divides what is left.
        output_key: which part of its output holds the logits; see
            :func:`~erf_tools.models.heads.find_logits`.
        fast: fold what can be into the weights first; see
            :func:`~erf_tools.kernels.folding.folded`.
    """
    own = model.preprocessing.size

    def read(network: nn.Module, inputs: Tensor) -> Tensor:
        return _logits(model.name, network(inputs), output_key, len(inputs))

    with copy_on_device(model.module, device) as network:
        dtype = floating_type(network)
        if model.input_size is None and fast:
            network, _ = folded(network, lambda net, images: [read(net, images)], (own, own))

        def classify(pixels: np.ndarray) -> list[Tensor]:
            inputs = normalise(pixels, mean, std, device, dtype)
            with (
                torch.inference_mode(),
                explained(model.name, network, (inputs.shape[2], inputs.shape[3])),
            ):
                return [read(network, inputs).cpu()]

        yield Classifier(Together(network, classify))


def _logits(name: str, output: Any, key: str | None, images: int) -> Tensor:
    logits = find_logits(output, key)
    if logits is None:
        raise UsageError(
            f"{name} does not give logits [N, classes] but {describe(output)}; decisions need a "
            "head, whose part of the output --output-key names"
        )
    if len(logits) != images:
        alone = "; --batch-size 1 shows images one by one" if images > 1 else ""
        raise UsageError(
            f"{name} gives {len(logits)} rows of logits where it is shown {images} images, so that "
            f"nobody knows whose they are; a head gives a row for each image{alone}"
        )
    return logits


def undecided(logits: Tensor) -> int | None:
    """Return the first row of logits that decides nothing; ``None`` where each decides.

    Rows decide nothing that hold NaN or infinity, or minus infinity only.
    """
    bad: list[bool] = logits.softmax(dim=1).isnan().any(dim=1).tolist()
    return bad.index(True) if any(bad) else None
