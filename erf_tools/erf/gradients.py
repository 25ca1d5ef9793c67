"""From a network and images to ERFs: gradients of units, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import nn

from erf_tools.choices import popped, spelled_out
from erf_tools.computing import COMPUTING, Computing
from erf_tools.erf.maps import ERF
from erf_tools.erf.measuring import measurable
from erf_tools.erf.parts import group_lengths, join
from erf_tools.erf.procedure import PROCEDURE, Procedure
from erf_tools.features.taps import Tap, find_taps
from erf_tools.image_choices import Order
from erf_tools.images import PixelStore, Selection, select
from erf_tools.models.model import Model, as_model


@spelled_out((*PROCEDURE, *COMPUTING))
def effective_receptive_field(
    model: Model | nn.Module,
    images: str | Path | Sequence[str | Path | Image.Image] | Selection = "builtin",
    num_images: int = 50,
    order: Order = "spread",
    seed: int = 0,
    layer: str | Tap | None = None,
    procedure: Procedure | None = None,
    progress: bool = False,
    **choices: Any,
) -> ERF:
    """Measure the effective receptive field of a unit of a network.

    A copy of the network is measured. The network itself and all random states are as before when
    this returns: it can be called between two steps of a training.

    Args:
        model: from :func:`erf_tools.load_model`, or any ``nn.Module``; see
            :func:`erf_tools.as_model` for one with its own tap or mean and standard deviation.
        images: ``"builtin"``, a folder, a file, a sequence of paths and PIL images, or a
            :class:`~erf_tools.images.Selection`, which settles ``num_images`` and ``order`` too.
        num_images: how many images at most.
        order: ``spread`` or ``sequential``; see :func:`erf_tools.images.select`.
        seed: of the spread order.
        layer: dotted name of a module, or a :class:`~erf_tools.features.taps.Tap`; by default the
            model's own tap, the last map before pooling.
        procedure: what is measured, apart from network, layer and images; the paper's by default.
        progress: show a progress bar (in a terminal only).
        choices: of the procedure that are chosen otherwise, as in ``resolution=512``,
            ``protocol="kim2023"`` or ``gradient="abs"``, see
            :meth:`erf_tools.erf.procedure.Procedure.varied`; and of how the network is run, as in
            ``device="cpu"``, ``batch_size=8`` or ``exact=True``, see
            :class:`~erf_tools.computing.Computing`.

    Returns:
        The result; its ``map`` is float64 ``[height, width]``.

    Raises:
        UsageError: something cannot be measured as asked.
        ErfToolsError: the network failed.
    """
    computing = Computing(**popped(COMPUTING, choices))
    procedure = (procedure or Procedure()).varied(**choices)
    if not isinstance(images, Selection):
        images = select(images, num_images, order, seed)
    model, tap = network_and_layer(model, layer)
    (result,) = measure_layers(
        model, images, procedure, [tap], computing=computing, progress=progress
    )
    return result


def network_and_layer(model: Model | nn.Module, layer: str | Tap | None) -> tuple[Model, Tap]:
    """Return the network and the layer that are asked for.

    Raises:
        UsageError: it cannot be measured, or has no such layer.
    """
    if not isinstance(model, Model):
        model = as_model(model)
    if isinstance(layer, str):
        (layer,) = find_taps(model.module, [layer])
    return model, layer or model.tap


def measure_layers(
    model: Model,
    selection: Selection,
    procedure: Procedure,
    taps: Sequence[Tap],
    labels: Mapping[str, int] | None = None,
    computing: Computing | None = None,
    progress: bool = False,
    store: PixelStore | None = None,
) -> list[ERF]:
    """Measure the ERF of several layers, with one forward pass per image for all of them.

    Args:
        model: the network.
        selection: the images.
        procedure: what is measured.
        taps: the layers.
        labels: class indices by image name; a trained network classifies labelled images too.
        computing: how.
        progress: show a progress bar (in a terminal only).
        store: keeps the images that are made ready, for the next network.

    Returns:
        A result per tap, each equal to that of a run of its own.

    Raises:
        UsageError: something cannot be measured as asked.
        ErfToolsError: the network failed.
    """
    size = procedure.size(model.preprocessing)
    lengths = group_lengths(len(selection), size, len(taps))
    images = len(selection)
    with measurable(model, procedure, taps, computing, images) as network:
        parts = network.measure(selection, lengths, labels, progress, store)
    return [join([part]) for part in parts]
