"""Mean attention distance: how far apart tokens are that attend to each other, in pixels.

After Dosovitskiy et al. 2021 and Raghu et al. 2021: the attention-weighted Euclidean distance
between the centres of a query's and its keys' patches, for each head of each layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from timm.layers.attention import Attention
from torch import Tensor, nn

from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.images import Selection
from erf_tools.kernels.devices import choose_device, copy_on_device, floating_type, normalise
from erf_tools.models.failures import explained
from erf_tools.models.model import Model


def attention_distances(
    model: Model, selection: Selection, procedure: Procedure, device: str = "auto"
) -> pd.DataFrame:
    """Return a row per layer and head: ``layer``, ``head`` (from 0) and ``distance`` in pixels.

    It is the mean over images and queries. Tokens that are no patches (class, registers) are left
    out, and the attention to patches is scaled to add up to one.

    Args:
        model: a plain transformer of timm's, whose layers are ``timm.layers.Attention``.
        selection: the images.
        procedure: resolution and transform; nothing else of it counts.
        device: see :func:`erf_tools.effective_receptive_field`.

    Raises:
        UsageError: the network has no such layers, or not all its tokens lie on one grid.
        ErfToolsError: the network failed.
    """
    size = procedure.size(model.preprocessing)
    view, own = procedure.view(model.preprocessing), model.preprocessing
    target = choose_device(device, model.module)
    sums: dict[str, Tensor] = {}
    with explained(model.name, model.module, size), copy_on_device(model.module, target) as network:
        declared: Any = network
        layers = [(name, each) for name, each in network.named_modules() if type(each) is Attention]
        known = hasattr(network, "patch_embed") and hasattr(network, "num_prefix_tokens")
        if not layers or not known:
            raise UsageError(
                f"{model.name} has no attention over all patches that timm lays open; choose a ViT"
            )
        others = {type(each).__name__ for each in network.modules()} - {Attention.__name__}
        if found := sorted(name for name in others if name.endswith("Attention")):
            raise UsageError(
                f"{model.name} has layers of other attention too ({', '.join(found)}), of which no "
                "distances are known; choose a plain ViT"
            )
        patch = tuple(declared.patch_embed.patch_size)
        grid = tuple(length // side for length, side in zip(size, patch, strict=True))
        apart = _apart(grid, patch).to(target)
        for name, layer in layers:
            layer.fused_attn = False  # or the weights are never there
            layer.attn_drop = _Listening(
                name, apart, int(declared.num_prefix_tokens), sums, model.name
            )
        for image in selection.images:
            pixels = np.stack([image.pixels(view)])
            with torch.no_grad():
                network(normalise(pixels, own.mean, own.std, target, floating_type(network)))
    rows = [
        (name, head, float(distance) / len(selection))
        for name, of_heads in sums.items()
        for head, distance in enumerate(of_heads)
    ]
    return pd.DataFrame(rows, columns=["layer", "head", "distance"])


class _Listening(nn.Module):
    """Stands where a layer's attention passes, and adds up its distances."""

    def __init__(
        self, name: str, apart: Tensor, prefix: int, sums: dict[str, Tensor], network: str
    ) -> None:
        super().__init__()
        self._name, self._apart, self._prefix = name, apart, prefix
        self._sums, self._network = sums, network
        self.p = 0.0

    def forward(self, attention: Tensor) -> Tensor:
        prefix = self._prefix
        tokens = prefix + len(self._apart)
        if attention.shape[-2:] != (tokens, tokens):
            raise UsageError(f"{self._network}: {self._name} attends to other than all patches")
        own = attention[..., prefix:, prefix:].double()
        own = own / own.sum(dim=-1, keepdim=True)
        distances = (own * self._apart).sum(dim=-1).mean(dim=-1).sum(dim=0).cpu()
        before = self._sums.get(self._name)
        self._sums[self._name] = distances if before is None else before + distances
        return attention


def _apart(grid: tuple[int, ...], patch: tuple[int, ...]) -> Tensor:
    """Return the distances between the centres of patches, in pixels, ``[patches, patches]``."""
    rows, columns = np.indices(grid)
    places = np.stack([rows.ravel() * patch[0], columns.ravel() * patch[1]], axis=1)
    return torch.from_numpy(np.linalg.norm(places[:, None] - places[None], axis=-1))
