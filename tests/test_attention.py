"""Mean attention distance against a slow loop, and closed forms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from conftest import Command
from scipy.stats import sem, t
from timm.layers import HybridEmbed
from timm.layers.attention import Attention
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer

import erf_tools
from erf_tools.erf.attention import attention_distances
from erf_tools.erf.attention_distances import attention_table, layer_table, over_images
from erf_tools.erf.attention_figure import attention_figure
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.images import select
from erf_tools.kernels.devices import normalise


def small(**more: Any) -> VisionTransformer:
    torch.manual_seed(0)
    chosen = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3, **more}
    return VisionTransformer(**chosen).eval()


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
    table = attention_table([found])
    assert list(table["layer"].unique()) == ["blocks.0.attn", "blocks.1.attn"]
    np.testing.assert_allclose(table["distance"].to_numpy().reshape(2, 3), expected, rtol=1e-4)
    layers = layer_table([found])
    np.testing.assert_allclose(layers["distance"], expected.mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(layers["farthest"], expected.max(axis=1), rtol=1e-4)
    (axes,) = attention_figure([found]).axes
    drawn = axes.collections[0].get_offsets()
    np.testing.assert_allclose(drawn[:, 1], table["distance"])  # type: ignore[index]
    assert drawn[:, 0].tolist() == [1, 1, 1, 2, 2, 2]  # type: ignore[index]


def test_even_attention_is_the_mean_distance_between_patches() -> None:
    """In closed form, and with an interval of no width: every image has the same."""
    network = small()
    for block in network.blocks:
        torch.nn.init.zeros_(block.attn.qkv.weight)
    places = np.stack(np.unravel_index(np.arange(16), (4, 4)), axis=1) * 8
    expected = np.linalg.norm(places[:, None] - places[None], axis=-1).mean()
    found = attention_distances(
        erf_tools.as_model(network), select("builtin", 5), Procedure(resolution=32), "cpu"
    )
    columns = ["distance", "distance_low", "distance_high"]
    np.testing.assert_allclose(attention_table([found])[columns], expected, rtol=1e-5)


def beit_of_four_by_four() -> torch.nn.Module:
    return Beit(
        img_size=32, patch_size=8, embed_dim=12, depth=2, num_heads=3, use_rel_pos_bias=True
    )


def eva_of_four_by_four() -> torch.nn.Module:
    chosen = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return Eva(**chosen, use_rot_pos_emb=True, ref_feat_shape=(4, 4))  # type: ignore[arg-type]


@pytest.mark.parametrize("build", [beit_of_four_by_four, eva_of_four_by_four])
def test_even_attention_of_other_transformers(build: Callable[[], torch.nn.Module]) -> None:
    network = build().eval()
    even(network)
    places = np.stack(np.unravel_index(np.arange(16), (4, 4)), axis=1) * 8
    expected = np.linalg.norm(places[:, None] - places[None], axis=-1).mean()
    found = attention_distances(
        erf_tools.as_model(network), select("builtin", 1), Procedure(resolution=32), "cpu"
    )
    assert len(found.layers()) == 2
    np.testing.assert_allclose(attention_table([found])["distance"], expected, rtol=1e-5)


def even(network: torch.nn.Module) -> None:
    """Have every token attend to all tokens it can see alike."""
    for name, weight in network.named_parameters():
        if ".attn." in name and ("qkv" in name or "bias" in name or "cpb_mlp" in name):
            torch.nn.init.zeros_(weight)


def swin(
    resolution: int, kind: type[torch.nn.Module] = SwinTransformer, **more: object
) -> torch.nn.Module:
    torch.manual_seed(0)
    chosen: dict[str, object] = {
        "img_size": resolution,
        "patch_size": 4,
        "window_size": 4,
        "embed_dim": 12,
    }
    chosen |= {"depths": (2, 2), "num_heads": (3, 3), **more}
    network = kind(**chosen).eval()
    even(network)
    return network


@pytest.mark.parametrize("kind", [SwinTransformer, SwinTransformerV2])
def test_windows_are_those_of_the_image(kind: type[torch.nn.Module]) -> None:
    """Even attention in windows of 4 x 4, shifted by 2 in every second layer.

    Tokens of one window are those between the same borders, with none across the image's rim.
    """
    found = attention_distances(
        erf_tools.as_model(swin(64, kind)), select("builtin", 2), Procedure(resolution=64), "cpu"
    )
    expected = []
    for tokens, pitch, shift in [(16, 4, 0), (16, 4, 2), (8, 8, 0), (8, 8, 2)]:
        places = np.stack(np.unravel_index(np.arange(tokens**2), (tokens, tokens)), axis=1)
        window = (places - shift) // 4
        together = (window[:, None] == window[None]).all(axis=-1)
        apart = np.linalg.norm(places[:, None] - places[None], axis=-1) * pitch
        expected.append(((together * apart).sum(axis=1) / together.sum(axis=1)).mean())
    layers = layer_table([found])
    np.testing.assert_allclose(layers["distance"], expected, rtol=1e-5)
    assert layers["layer"].tolist()[1] == "layers.0.blocks.1.attn"


@pytest.mark.parametrize(("built_for", "shown"), [(40, 40), (64, 60), (64, 56), (64, 96)])
def test_windows_that_reach_into_padding_are_refused(built_for: int, shown: int) -> None:
    """Also where the padding makes the windows as many as the network was built for."""
    model = erf_tools.as_model(swin(built_for, strict_img_size=False))
    with pytest.raises(UsageError, match="attends to other than the image's patches"):
        attention_distances(model, select("builtin", 1), Procedure(resolution=shown), "cpu")


@pytest.mark.parametrize("kind", [SwinTransformer, SwinTransformerV2])
def test_tokens_that_are_merged_with_padding_are_refused(kind: type[torch.nn.Module]) -> None:
    """Of 6, 3 and 2 tokens a side, the last are 16 pixels apart, and not a half of 24."""
    three: dict[str, object] = {"depths": (2, 2, 2), "num_heads": (3, 3, 3), "window_size": 3}
    network = swin(24, kind, **three)
    assert network.layers[2].blocks[0].input_resolution == (2, 2)  # type: ignore[union-attr,index]
    with pytest.raises(UsageError, match=r"layers.2.blocks.0.attn attends to other than .* padd"):
        attention_distances(
            erf_tools.as_model(network), select("builtin", 1), Procedure(resolution=24), "cpu"
        )
    found = attention_distances(
        *(erf_tools.as_model(swin(48, kind, **three)), select("builtin", 1)),
        *(Procedure(resolution=48), "cpu"),
    )
    places = np.stack(np.unravel_index(np.arange(9), (3, 3)), axis=1) * 16
    expected = np.linalg.norm(places[:, None] - places[None], axis=-1).mean()
    np.testing.assert_allclose(layer_table([found])["distance"].iloc[-1], expected, rtol=1e-5)


def hybrid(resolution: int, patch: int) -> VisionTransformer:
    """A transformer over a map whose places are four pixels apart."""
    stem = torch.nn.Conv2d(3, 8, 3, stride=4, padding=1)
    network = small(
        img_size=resolution, patch_size=patch, embed_layer=partial(HybridEmbed, backbone=stem)
    )
    even(network)
    return network


def test_patches_of_a_stems_map_are_as_far_apart_as_they_lie_in_the_image() -> None:
    found = attention_distances(
        erf_tools.as_model(hybrid(32, 2)), select("builtin", 1), Procedure(resolution=32), "cpu"
    )
    places = np.stack(np.unravel_index(np.arange(16), (4, 4)), axis=1) * 8
    expected = np.linalg.norm(places[:, None] - places[None], axis=-1).mean()
    np.testing.assert_allclose(attention_table([found])["distance"], expected, rtol=1e-5)


@pytest.mark.parametrize("resolution", [9, 30])
def test_a_stem_that_pads_the_image_is_refused(resolution: int) -> None:
    """Of 9 pixels it makes 3 places, which are 4 pixels apart, and not 9 / 3."""
    network = hybrid(resolution, 1)
    with pytest.raises(UsageError, match=r"blocks.0.attn attends to other than .* padding"):
        attention_distances(
            *(erf_tools.as_model(network), select("builtin", 1)),
            *(Procedure(resolution=resolution), "cpu"),
        )


class Idle(torch.nn.Module):
    """A network with a layer that no image passes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small()
        self.patch_embed, self.num_prefix_tokens = self.network.patch_embed, 1
        self.idle = Attention(12, num_heads=3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        given: torch.Tensor = self.network(images)
        return given


def test_layers_that_images_do_not_pass_once_are_refused() -> None:
    with pytest.raises(UsageError, match="takes idle 0 times for 2 images"):
        attention_distances(
            erf_tools.as_model(Idle().eval()), select("builtin", 2), Procedure(resolution=32), "cpu"
        )


def test_no_distance_is_below_zero() -> None:
    assert over_images(np.array([0.1, 0.1, 0.1, 0.1, 9.0])).low == 0


def test_intervals_are_students() -> None:
    values = 9 + np.random.default_rng(0).normal(size=8)
    found = over_images(values)
    low, high = t.interval(0.95, 7, values.mean(), sem(values))
    np.testing.assert_allclose([found.low, found.high], [low, high])
    assert np.isnan(over_images(values[:1]).low)


def test_attention_that_is_not_finite_is_refused() -> None:
    network = small()
    torch.nn.init.normal_(network.blocks[1].attn.qkv.weight, std=1e30)
    with pytest.raises(ErfToolsError, match="attention to patches is not finite"):
        attention_distances(
            erf_tools.as_model(network), select("builtin", 1), Procedure(resolution=32), "cpu"
        )


FACTORY = """
import torch
from timm.models.vision_transformer import VisionTransformer

def build(depth=2):
    torch.manual_seed(0)
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=12, depth=depth, num_heads=3)
"""


def test_the_command_writes_a_table_and_a_figure_and_uses_them_again(
    tmp_path: Path, run_command: Command
) -> None:
    (tmp_path / "own.py").write_text(FACTORY)
    model, output = f"{tmp_path / 'own.py'}:build", tmp_path / "results"
    asked = ("attention", "--model", model, "--num-images", "2", "--output", str(output))
    for again in (False, True):
        code, out, error = run_command(*asked, "--resolution", "32")
        assert code == 0, error
        assert ("measured before" in error) == again
    assert "Farthest head" in out
    assert "Attention is not influence" in out
    table = pd.read_csv(output / "attention.csv")
    assert len(table) == 6
    assert (output / "attention.png").is_file()
    assert "blocks.1.attn" in (output / "attention.md").read_text()
    code, _, error = run_command(*asked, "--resolution", "32", "--transform", "warp")
    assert code == 2
    assert "transform (model there, warp now)" in error
    code, _, error = run_command(*asked[:2], "resnet10t", "--weights", "random", *asked[3:])
    assert code == 2
    assert "choose a transformer as vit_small_patch16_224 or swin" in error


def test_a_network_without_attention_is_refused() -> None:
    model = erf_tools.as_model(timm.create_model("resnet10t"))
    with pytest.raises(UsageError, match="choose a transformer as vit_small_patch16_224 or swin"):
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
