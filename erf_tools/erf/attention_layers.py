"""Which layers of timm's transformers attend, and where the tokens lie that they attend to."""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, prod
from typing import Any

import numpy as np
from timm.layers.attention import Attention, AttentionRope
from timm.models import beit, eva, swin_transformer, swin_transformer_v2, vision_transformer_relpos
from torch import nn

from erf_tools.errors import UsageError

#: Layers whose tokens are all patches of the image, behind those that are none.
_OF_ALL_PATCHES = (
    Attention,
    AttentionRope,
    beit.Attention,
    eva.EvaAttention,
    vision_transformer_relpos.RelPosAttention,
)
#: Layers whose tokens are those of a window.
_IN_WINDOWS = (swin_transformer.WindowAttention, swin_transformer_v2.WindowAttention)


@dataclass(frozen=True)
class AttendingLayer:
    """A layer, and the grid of tokens that its attention is over.

    Attributes:
        path: of the layer in the network.
        module: the layer; its attention, after the softmax, passes its ``attn_drop``.
        grid: rows and columns of tokens that attend to each other.
        pitch: from token to token, in pixels, (y, x).
        prefix: tokens before these that are no patches.
        grids: how many such grids there are in an image.
    """

    path: str
    module: nn.Module
    grid: tuple[int, int]
    pitch: tuple[float, float]
    prefix: int = 0
    grids: int = 1

    def apart(self) -> np.ndarray:
        """Return the distances between the centres of tokens, in pixels, ``[tokens, tokens]``."""
        places = np.indices(self.grid).reshape(2, -1).T * self.pitch
        return np.linalg.norm(places[:, None] - places[None], axis=-1)

    def check(self, attention: tuple[int, ...], network: str) -> None:
        """Refuse attention ``[grids, heads, queries, keys]`` that is not over these tokens.

        Raises:
            UsageError: it is not, as where tokens are pooled, or windows reach into padding.
        """
        tokens = self.prefix + prod(self.grid)
        if attention[0] != self.grids or attention[2:] != (tokens, tokens):
            raise not_its_patches(network, self.path)


def not_its_patches(network: str, path: str) -> UsageError:
    """Return what is said of a layer that attends to padding, or to pooled tokens."""
    return UsageError(
        f"{network}: {path} attends to other than the image's patches, as to padding; leave "
        "--resolution out, choose one that needs no padding, or choose another network"
    )


def attending_layers(network: nn.Module, name: str, size: tuple[int, int]) -> list[AttendingLayer]:
    """Return the attending layers of a network, in its order.

    Args:
        network: the network.
        name: what to call it.
        size: height and width of its images, in pixels.

    Raises:
        UsageError: it has none, or others too, of which nothing is known.
    """
    found: list[AttendingLayer] = []
    others = set()
    patch: Any = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    for path, module in network.named_modules():
        if type(module) in _IN_WINDOWS:
            block = network.get_submodule(path.rpartition(".")[0])
            found.append(_in_windows(path, module, block, size))
            steps = zip(found[-1].pitch, patch or (1, 1), strict=True)
            if not all(_is_doubled(pitch / side) for pitch, side in steps):
                raise not_its_patches(name, path)
        elif type(module) in _OF_ALL_PATCHES and patch and hasattr(network, "num_prefix_tokens"):
            found.append(_of_all_patches(path, module, network, size))
            if not _tiled(network.patch_embed, found[-1], size):
                raise not_its_patches(name, path)
        elif type(module).__name__.endswith("Attention"):
            others.add(type(module).__name__)
    if not found:
        raise UsageError(
            f"{name} has no attention over patches that timm lays open; choose a transformer as "
            "vit_small_patch16_224 or swin_tiny_patch4_window7_224 is"
        )
    if others:
        raise UsageError(
            f"{name} has layers of other attention too ({', '.join(sorted(others))}), of which no "
            "distances are known; choose one as vit_small_patch16_224 is"
        )
    return found


def _of_all_patches(
    path: str, module: nn.Module, network: Any, size: tuple[int, int]
) -> AttendingLayer:
    patches = network.patch_embed
    steps = zip(patches.patch_size, _of_stem(patches), strict=True)
    pitch = tuple(side * ratio for side, ratio in steps)
    rows, columns = (length // side for length, side in zip(size, pitch, strict=True))
    return AttendingLayer(path, module, (rows, columns), pitch, int(network.num_prefix_tokens))


def _of_stem(patches: Any) -> tuple[int, int]:
    """Return pixels for each place of what is cut into patches: a map of a stem, in hybrids."""
    down, across = getattr(patches, "feature_ratio", (1, 1))
    return down, across


def _tiled(patches: Any, layer: AttendingLayer, size: tuple[int, int]) -> bool:
    """Tell whether patches cover the image and no more.

    timm divides the image's side by that of a stem's map, which stems have padded where it is not
    a power of two.
    """
    sides = zip(layer.grid, layer.pitch, size, strict=True)
    covered = all(count * side == length for count, side, length in sides)
    return covered and all(map(_is_doubled, _of_stem(patches)))


def _is_doubled(ratio: float) -> bool:
    """Tell whether a ratio is 1, 2, 4 and so on: stages that pad what they merge are off these."""
    return ratio >= 1 and frexp(ratio)[0] == 0.5


def _in_windows(path: str, module: Any, block: Any, size: tuple[int, int]) -> AttendingLayer:
    """Return a layer of Swin's; what its shift brings into a window from afar is masked."""
    rows, columns = block.input_resolution
    height, width = module.window_size
    return AttendingLayer(
        path,
        module,
        (height, width),
        (size[0] / rows, size[1] / columns),
        grids=rows * columns // (height * width),
    )
