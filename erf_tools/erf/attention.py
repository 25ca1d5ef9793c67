"""Mean attention distance: how far apart tokens are that attend to each other, in pixels.

After Dosovitskiy et al. 2021 and Raghu et al. 2021: the attention-weighted Euclidean distance
between the centres of a query's and its keys' patches, for each head of each layer.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.erf.attention_distances import AttentionDistances
from erf_tools.erf.attention_layers import AttendingLayer, attending_layers
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.singly import shown_singly
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.images import PixelStore, Selection, identities
from erf_tools.models.model import Model


def attention_distances(
    model: Model,
    selection: Selection,
    procedure: Procedure,
    device: str = "auto",
    progress: bool = False,
    store: PixelStore | None = None,
) -> AttentionDistances:
    """Measure how far apart tokens are that attend to each other, for each layer and head.

    It is the mean over queries. Tokens that are no patches (class, registers) are left out, and
    the attention to patches is scaled to add up to one.

    Args:
        model: a transformer of timm's, with attention over all patches (ViT, DeiT, BEiT, EVA) or
            in windows (Swin); :mod:`erf_tools.erf.attention_layers` has the list.
        selection: the images.
        procedure: resolution and transform. Its precision is that of the weights.
        device: see :func:`erf_tools.effective_receptive_field`.
        progress: show a progress bar (in a terminal only).
        store: keeps the images that are made ready, for the next network.

    Raises:
        UsageError: the network has no such layers, or they attend to other than its patches.
        ErfToolsError: the network failed, or its attention is not finite.
    """
    size = procedure.size(model.preprocessing)
    found: dict[str, list[Tensor]] = {}
    shown = shown_singly(model, selection, procedure, device, progress, store)
    with shown as (network, images, run):
        for layer in attending_layers(network, model.name, size):
            layer.module.fused_attn = False  # type: ignore[assignment]  # or no weights are there
            layer.module.attn_drop = _Listening(layer, found.setdefault(layer.path, []), model.name)
        for inputs in images:
            with torch.no_grad():
                network(inputs)
    for path, given in found.items():
        if len(given) != len(selection):
            raise UsageError(
                f"{model.name} takes {path} {len(given)} times for {len(selection)} images; "
                "distances are of layers that each image passes once"
            )
    distance = np.concatenate([torch.stack(of).numpy() for of in found.values()], axis=1)
    if not np.isfinite(distance).all():
        raise ErfToolsError(
            f"{model.name}: its attention to patches is not finite, or there is none; see whether "
            "its weights are finite"
        )
    heads = [(name, head) for name, (first, *_) in found.items() for head in range(len(first))]
    return AttentionDistances(
        {
            "distance": distance,
            "layer": np.array([name for name, _ in heads]),
            "head": np.array([head for _, head in heads]),
        },
        identities(selection.images),
        setting_of(model, procedure),
        run,
    )


def setting_of(model: Model, procedure: Procedure) -> dict[str, Any]:
    """Return what is measured of a network, as JSON values."""
    return {
        "model": model.record(),
        "resolution": list(procedure.size(model.preprocessing)),
        "transform": procedure.protocol.transform,
    }


class _Listening(nn.Module):
    """Stands where a layer's attention passes, and adds its heads' distances for an image."""

    def __init__(self, layer: AttendingLayer, found: list[Tensor], network: str) -> None:
        super().__init__()
        self._layer, self._found, self._network = layer, found, network
        self.p = 0.0

    @cached_property
    def _apart(self) -> Tensor:
        return torch.from_numpy(self._layer.apart())

    def forward(self, attention: Tensor) -> Tensor:
        self._layer.check(tuple(attention.shape), self._network)
        prefix = self._layer.prefix
        own = attention[..., prefix:, prefix:].double()
        own = own / own.sum(dim=-1, keepdim=True)
        of_queries = (own * self._apart.to(own.device)).sum(dim=-1)
        self._found.append(of_queries.mean(dim=(0, 2)).cpu())
        return attention
