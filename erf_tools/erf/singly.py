"""Showing a network images one at a time: what attention distances and dead pixels share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.features.inputs import floating_type
from erf_tools.images import PixelStore, Selection
from erf_tools.kernels.devices import (
    choose_device,
    copy_on_device,
    device_name,
    normalise,
)
from erf_tools.models.failures import explained
from erf_tools.models.model import Model
from erf_tools.progress import progress_bar
from erf_tools.provenance import run_record


@contextmanager
def shown_singly(
    model: Model,
    selection: Selection,
    procedure: Procedure,
    device: str = "auto",
    progress: bool = False,
    store: PixelStore | None = None,
) -> Iterator[tuple[nn.Module, Iterator[Tensor], dict[str, Any]]]:
    """Give a copy of a network on a device, the images made ready for it, and what says so.

    Args:
        model: the network.
        selection: the images.
        procedure: resolution and transform. Its precision is that of the weights.
        device: see :func:`erf_tools.effective_receptive_field`.
        progress: show a progress bar (in a terminal only).
        store: keeps the images that are made ready, for the next network.

    Yields:
        The network, its inputs ``[1, 3, height, width]``, and the record of the run.

    Raises:
        UsageError: another precision is asked for.
        ErfToolsError: the network failed.
    """
    if procedure.precision != "fp32":
        raise UsageError(
            f"this is measured in the precision of the weights, and --precision is "
            f"{procedure.precision}; leave it out"
        )
    size, own = procedure.size(model.preprocessing), model.preprocessing
    target = choose_device(device, model.module)
    with explained(model.name, model.module, size), copy_on_device(model.module, target) as network:
        pixels = (store or PixelStore(0)).decode(selection.images, procedure.view(own))
        shown = progress_bar(progress, iterable=pixels, total=len(selection), desc=model.name)
        inputs = (
            normalise(np.stack([image]), own.mean, own.std, target, floating_type(network))
            for image in shown
        )
        yield network, inputs, run_record(selection.record(), device_name(target))
