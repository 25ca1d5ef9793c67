"""Families of networks, and how the names in their state dicts tell them: as data.

Libraries name the layers of one family in different ways; each way is a row of :data:`FAMILIES`.
:mod:`erf_tools.models.looks` compares them with a state dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class NamedFamily:
    """One family of networks, as one library names its layers.

    Attributes:
        name: the family.
        library: whose names these are.
        patterns: regular expressions; each is that of a key, without what may stand before it.
        blocks: of a key of each block, with a group for the number of its stage and one for that of
            the block, or one for the latter alone.
        sizes: keys and axes of tensors whose lengths tell the members apart.
        members: names as they are typed, by the numbers of blocks and these lengths.
    """

    name: str
    library: str
    patterns: tuple[str, ...]
    blocks: str = ""
    sizes: tuple[tuple[str, int], ...] = ()
    members: Mapping[tuple[int, ...], str] = field(default_factory=dict)


_TIMM, _TORCHVISION, _TRANSFORMERS = "timm", "torchvision", "transformers"
_BOTH = "timm or torchvision"

_RESNET = NamedFamily(
    "ResNet",
    _BOTH,
    (r"layer1\.0\.conv1\.weight", r"layer1\.0\.bn1\.weight", r"layer4\.0\.bn2\.weight"),
    blocks=r"layer(\d)\.(\d+)\.conv1\.weight",
    sizes=(
        (r"layer4\.0\.downsample\.1\.weight", 0),
        (r"layer1\.0\.conv2\.weight", 0),
        (r"layer1\.0\.conv2\.weight", 1),
        (r"conv1\.0\.weight", 0),  # of a stem of several convolutions
        (r"layer1\.0\.se\.fc1\.weight", 0),
    ),
    members={
        (2, 2, 2, 2, 512, 64, 64, 0, 0): "resnet18",
        (3, 4, 6, 3, 512, 64, 64, 0, 0): "resnet34",
        (3, 4, 6, 3, 2048, 64, 64, 0, 0): "resnet50",
        (3, 4, 6, 3, 2048, 64, 64, 32, 0): "resnet50d",
        (3, 4, 6, 3, 2048, 64, 64, 0, 16): "seresnet50",
        (3, 4, 6, 3, 2048, 128, 128, 0, 0): "wide_resnet50_2",
        (3, 4, 6, 3, 2048, 128, 4, 0, 0): "resnext50_32x4d",
        (3, 4, 23, 3, 2048, 64, 64, 0, 0): "resnet101",
        (3, 8, 36, 3, 2048, 64, 64, 0, 0): "resnet152",
    },
)
_CONVNEXTS: dict[tuple[int, ...], str] = {
    (3, 3, 9, 3, 96): "tiny",
    (3, 3, 27, 3, 96): "small",
    (3, 3, 27, 3, 128): "base",
    (3, 3, 27, 3, 192): "large",
}
_SWINS: dict[tuple[int, ...], str] = {
    (2, 2, 6, 2, 96): "tiny",
    (2, 2, 18, 2, 96): "small",
    (2, 2, 18, 2, 128): "base",
}
_VITS: dict[tuple[int, ...], str] = {
    (12, 192): "tiny",
    (12, 384): "small",
    (12, 768): "base",
    (24, 1024): "large",
}


def _members(names: Mapping[tuple[int, ...], str], name: str) -> dict[tuple[int, ...], str]:
    return {sizes: name.format(size) for sizes, size in names.items()}


#: The first of which a state dict has all patterns counts: special ones come first.
FAMILIES: tuple[NamedFamily, ...] = (
    # Detection, segmentation, depth: they contain networks of the families below.
    NamedFamily("Faster or Mask R-CNN", _TORCHVISION, (r"roi_heads\.box_predictor\..+",)),
    NamedFamily("SSD", _TORCHVISION, (r"head\.regression_head\.module_list\..+",)),
    NamedFamily(
        "RetinaNet or FCOS", _TORCHVISION, (r"backbone\.fpn\..+", r"head\.regression_head\..+")
    ),
    NamedFamily("DeepLabV3", _TORCHVISION, (r"classifier\.0\.convs\.0\.0\.weight",)),
    NamedFamily("LR-ASPP", _TORCHVISION, (r"classifier\.low_classifier\.weight",)),
    NamedFamily(
        "FCN", _TORCHVISION, (r"backbone\.layer1\.0\.conv1\.weight", r"classifier\.4\.weight")
    ),
    NamedFamily("DETR", _TRANSFORMERS, (r"query_position_embeddings\.weight", r"backbone\..+")),
    NamedFamily("YOLOS", _TRANSFORMERS, (r"embeddings\.detection_tokens",)),
    NamedFamily("SAM", _TRANSFORMERS, (r"mask_decoder\.iou_token\.weight",)),
    NamedFamily("DPT", _TRANSFORMERS, (r"neck\.reassemble_stage\..+",)),
    NamedFamily("UPerNet", _TRANSFORMERS, (r"decode_head\.psp_modules\..+",)),
    # Networks of transformers; where two names stand in a pattern, the first is of older versions.
    NamedFamily(
        "SegFormer",
        _TRANSFORMERS,
        (
            r"encoder\.block\.0\.0\.attention\.self\.query\.weight"
            r"|stages\.0\.blocks\.0\.attention\.q_proj\.weight",
            r"encoder\.patch_embeddings\.0\.proj\.weight|stages\.0\.patch_embeddings\.proj\.weight",
        ),
    ),
    NamedFamily("CLIP", _TRANSFORMERS, (r"embeddings\.class_embedding",)),
    NamedFamily(
        "SigLIP",
        _TRANSFORMERS,
        (r"embeddings\.patch_embedding\.weight", r"encoder\.layers\.0\.layer_norm1\.weight"),
    ),
    NamedFamily("DINOv3", _TRANSFORMERS, (r"layer\.0\.mlp\.up_proj\.weight",)),
    NamedFamily(
        "DINOv2 with registers",
        _TRANSFORMERS,
        (r"embeddings\.register_tokens", r"encoder\.layer\.0\.layer_scale1\.lambda1"),
    ),
    NamedFamily(
        "DINOv2",
        _TRANSFORMERS,
        (r"encoder\.layer\.0\.layer_scale1\.lambda1",),
        blocks=r"encoder\.layer\.(\d+)\.norm1\.weight",
        sizes=((r"embeddings\.cls_token", 2),),
        members=_members(_VITS, "transformers:facebook/dinov2-{}"),
    ),
    NamedFamily(
        "BEiT",
        _TRANSFORMERS,
        (r"embeddings\.cls_token", r"(encoder\.layer|layers)\.0\.lambda_1"),
    ),
    NamedFamily("DeiT", _TRANSFORMERS, (r"embeddings\.distillation_token",)),
    NamedFamily(
        "ViT",
        _TRANSFORMERS,
        (
            r"embeddings\.cls_token",
            r"encoder\.layer\.0\.attention\.attention\.query\.weight"
            r"|layers\.0\.attention\.q_proj\.weight",
        ),
        blocks=r"(?:encoder\.layer|layers)\.(\d+)\.layernorm_before\.weight",
        sizes=(
            (r"embeddings\.cls_token", 2),
            (r"embeddings\.patch_embeddings\.projection\.weight", 2),
        ),
        members={
            (12, 768, 16): "transformers:google/vit-base-patch16-224",
            (24, 1024, 16): "transformers:google/vit-large-patch16-224",
        },
    ),
    NamedFamily("ConvNeXt V2", _TRANSFORMERS, (r"encoder\.stages\.0\.layers\.0\.grn\.weight",)),
    NamedFamily(
        "ConvNeXt",
        _TRANSFORMERS,
        (r"encoder\.stages\.0\.layers\.0\.dwconv\.weight",),
        blocks=r"encoder\.stages\.(\d)\.layers\.(\d+)\.dwconv\.weight",
        sizes=((r"embeddings\.patch_embeddings\.weight", 0),),
        members=_members(_CONVNEXTS, "transformers:facebook/convnext-{}-224"),
    ),
    NamedFamily(
        "Swin V2",
        _TRANSFORMERS,
        (r"encoder\.layers\.0\.blocks\.0\.attention\.(.+\.)?continuous_position_bias_mlp\..+",),
    ),
    NamedFamily(
        "Swin",
        _TRANSFORMERS,
        (r"encoder\.layers\.0\.blocks\.0\.attention\.(.+\.)?relative_position_bias_table",),
        blocks=r"encoder\.layers\.(\d)\.blocks\.(\d+)\.layernorm_before\.weight",
        sizes=((r"embeddings\.norm\.weight", 0),),
        members=_members(
            {sizes: name for sizes, name in _SWINS.items() if name != "base"},
            "transformers:microsoft/swin-{}-patch4-window7-224",
        ),
    ),
    NamedFamily(
        "RegNet", _TRANSFORMERS, (r"encoder\.stages\.0\.layers\.0\.layer\.2\.attention\.0\.weight",)
    ),
    NamedFamily(
        "ResNet", _TRANSFORMERS, (r"encoder\.stages\.0\.layers\.0\.layer\.0\.convolution\.weight",)
    ),
    NamedFamily("MobileNetV2", _TRANSFORMERS, (r"conv_stem\.first_conv\.convolution\.weight",)),
    NamedFamily("EfficientNet", _TRANSFORMERS, (r"encoder\.blocks\.0\.depthwise_conv\..+",)),
    # Networks that are built here.
    NamedFamily(
        "RepLKNet",
        "the authors",
        (r"stages\.0\.blocks\.0\.large_kernel\.lkb_(origin\.conv|reparam)\.weight",),
        sizes=(
            (r"stages\.0\.blocks\.0\.large_kernel\.lkb_(origin\.conv|reparam)\.weight", 0),
            (r"stages\.0\.blocks\.0\.large_kernel\.lkb_(origin\.conv|reparam)\.weight", 2),
        ),
        members={
            (128, 31): "replknet31b",
            (128, 13): "replknet13_120e",
            (128, 3): "replknet3",
            (192, 31): "replknet31l_22k_384",
            (256, 27): "replknetxl_320",
        },
    ),
    # Classifiers of timm and torchvision.
    NamedFamily("HRNet", _TIMM, (r"stage2\.0\.branches\.0\.0\.conv1\.weight",)),
    NamedFamily("Res2Net", _TIMM, (r"layer1\.0\.convs\.0\.weight",)),
    NamedFamily("ResNeSt", _TIMM, (r"layer1\.0\.conv2\.bn0\.weight",)),
    _RESNET,
    NamedFamily("ResNet V2", _TIMM, (r"stages\.0\.blocks\.0\.downsample\.conv\.weight",)),
    NamedFamily("ConvNeXt V2", _TIMM, (r"stages\.0\.blocks\.0\.mlp\.grn\.weight",)),
    NamedFamily("EdgeNeXt", _TIMM, (r"stages\.1\.blocks\.\d+\.xca\.qkv\.weight",)),
    NamedFamily(
        "ConvNeXt",
        _TIMM,
        (r"stages\.0\.blocks\.0\.conv_dw\.weight", r"stages\.0\.blocks\.0\.mlp\.fc1\.weight"),
        blocks=r"stages\.(\d)\.blocks\.(\d+)\.conv_dw\.weight",
        sizes=((r"stem\.0\.weight", 0), (r"stem\.0\.weight", 2)),
        members={
            (2, 2, 6, 2, 40, 4): "convnext_atto",
            **{(*sizes, 4): f"convnext_{name}" for sizes, name in _CONVNEXTS.items()},
        },
    ),
    NamedFamily("ConvNeXt", "the authors", (r"stages\.0\.0\.dwconv\.weight",)),
    NamedFamily(
        "ConvNeXt",
        _TORCHVISION,
        (r"features\.1\.0\.layer_scale",),
        blocks=r"features\.([1357])\.(\d+)\.layer_scale",
        sizes=((r"features\.0\.0\.weight", 0),),
        members=_members(_CONVNEXTS, "torchvision:convnext_{}"),
    ),
    NamedFamily("Swin V2", _TORCHVISION, (r"features\.1\.0\.attn\.cpb_mlp\.0\.weight",)),
    NamedFamily(
        "Swin",
        _TORCHVISION,
        (r"features\.1\.0\.attn\.relative_position_bias_table",),
        blocks=r"features\.([1357])\.(\d+)\.norm1\.weight",
        sizes=((r"features\.0\.0\.weight", 0),),
        members={sizes: f"torchvision:swin_{name[0]}" for sizes, name in _SWINS.items()},
    ),
    NamedFamily("Swin V2", _TIMM, (r"layers\.0\.blocks\.0\.attn\.cpb_mlp\.0\.weight",)),
    NamedFamily(
        "Swin",
        _TIMM,
        (r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table",),
        blocks=r"layers\.(\d)\.blocks\.(\d+)\.norm1\.weight",
        sizes=((r"patch_embed\.proj\.weight", 0),),
        members=_members(_SWINS, "swin_{}_patch4_window7_224"),
    ),
    NamedFamily(
        "ViT",
        _TORCHVISION,
        (r"encoder\.layers\.encoder_layer_0\.self_attention\.in_proj_weight",),
        blocks=r"encoder\.layers\.encoder_layer_(\d+)\.ln_1\.weight",
        sizes=((r"conv_proj\.weight", 0), (r"conv_proj\.weight", 2)),
        members={
            (12, 768, 16): "torchvision:vit_b_16",
            (12, 768, 32): "torchvision:vit_b_32",
            (24, 1024, 16): "torchvision:vit_l_16",
            (24, 1024, 32): "torchvision:vit_l_32",
        },
    ),
    NamedFamily("CLIP", "open_clip", (r"transformer\.resblocks\.0\.attn\.in_proj_weight",)),
    NamedFamily("CaiT", _TIMM, (r"blocks_token_only\.0\.attn\.q\.weight",)),
    NamedFamily("BEiT", _TIMM, (r"blocks\.0\.gamma_1", r"blocks\.0\.attn\.q_bias")),
    NamedFamily(
        "DINOv3", _TIMM, (r"blocks\.0\.gamma_1", r"reg_token", r"blocks\.0\.attn\.qkv\.weight")
    ),
    NamedFamily("EVA", _TIMM, (r"blocks\.0\.attn\.q_bias",)),
    NamedFamily("XCiT", _TIMM, (r"blocks\.0\.local_mp\.conv1\.weight",)),
    NamedFamily("Hiera", _TIMM, (r"blocks\.\d+\.proj\.weight", r"pos_embed")),
    NamedFamily("MLP-Mixer", _TIMM, (r"blocks\.0\.mlp_tokens\.fc1\.weight",)),
    NamedFamily(
        "DINOv2 or DeiT III",
        "timm or the authors",
        (r"patch_embed\.proj\.weight", r"blocks\.0\.ls1\.gamma", r"blocks\.0\.attn\.qkv\.weight"),
        blocks=r"blocks\.(\d+)\.norm1\.weight",
        sizes=(
            (r"cls_token", 2),
            (r"patch_embed\.proj\.weight", 2),
            (r"(reg_token|register_tokens)", 1),
        ),
        members={
            **{
                (*sizes, 14, 0): f"vit_{name}_patch14_dinov2"
                for sizes, name in _VITS.items()
                if name != "tiny"
            },
            **{
                (*sizes, 14, 4): f"vit_{name}_patch14_reg4_dinov2"
                for sizes, name in _VITS.items()
                if name != "tiny"
            },
            (12, 384, 16, 0): "deit3_small_patch16_224",
            (12, 768, 16, 0): "deit3_base_patch16_224",
        },
    ),
    NamedFamily(
        "ViT",
        _TIMM,
        (r"patch_embed\.proj\.weight", r"blocks\.0\.attn\.qkv\.weight", r"pos_embed"),
        blocks=r"blocks\.(\d+)\.norm1\.weight",
        sizes=(
            (r"cls_token", 2),
            (r"patch_embed\.proj\.weight", 2),
            (r"norm_pre\.weight", 0),
        ),
        members={
            **{(*sizes, 16, 0): f"vit_{name}_patch16_224" for sizes, name in _VITS.items()},
            (12, 768, 32, 0): "vit_base_patch32_224",
            (12, 768, 16, 768): "vit_base_patch16_clip_224",
            (12, 768, 32, 768): "vit_base_patch32_clip_224",
        },
    ),
    NamedFamily(
        "EfficientNet or MobileNet", _TIMM, (r"conv_stem\.weight", r"blocks\.0\.0\.conv_dw\.weight")
    ),
    NamedFamily(
        "EfficientNet", "EfficientNet-PyTorch", (r"_conv_stem\.weight", r"_blocks\.0\._bn1\.weight")
    ),
    NamedFamily("MaxViT", _TORCHVISION, (r"blocks\.0\.layers\.0\.layers\.MBconv\..+",)),
    NamedFamily("MaxViT", _TIMM, (r"stages\.0\.blocks\.0\.attn_block\..+",)),
    NamedFamily(
        "EfficientNet",
        _TORCHVISION,
        (r"features\.0\.0\.weight", r"features\.1\.0\.block\.0\.0\.weight"),
    ),
    NamedFamily("MobileNetV3", _TORCHVISION, (r"features\.1\.block\.0\.0\.weight",)),
    NamedFamily("MobileNetV2", _TORCHVISION, (r"features\.1\.conv\.0\.0\.weight",)),
    NamedFamily(
        "DenseNet",
        _BOTH,
        (r"features\.denseblock1\.denselayer1\.norm1\.weight",),
        blocks=r"features\.denseblock(\d)\.denselayer(\d+)\.norm1\.weight",
        members={
            (6, 12, 24, 16): "densenet121",
            (6, 12, 32, 32): "densenet169",
            (6, 12, 48, 32): "densenet201",
        },
    ),
    NamedFamily("Inception V3", _BOTH, (r"Conv2d_1a_3x3\.conv\.weight", r"Mixed_5b\..+")),
    NamedFamily("RegNet", _TIMM, (r"s1\.b1\.conv1\.conv\.weight",)),
    NamedFamily("RegNet", _TORCHVISION, (r"trunk_output\.block1\.block1-0\.f\.a\.0\.weight",)),
    NamedFamily("VGG", _TIMM, (r"features\.0\.weight", r"pre_logits\.fc1\.weight")),
    NamedFamily(
        "VGG", _TORCHVISION, (r"features\.0\.weight", r"classifier\.6\.weight", r"features\.16\..+")
    ),
)
