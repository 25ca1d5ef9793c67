"""Mean attention distance against a slow loop, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

import erf_tools
from erf_tools.erf.attention import attention_distances
from erf_tools.erf.attention_figure import attention_figure
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.images import select
from erf_tools.kernels.devices import normalise


def small(**more: int) -> VisionTransformer:
    torch.manual_seed(0)
    chosen = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3, **more}
    return VisionTransformer(**chosen).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", [1, 3])
def test_distances_are_those_of_a_slow_loop(prefix: int) -> None:
    network = small(reg_tokens=prefix - 1)
    for block in network.blocks:  # or all attention is nearly even
        torch.nn.init.normal_(block.attn.qkv.weight, std=1.0)
    model, procedure = erf_tools.as_model(network), Procedure(resolution=32)
    selection = select("builtin", 2)
    found = attention_distances(model, selection, procedure, "cpu")
    expected = np.zeros((2, 3))
    for image in selection.images:
        own = model.preprocessing
        pixels = np.stack([image.pixels(procedure.view(own))])
        tokens = normalise(pixels, own.mean, own.std, torch.device("cpu"), torch.float32)
        with torch.no_grad():
            tokens = network.norm_pre(network._pos_embed(network.patch_embed(tokens)))
            for depth, block in enumerate(network.blocks):
                qkv = block.attn.qkv(block.norm1(tokens))[0].reshape(-1, 3, 3, 4).numpy()
                for head in range(3):
                    query, key = qkv[:, 0, head], qkv[:, 1, head]
                    for one in range(16):
                        weights = np.exp(
                            [query[prefix + one] @ key[prefix + other] / 2 for other in range(16)]
                        )
                        away = [
                            8 * np.hypot(one // 4 - other // 4, one % 4 - other % 4)
                            for other in range(16)
                        ]
                        expected[depth, head] += weights @ away / weights.sum() / 16 / 2
                tokens = block(tokens)
    assert list(found["layer"].unique()) == ["blocks.0.attn", "blocks.1.attn"]
    np.testing.assert_allclose(found["distance"].to_numpy().reshape(2, 3), expected, rtol=1e-4)
    (axes,) = attention_figure(found, "small").axes
    np.testing.assert_allclose(axes.collections[0].get_offsets()[:, 1], found["distance"])  # type: ignore[index]


def test_a_network_without_global_attention_is_refused() -> None:
    model = erf_tools.as_model(timm.create_model("resnet10t"))
    with pytest.raises(UsageError, match="choose a ViT"):
        attention_distances(model, select("builtin", 1), Procedure(resolution=32), "cpu")


def test_layers_of_other_attention_are_not_left_out_without_a_word() -> None:
    class OtherAttention(torch.nn.Identity):
        """Attention whose weights nobody sees."""

    network = small()
    network.blocks[1].attn = OtherAttention()
    with pytest.raises(UsageError, match=r"other attention too \(OtherAttention\)"):
        attention_distances(
            erf_tools.as_model(network), select("builtin", 1), Procedure(resolution=32), "cpu"
        )
