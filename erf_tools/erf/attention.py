"""Mean attention distance: how far apart tokens are that attend to each other, in pixels.

After Dosovitskiy et al. 2021 and Raghu et al. 2021: the attention-weighted Euclidean distance
between the centres of a query's and its keys' patches, for each head of each layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from timm.layers.attention import Attention
from torch import Tensor, nn
from tqdm import tqdm

from erf_tools.erf.attention_distances import AttentionDistances
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.images import PixelStore, Selection
from erf_tools.kernels.devices import (
    choose_device,
    copy_on_device,
    device_name,
    floating_type,
    normalise,
)
from erf_tools.models.failures import explained
from erf_tools.models.model import Model
from erf_tools.provenance import versions


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
        model: a plain transformer of timm's, whose layers are ``timm.layers.Attention``.
        selection: the images.
        procedure: resolution and transform; nothing else of it counts.
        device: see :func:`erf_tools.effective_receptive_field`.
        progress: show a progress bar (in a terminal only).
        store: keeps the images that are made ready, for the next network.

    Raises:
        UsageError: the network has no such layers, or not all its tokens lie on one grid.
        ErfToolsError: the network failed, or its attention is not finite.
    """
    size = procedure.size(model.preprocessing)
    view, own = procedure.view(model.preprocessing), model.preprocessing
    target = choose_device(device, model.module)
    found: dict[str, list[Tensor]] = {}
    with explained(model.name, model.module, size), copy_on_device(model.module, target) as network:
        _listen(network, model.name, size, target, found)
        pixels = (store or PixelStore(0)).decode(selection.images, view)
        shown = tqdm(
            pixels,
            total=len(selection),
            desc=model.name,
            unit="image",
            disable=None if progress else True,
        )
        for image in shown:
            inputs = normalise(np.stack([image]), own.mean, own.std, target, floating_type(network))
            with torch.no_grad():
                network(inputs)
    distance = np.concatenate([torch.stack(of).numpy() for of in found.values()], axis=1)
    if not np.isfinite(distance).all():
        raise ErfToolsError(
            f"{model.name}: its attention is not finite; see whether its weights are"
        )
    heads = [(name, head) for name, (first, *_) in found.items() for head in range(len(first))]
    return AttentionDistances(
        {
            "distance": distance,
            "layer": np.array([name for name, _ in heads]),
            "head": np.array([head for _, head in heads]),
        },
        [(image.name, image.sha256) for image in selection.images],
        setting_of(model, procedure),
        {"images": selection.record(), "device": device_name(target), "versions": versions()},
    )


def setting_of(model: Model, procedure: Procedure) -> dict[str, Any]:
    """Return what is measured of a network, as JSON values."""
    return {
        "model": model.record(),
        "resolution": list(procedure.size(model.preprocessing)),
        "transform": procedure.protocol.transform,
    }


def _listen(
    network: nn.Module,
    name: str,
    size: tuple[int, int],
    device: torch.device,
    found: dict[str, list[Tensor]],
) -> None:
    """Have each layer add its heads' distances for each image ``[heads]`` to what is found."""
    declared: Any = network
    layers = [(path, each) for path, each in network.named_modules() if type(each) is Attention]
    known = hasattr(network, "patch_embed") and hasattr(network, "num_prefix_tokens")
    if not layers or not known:
        raise UsageError(
            f"{name} has no attention over all patches that timm lays open; choose one of timm's "
            "plain transformers, as vit_small_patch16_224 is"
        )
    others = {type(each).__name__ for each in network.modules()} - {Attention.__name__}
    if unknown := sorted(each for each in others if each.endswith("Attention")):
        raise UsageError(
            f"{name} has layers of other attention too ({', '.join(unknown)}), of which no "
            "distances are known; choose a plain one, as vit_small_patch16_224 is"
        )
    patch = tuple(declared.patch_embed.patch_size)
    grid = tuple(length // side for length, side in zip(size, patch, strict=True))
    apart = _apart(grid, patch).to(device)
    for path, layer in layers:
        layer.fused_attn = False  # or the weights are never there
        prefix = int(declared.num_prefix_tokens)
        layer.attn_drop = _Listening(path, apart, prefix, found.setdefault(path, []), name)


class _Listening(nn.Module):
    """Stands where a layer's attention passes, and keeps its distances."""

    def __init__(
        self, name: str, apart: Tensor, prefix: int, found: list[Tensor], network: str
    ) -> None:
        super().__init__()
        self._name, self._apart, self._prefix = name, apart, prefix
        self._found, self._network = found, network
        self.p = 0.0

    def forward(self, attention: Tensor) -> Tensor:
        prefix = self._prefix
        tokens = prefix + len(self._apart)
        if attention.shape[-2:] != (tokens, tokens):
            raise UsageError(f"{self._network}: {self._name} attends to other than all patches")
        own = attention[..., prefix:, prefix:].double()
        own = own / own.sum(dim=-1, keepdim=True)
        distances = (own * self._apart).sum(dim=-1).mean(dim=-1).cpu()
        self._found += list(distances)
        return attention


def _apart(grid: tuple[int, ...], patch: tuple[int, ...]) -> Tensor:
    """Return the distances between the centres of patches, in pixels, ``[patches, patches]``."""
    rows, columns = np.indices(grid)
    places = np.stack([rows.ravel() * patch[0], columns.ravel() * patch[1]], axis=1)
    return torch.from_numpy(np.linalg.norm(places[:, None] - places[None], axis=-1))
