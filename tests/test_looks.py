"""Which network a state dict looks like, tried on the libraries' own networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from checkpoint_states import NAME, prefixed, save, trained
from torch import nn

from erf_tools.errors import ErfToolsError
from erf_tools.models.families import FAMILIES
from erf_tools.models.loading import load_model
from erf_tools.models.looks import look_of


def built(name: str) -> nn.Module:
    """A network of timm or torchvision on torch's meta device: names and shapes."""
    library, _, there = name.rpartition(":")
    with torch.device("meta"):
        if library == "torchvision":
            options = {} if hasattr(torchvision.models, there) else {"weights_backbone": None}
            network: nn.Module = torchvision.models.get_model(there, weights=None, **options)
        else:
            network = timm.create_model(there)
    return network


MEMBERS = [
    member
    for family in FAMILIES
    for member in family.members.values()
    if not member.startswith(("transformers:", "replknet"))
]


@pytest.mark.parametrize("name", MEMBERS)
def test_members_are_told_by_their_own_names(name: str) -> None:
    look = look_of(built(name).state_dict())
    assert look is not None
    assert look.member == name


@pytest.mark.parametrize("name", ["replknet3", "replknet31b"])
def test_networks_that_are_built_here(name: str) -> None:
    from erf_tools.models.loading import without_values

    look = look_of(without_values(name, None).state_dict())
    assert look is not None
    assert (look.family.name, look.member) == ("RepLKNet", name)


OTHERS = {
    "resnetv2_50": "ResNet V2",
    "convnextv2_atto": "ConvNeXt V2",
    "swinv2_tiny_window8_256": "Swin V2",
    "beitv2_base_patch16_224": "BEiT",
    "eva02_tiny_patch14_224": "EVA",
    "vit_small_patch16_dinov3": "DINOv3",
    "mixer_s16_224": "MLP-Mixer",
    "cait_xxs24_224": "CaiT",
    "xcit_nano_12_p16_224": "XCiT",
    "hiera_tiny_224": "Hiera",
    "edgenext_xx_small": "EdgeNeXt",
    "mobilenetv3_small_100": "EfficientNet or MobileNet",
    "regnetx_002": "RegNet",
    "vgg11": "VGG",
    "inception_v3": "Inception V3",
    "res2net50_26w_4s": "Res2Net",
    "resnest14d": "ResNeSt",
    "hrnet_w18_small": "HRNet",
    "maxvit_tiny_tf_224": "MaxViT",
    "torchvision:vgg11": "VGG",
    "torchvision:efficientnet_b0": "EfficientNet",
    "torchvision:mobilenet_v2": "MobileNetV2",
    "torchvision:mobilenet_v3_small": "MobileNetV3",
    "torchvision:swin_v2_t": "Swin V2",
    "torchvision:maxvit_t": "MaxViT",
    "torchvision:deeplabv3_resnet50": "DeepLabV3",
    "torchvision:fcn_resnet50": "FCN",
    "torchvision:lraspp_mobilenet_v3_large": "LR-ASPP",
    "torchvision:retinanet_resnet50_fpn": "RetinaNet or FCOS",
    "torchvision:fasterrcnn_resnet50_fpn": "Faster or Mask R-CNN",
    "torchvision:ssd300_vgg16": "SSD",
}


@pytest.mark.parametrize("name", OTHERS)
def test_families_are_told(name: str) -> None:
    look = look_of(built(name).state_dict())
    assert look is not None
    assert (look.family.name, look.member) == (OTHERS[name], "")
    assert (look.family.library == "torchvision") == name.startswith("torchvision:")


SHORT = {"num_hidden_layers": 1}
TRANSFORMERS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "ViT": ("ViTForImageClassification", {}, "ViT", "google/vit-base-patch16-224"),
    "ViT of other size": ("ViTModel", SHORT, "ViT", ""),
    "BEiT": ("BeitModel", SHORT, "BEiT", ""),
    "DeiT": ("DeiTModel", SHORT, "DeiT", ""),
    "DINOv2": ("Dinov2Model", {}, "DINOv2", "facebook/dinov2-base"),
    "registers": ("Dinov2WithRegistersModel", SHORT, "DINOv2 with registers", ""),
    "CLIP": ("CLIPVisionModel", SHORT, "CLIP", ""),
    "SigLIP": ("SiglipVisionModel", SHORT, "SigLIP", ""),
    "YOLOS": ("YolosForObjectDetection", SHORT, "YOLOS", ""),
    "DPT": ("DPTForDepthEstimation", {}, "DPT", ""),
    "ConvNeXt": ("ConvNextModel", {}, "ConvNeXt", "facebook/convnext-tiny-224"),
    "ConvNeXt V2": ("ConvNextV2Model", {}, "ConvNeXt V2", ""),
    "Swin": ("SwinModel", {}, "Swin", "microsoft/swin-tiny-patch4-window7-224"),
    "Swin V2": ("Swinv2Model", {"depths": [1, 1, 1, 1]}, "Swin V2", ""),
    "SegFormer": ("SegformerForSemanticSegmentation", {}, "SegFormer", ""),
    "ResNet": ("ResNetModel", {"depths": [1, 1, 1, 1]}, "ResNet", ""),
    "RegNet": ("RegNetModel", {"depths": [1, 1, 1, 1]}, "RegNet", ""),
    "MobileNetV2": ("MobileNetV2Model", {}, "MobileNetV2", ""),
    "EfficientNet": ("EfficientNetModel", {"depth_coefficient": 1.0}, "EfficientNet", ""),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_families_of_transformers_are_told(name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is missing")
    kind, options, family, member = TRANSFORMERS[name]
    network = getattr(transformers, kind)
    with torch.device("meta"):
        look = look_of(network(network.config_class(**options)).state_dict())
    assert look is not None
    assert (look.family.name, look.family.library) == (family, "transformers")
    assert look.member == (member and f"transformers:{member}")


def test_open_clips_visual_tower_is_told() -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is missing")
    tower = open_clip.transformer.VisionTransformer(32, 16, 64, 1, 2, 4.0)
    look = look_of(prefixed(tower.state_dict(), "visual."))
    assert look is not None
    assert (look.family.name, look.family.library) == ("CLIP", "open_clip")


def test_older_names_of_transformers_are_told() -> None:
    """As the files of its hub have them."""
    vit = "vit.encoder.layer.0.attention.attention.query.weight"
    keys = {"vit.embeddings.cls_token": torch.ones(1, 1, 4), vit: torch.ones(1)}
    look = look_of(keys)
    assert look is not None
    assert look.words == "ViT in the names of transformers"


@pytest.mark.parametrize(
    "state",
    [{}, {"weight": 3}, {"a\nlayer1.0.conv1.weight": 1}, {"layer4.0.bn2.weight": torch.ones(())}],
)
def test_what_looks_like_nothing(state: dict[str, Any]) -> None:
    assert look_of(state) is None


def test_a_file_of_another_network_is_named(tmp_path: Path) -> None:
    theirs = {"state_dict": prefixed(trained("resnet18").state_dict(), "model.")}
    path = save(theirs, tmp_path / "file.ckpt")
    said = r"it looks like ResNet in the names of timm or torchvision: resnet18"
    with pytest.raises(ErfToolsError, match=said + r" \(the network like ConvNeXt in the names of"):
        load_model("convnext_atto", path)
    with pytest.raises(ErfToolsError, match=r"does not fit the network.*: resnet18 \(the network"):
        load_model("resnet34", path)


def test_of_a_file_of_the_network_itself_nothing_is_said(tmp_path: Path) -> None:
    less = {k: v for k, v in trained().state_dict().items() if not k.startswith("layer3")}
    with pytest.raises(ErfToolsError) as caught:
        load_model(NAME, save(less, tmp_path / "file.pth"))
    assert "looks like" not in str(caught.value)
