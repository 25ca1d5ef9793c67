"""Contributions to all units of a map together: one backward pass of their sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from erf_tools.erf.dead_pixels import PixelContributions, groups
from erf_tools.erf.passes import ROUNDINGS, Pass, reduced, terms, with_random_signs
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.protocols import Protocol
from erf_tools.erf.singly import shown_singly
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.copies import random_states
from erf_tools.features.proof import proven
from erf_tools.features.state import State, state_kept
from erf_tools.images import PixelStore, Selection, identities
from erf_tools.models.model import Model

#: Sums with random signs that are looked at where gradients may cancel.
_DRAWS = 4


def pixel_contributions(
    model: Model,
    selection: Selection,
    procedure: Procedure,
    device: str = "auto",
    progress: bool = False,
    store: PixelStore | None = None,
) -> PixelContributions:
    """Measure what each pixel contributes to all units of a network's last map together.

    The sum over units of the protocol's scalar is differentiated, image by image; what units of
    opposite sign see of a pixel cancels. Where it does but for rounding, the pixel contributes
    nothing.

    Args:
        model: the network.
        selection: the images.
        procedure: protocol and resolution; its unit and square do not count, and its precision is
            that of the weights.
        device: see :func:`erf_tools.effective_receptive_field`.
        progress: show a progress bar (in a terminal only).
        store: keeps the images that are made ready, for the next network.

    Raises:
        UsageError: the network cannot be measured as asked.
        ErfToolsError: the network failed, or a gradient is not finite.
    """
    size, protocol = procedure.size(model.preprocessing), procedure.protocol
    if protocol.of_output or protocol.transform == "noise":
        raise UsageError(f"dead pixels are not for {protocol.name}; use another --protocol")
    counts = groups(len(selection))
    sums = np.zeros((len(counts), *size))
    group = np.repeat(np.arange(len(counts)), counts)
    shown = shown_singly(model, selection, procedure, device, progress, store)
    with shown as (network, images, run), state_kept(network, weights=False):
        (tap,) = proven(network, [model.tap], size, model.input_size is not None)
        begun, drawn = State(network, weights=False), random_states()
        moves, settled = False, begun
        for place, inputs in enumerate(images):
            forward = Pass(network, inputs.requires_grad_())
            (features,) = forward.features([tap])
            gradient = _sum_gradient(forward, features, protocol)
            sums[group[place]] += reduced(gradient, protocol)[0].cpu().numpy()
            if not place:  # what the first pass has made, others may move
                moves, settled = begun.moved(), State(network, weights=False)
        run |= {"draws": random_states() != drawn, "moves": moves or settled.moved()}
    if not np.isfinite(sums.sum(axis=0)).all():
        raise ErfToolsError(
            f"{model.name}: a gradient of the sum over its units is not finite; see whether its "
            "weights are, or measure at another --resolution"
        )
    return PixelContributions.of_groups(
        sums, counts, identities(selection.images), setting_of(model, procedure), run
    )


def _sum_gradient(run: Pass, features: Tensor, protocol: Protocol) -> Tensor:
    """Return the gradient ``[1, 3, height, width]`` of the sum over units; zero where it cancels.

    It does by construction in some pixels or in all, as behind a filter whose weights add up to
    zero: inside, not at the rim. What is left there is rounding. Its size follows from what the
    gradient of the pixel would be if the units' signs were random, which takes more passes.
    """
    parts, draw = terms(features, protocol), torch.Generator().manual_seed(0)
    (gradient,) = torch.autograd.grad(parts.sum(), run.inputs, retain_graph=True)
    found, rounding = _largest(gradient), ROUNDINGS * torch.finfo(gradient.dtype).eps
    size = torch.zeros_like(found)
    for _ in range(_DRAWS):
        signed = with_random_signs(parts, draw)
        (other,) = torch.autograd.grad(signed, run.inputs, retain_graph=True)
        size = torch.maximum(size, _largest(other))
        if not ((found > 0) & (found <= rounding * size.max())).any():
            return gradient  # as nearly always
    return torch.where((found <= rounding * size)[:, None], 0.0, gradient)


def _largest(gradient: Tensor) -> Tensor:
    """Return the largest size of a pixel's three gradients: ``[N, height, width]``."""
    return gradient.abs().amax(dim=1)


def setting_of(model: Model, procedure: Procedure) -> dict[str, Any]:
    """Return what is measured of a network, as JSON values."""
    return {
        "protocol": procedure.protocol.record(),
        "model": model.record(),
        "tap": model.tap.record(),
        "resolution": list(procedure.size(model.preprocessing)),
    }
