"""How images are prepared, against what the libraries of the networks do with them."""

from __future__ import annotations

from math import floor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.models.libraries import open_clip_networks, torchvision_networks
from erf_tools.models.libraries.image_processors import what_it_does
from erf_tools.models.loading import load_model, own_preprocessing
from erf_tools.models.model import declared_preprocessing
from erf_tools.models.names import resolve
from erf_tools.preprocessing import Preprocessing, crop_fraction, evaluation_view

transformers = pytest.importorskip("transformers", reason="needs the extra transformers")
open_clip = pytest.importorskip("open_clip", reason="needs the extra clip")

SIZES = [(224, 224), (300, 201), (333, 500), (5, 900)]


def photograph(width: int, height: int) -> Image.Image:
    """Return an image as smooth as photographs are, with something everywhere in it."""
    colors = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(colors).resize((width, height), Image.Resampling.BICUBIC)


def prepared(image: Image.Image, own: Preprocessing) -> np.ndarray:
    """Return what a network is given of an image, ``[3, height, width]``."""
    pixels = np.asarray(evaluation_view(image, own), dtype=np.float64) / 255
    return ((pixels - own.mean) / own.std).transpose(2, 0, 1)


def _kinds_of_timm() -> dict[str, str]:
    """Return a network for each way in which timm's pretrained networks want their images."""
    found: dict[str, str] = {}
    for name in timm.list_models(pretrained=True):
        cfg = get_pretrained_cfg(name)
        height, width = cfg.input_size[1:]
        if height != width:  # which is not a square, as networks are given here
            continue
        cut = "wider" if cfg.crop_pct > 1 else "cut" if cfg.crop_pct < 1 else "whole"
        found.setdefault(f"{cfg.crop_mode}, {cut}, {cfg.interpolation}", name)
    return found


KINDS = _kinds_of_timm()


def test_there_are_all_kinds_of_timm() -> None:
    assert {kind.split(",")[0] for kind in KINDS} == {"center", "squash", "border"}
    assert {kind.split(", ")[1] for kind in KINDS} == {"cut", "whole", "wider"}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_timms_own_transform(kind: str, size: tuple[int, int]) -> None:
    cfg = get_pretrained_cfg(KINDS[kind]).to_dict()
    transform = create_transform(**resolve_data_config(pretrained_cfg=cfg), is_training=False)
    network: Any = SimpleNamespace(pretrained_cfg=cfg)
    image = photograph(*size)
    found = prepared(image, declared_preprocessing(network))
    np.testing.assert_allclose(found, transform(image).numpy(), atol=1e-5)


def test_a_crop_mode_that_is_not_known_is_refused() -> None:
    cfg = get_pretrained_cfg("resnet18").to_dict() | {"crop_mode": "spiral"}
    network: Any = SimpleNamespace(pretrained_cfg=cfg)
    with pytest.raises(UsageError, match="is 'spiral', which is none of center, squash, border"):
        declared_preprocessing(network)


def test_a_network_of_timm_that_warps_is_loaded_so() -> None:
    assert load_model("vit_tiny_patch16_224", "random").preprocessing.resize == "short"
    assert own_preprocessing("vit_base_patch16_clip_384.openai_ft_in12k_in1k").resize == "both"


def _kinds_of_torchvision() -> dict[str, Any]:
    found = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(name):
            known = weights.transforms()
            if hasattr(known, "crop_size"):
                kind = (*known.crop_size, *known.resize_size, known.interpolation.value)
                found.setdefault(" ".join(map(str, kind)), known)
    return found


TORCHVISIONS = _kinds_of_torchvision()


@pytest.mark.parametrize("kind", TORCHVISIONS)
def test_it_is_torchvisions_own_transform(kind: str) -> None:
    own = torchvision_networks._preprocessing(TORCHVISIONS[kind])
    image = photograph(333, 500)
    expected = TORCHVISIONS[kind](image).numpy()
    np.testing.assert_allclose(prepared(image, own), expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("fill", [0, 127])
def test_it_is_open_clips_own_transform(mode: str, fill: int) -> None:
    cfg = open_clip.transform.PreprocessCfg(resize_mode=mode, fill_color=fill)
    clip = SimpleNamespace(visual=SimpleNamespace(preprocess_cfg=vars(cfg)))
    own = open_clip_networks._preprocessing(clip, resolve("open_clip:ViT-B-32"))
    image = photograph(333, 500)
    expected = open_clip.transform.image_transform_v2(cfg, is_train=False)(image).numpy()
    np.testing.assert_allclose(prepared(image, own), expected, atol=1e-5)


#: Processors of networks that are measured here, with choices that change the way.
PROCESSORS: dict[str, dict[str, Any]] = {
    "Beit": {},
    "Bit": {},
    "CLIP": {},
    "ConvNext": {},  # warps from 384 on
    "ConvNext at 224": {"size": {"shortest_edge": 224}, "crop_pct": 0.875},
    "DINOv3ViT": {},
    "DeiT": {},  # warps, then cuts
    "EfficientNet": {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "Levit": {},  # enlarges before it cuts
    "MobileNetV2": {},
    "MobileViT": {},  # blue, green and red, as they are
    "PoolFormer": {},
    "Pvt": {},
    "Segformer": {},
    "Siglip": {},
    "ViT": {},
    "ViT without a norm": {"do_normalize": False},
    "ViT without a scale": {"do_rescale": False, "do_normalize": False},
}


# 334 and 500: what is left beside the middle is no even number of pixels.
@pytest.mark.parametrize("size", [(333, 500), (500, 375), (334, 500), (500, 334), (1000, 120)])
@pytest.mark.parametrize("kind", PROCESSORS)
def test_it_is_the_image_processor(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    processor = getattr(transformers, f"{kind.split()[0]}ImageProcessor")(**PROCESSORS[kind])
    network = transformers.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    network.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    own = own_preprocessing(f"transformers:{tmp_path}")
    image = photograph(*size)
    expected = processor(image, return_tensors="pt")["pixel_values"][0].numpy()
    if kind == "MobileViT":
        expected = expected[::-1]
    # Resizing has several arithmetics: with and without rounding to whole levels.
    level = 1 / (255 * min(own.std))
    np.testing.assert_allclose(prepared(image, own), expected, atol=2.01 * level)
    assert np.abs(prepared(image, own) - expected).mean() < 0.3 * level


def test_a_network_of_blue_green_and_red_is_given_them(tmp_path: Path) -> None:
    network = transformers.MobileViTModel(
        transformers.MobileViTConfig(
            hidden_sizes=[16, 16, 16], neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16], image_size=64,
            intermediate_size=16, num_attention_heads=2,
        )
    ).eval()  # fmt: skip
    # transformers keeps torch's own initialisations from weights that it has initialised.
    weights = network.conv_stem.convolution.weight.data
    weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(0)))
    network.conv_stem.normalization.weight.data.fill_(1)
    network.save_pretrained(tmp_path)
    processor = transformers.MobileViTImageProcessor(
        size={"shortest_edge": 72}, crop_size={"height": 64, "width": 64}
    )
    processor.save_pretrained(tmp_path)
    model = load_model(f"transformers:{tmp_path}")
    image = photograph(120, 90)
    with torch.no_grad():
        theirs = processor(image, return_tensors="pt")["pixel_values"]
        expected, turned = network.conv_stem(theirs), network.conv_stem(theirs.flip(1))
        stem: list[torch.Tensor] = []
        model.module.conv_stem.register_forward_hook(lambda *call: stem.append(call[-1]))
        ours = torch.tensor(prepared(image, model.preprocessing))[None].float()
        model.module(ours)
        model.module(pixel_values=ours)
    # Their processor rounds a few pixels to the next level.
    torch.testing.assert_close(stem[0], expected, atol=0.02, rtol=0)
    assert (turned - expected).abs().mean() > 0.2
    assert torch.equal(stem[1], stem[0])
    # A network of one channel has no order of colours: its luminance is that of the image.
    gray = load_model(f"transformers:{tmp_path}", "random", channels=1)
    seen: list[torch.Tensor] = []
    gray.module.conv_stem.register_forward_pre_hook(lambda *call: seen.append(call[-1][0]))
    colors = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        gray.module(colors)
    luminance = torch.einsum("nchw,c->nhw", colors, torch.tensor([0.299, 0.587, 0.114]))
    torch.testing.assert_close(seen[0][:, 0], luminance)


class Mirroring:
    """Makes an image of the right size, which is turned round."""

    resample, image_mean, image_std = Image.Resampling.BICUBIC, [0.0] * 3, [1.0] * 3

    def __call__(self, image: Image.Image, **_choices: object) -> dict[str, list[np.ndarray]]:
        pixels = np.asarray(image.resize((64, 64)), dtype=np.float64)[:, ::-1] / 255
        return {"pixel_values": [pixels.transpose(2, 0, 1)]}


def test_images_that_are_no_squares_are_warped_to_one() -> None:
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 192}, resample=2
    )
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = Preprocessing(224, mean, std, "bilinear", crop_fraction=1.0, resize="both")
    assert what_it_does(processor, "net") == (expected, False)


class Gray:
    """Makes the luminance of an image, normalised."""

    def __call__(self, image: Image.Image, **_choices: object) -> dict[str, np.ndarray]:
        pixels = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR).convert("L"))
        return {"pixel_values": ((pixels / 255 - 0.25) / 0.5)[None, None]}


def test_a_single_channel_is_the_luminance() -> None:
    expected = Preprocessing(64, (0.25,) * 3, (0.5,) * 3, "bilinear", 1.0, "both", middle="below")
    assert what_it_does(Gray(), "net") == (expected, False)


def test_a_network_of_timm_in_transformers_has_timms_own_transform(tmp_path: Path) -> None:
    """Its processor cuts the middle as timm does, and says nothing of how it resizes."""
    config = transformers.TimmWrapperConfig(architecture="resnet18", pretrained=False)
    cfg = get_pretrained_cfg("resnet18.tv_in1k").to_dict()
    config.pretrained_cfg = {key: value for key, value in cfg.items() if value is not None}
    transformers.TimmWrapperForImageClassification(config).save_pretrained(tmp_path)
    model = load_model(f"transformers:{tmp_path}")
    network: Any = SimpleNamespace(pretrained_cfg=cfg)
    assert model.preprocessing == declared_preprocessing(network)
    with torch.no_grad():
        assert model.module(torch.zeros(1, 3, 64, 64)).logits.shape == (1, config.num_labels)


class Blank:
    """Makes the same of all images."""

    def __call__(self, _image: Image.Image, **_choices: object) -> dict[str, np.ndarray]:
        return {"pixel_values": np.zeros((1, 3, 64, 64))}


@pytest.mark.parametrize(
    ("processor", "said"),
    [
        (transformers.Siglip2ImageProcessor(), "makes no images of one or three channels"),
        (Mirroring(), "resizes and cuts images in a way that is not known here"),
        *(
            (
                getattr(transformers, f"{kind}ImageProcessor")(**choices),
                "resizes and cuts images in a way that is not known here",
            )
            for kind, choices in (
                ("Perceiver", {}),  # cuts, then resizes
                ("PPLCNet", {}),  # rounds the long side
                ("CLIP", {"size": {"shortest_edge": 224, "longest_edge": 280}}),
                ("CLIP", {"size": {"height": 256, "width": 341}}),
                ("CLIP", {"size": {"max_height": 224, "max_width": 224}}),
                ("CLIP", {"do_resize": False}),
                ("SuperPoint", {"size": {"height": 224, "width": 224}, "do_grayscale": True}),
            )
        ),
        (transformers.TextNetImageProcessor(), "makes images of several sizes"),
        (transformers.CLIPImageProcessor(resample=9), "cannot be used"),
        (Blank(), "makes the same of black and of white"),
    ],
)
def test_what_does_something_else_is_refused(processor: Any, said: str) -> None:
    with pytest.raises(ErfToolsError, match=said):
        what_it_does(processor, "net")


def test_a_fraction_gives_back_its_side() -> None:
    """Division loses pixels: 16 / (16 / 93) is less than 93."""
    for size in range(16, 600, 7):
        for side in range(size // 2, 700):
            assert floor(size / crop_fraction(size, side)) == side


@pytest.mark.parametrize(("width", "height"), [(100, 75), (75, 101), (64, 64)])
def test_what_is_missing_around_an_image_is_filled(width: int, height: int) -> None:
    """The long side becomes 64 pixels; what is left is even on both sides, or one more behind."""
    own = Preprocessing(64, crop_fraction=1.0, resize="long", fill=(7, 8, 9))
    view = np.asarray(evaluation_view(Image.new("RGB", (width, height), "white"), own))
    inside = (view == 255).all(axis=2)
    assert (view[~inside] == (7, 8, 9)).all()
    shape = tuple(round(side * 64 / max(width, height)) for side in (height, width))
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert (len(rows), len(columns)) == shape
    assert rows[0] == (64 - shape[0]) // 2
    assert columns[0] == (64 - shape[1]) // 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0}, {"mean": (0.5,)}, {"mean": (0.5, 0.5, np.nan)}, {"std": (0.5, 0.0, 0.5)},
        {"std": (0.5, np.inf, 0.5)}, {"interpolation": "random"}, {"crop_fraction": 0.0},
        {"crop_fraction": None}, {"resize": "longest"}, {"middle": "up"}, {"size": 48.5},
        {"size": "48"}, {"size": True}, {"mean": "abc"}, {"std": None}, {"interpolation": 3},
        {"fill": (300, 0, 0)}, {"fill": (0, 0)},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_done_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"this is no preprocessing: {next(iter(wrong))}"):
        Preprocessing(**wrong)


def test_lists_are_taken_as_tuples() -> None:
    found = Preprocessing(mean=[0.5] * 3, std=[0.5] * 3, fill=[1, 2, 3])  # type: ignore[arg-type]
    own = Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, fill=(1, 2, 3))  # type: ignore[arg-type]
    assert found == own
    assert hash(found) == hash(own)


def test_images_that_are_not_square_are_refused_unless_the_network_sees_to_it() -> None:
    cfg = get_pretrained_cfg("resnet18").to_dict() | {"input_size": (3, 48, 96)}
    network: Any = SimpleNamespace(pretrained_cfg=cfg)
    with pytest.raises(UsageError, match="wants images of 48x96 pixels"):
        declared_preprocessing(network)
    cfg["fixed_input_size"] = True
    assert declared_preprocessing(network).size == 96


@pytest.mark.parametrize("wrong", [{"mean": None}, {"mean": (0.5,)}, {"crop_pct": "much"}], ids=str)
def test_a_configuration_that_says_nothing_is_refused(wrong: dict[str, Any]) -> None:
    network: Any = SimpleNamespace(pretrained_cfg=get_pretrained_cfg("resnet18").to_dict() | wrong)
    with pytest.raises(UsageError, match="says not how it wants its images"):
        declared_preprocessing(network)
