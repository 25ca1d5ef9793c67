"""Networks of other libraries by name: torchvision, transformers, open_clip."""

from __future__ import annotations

import copy
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from erf_tools import effective_receptive_field, load_model
from erf_tools.cli import main
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.reading import read_features
from erf_tools.models.loading import own_preprocessing
from erf_tools.models.names import resolve, source_of
from erf_tools.models.sources import PublishedFile
from erf_tools.preprocessing import Preprocessing

transformers = pytest.importorskip("transformers", reason="needs the extra transformers")
open_clip = pytest.importorskip("open_clip", reason="needs the extra clip")

_SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 16,
}


def _saved(folder: Path, kind: str, head: str = "Model", **choices: Any) -> str:
    """Save a small untrained network of transformers; return its name."""
    configuration = getattr(transformers, f"{kind}Config")(**choices)
    torch.manual_seed(0)
    getattr(transformers, f"{kind}{head}")(configuration).save_pretrained(folder)
    return f"transformers:{folder}"


# The last map of each, as the class itself computes what is behind it: its final norm or pooling
# of our map has to be its own output.


def _pooled(module: Any, map_: torch.Tensor) -> torch.Tensor:
    return module.fc(module.avgpool(map_).flatten(1))


_BEHIND: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "resnet18": _pooled,
    "shufflenet_v2_x0_5": lambda net, map_: net.fc(map_.mean([2, 3])),
    "mnasnet0_5": lambda net, map_: net.classifier(map_.mean([2, 3])),
    "regnet_y_400mf": _pooled,
    "squeezenet1_1": lambda net, map_: torch.flatten(net.classifier(map_), 1),
    "efficientnet_b0": lambda net, map_: net.classifier(net.avgpool(map_).flatten(1)),
    "densenet121": lambda net, map_: net.classifier(map_.relu().mean([2, 3])),
    "convnext_tiny": lambda net, map_: net.classifier(net.avgpool(map_)),
    "swin_t": lambda net, map_: net.head(
        net.avgpool(net.norm(map_.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)).flatten(1)
    ),
}


@pytest.mark.parametrize("name", _BEHIND)
def test_last_maps_of_torchvision(name: str) -> None:
    model = load_model(f"torchvision:{name}", "random")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        map_ = read_features(model.module, model.tap, images)
        expected = model.module(images)
        assert torch.allclose(_BEHIND[name](model.module, map_), expected, rtol=1e-4, atol=1e-5)


def test_vision_transformers_of_torchvision_are_built_for_the_size() -> None:
    model = load_model("torchvision:vit_b_32", "random", resolution=64)
    assert model.input_size == (64, 64)
    images = torch.randn(1, 3, 64, 64)
    network: Any = model.module
    with torch.no_grad():
        map_ = read_features(network, model.tap, images)
        tokens = network.encoder.layers(
            torch.cat([network.class_token, network._process_input(images)], dim=1)
            + network.encoder.pos_embedding
        )
    assert map_.shape == (1, 768, 2, 2)
    assert torch.allclose(map_.flatten(2).mT, tokens[:, 1:], atol=1e-5)


def test_weights_of_torchvision_are_files_of_its_own_table() -> None:
    from torchvision.models import ResNet50_Weights

    for name, weights in [
        ("resnet50", ResNet50_Weights.DEFAULT),
        ("resnet50@IMAGENET1K_V1", ResNet50_Weights.IMAGENET1K_V1),
    ]:
        entry = resolve(f"torchvision:{name}")
        source = source_of(f"torchvision:{name}", "pretrained")
        assert isinstance(source, PublishedFile)
        assert source.address == weights.url
        assert source.file.endswith(f"{source.sha256_prefix}.pth")
        assert len(source.sha256_prefix) == 8
        known = weights.transforms()
        assert entry.preprocessing == Preprocessing(
            224, tuple(known.mean), tuple(known.std), "bilinear", 224 / known.resize_size[0]
        )


def test_a_checkpoint_of_lightning_fits_torchvisions_convnext(tmp_path: Path) -> None:
    """The head has classes of its own; names have the prefix of the training module."""
    from torchvision.models import convnext_tiny

    trained = convnext_tiny(weights=None, num_classes=7)
    state = {f"model.{key}": value for key, value in trained.state_dict().items()}
    file = tmp_path / "epoch=3.ckpt"
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.4.0", "epoch": 3}, file)
    model = load_model("torchvision:convnext_tiny", file)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.module(images), trained.eval()(images))


def test_levels_of_a_detectors_pyramid() -> None:
    """The backbone of RetinaNet, normalised as any network; its levels by key."""
    from torchvision.models.detection import retinanet_resnet50_fpn

    model = load_model("torchvision:retinanet_resnet50_fpn", "random")
    whole = retinanet_resnet50_fpn(weights=None, weights_backbone=None)
    assert model.module.state_dict().keys() == whole.backbone.state_dict().keys()
    images = torch.randn(1, 3, 64, 64)
    from erf_tools.features.taps import Tap, find_taps

    with torch.no_grad():
        levels = model.module(images)
        for key in ("0", "1", "2"):
            (tap,) = find_taps(model.module, ["fpn"], key)
            assert torch.equal(read_features(model.module, tap, images), levels[key])
        assert torch.equal(read_features(model.module, model.tap, images), levels["0"])
    assert model.tap == Tap("", output_key="0")


def test_scores_of_a_segmentation_network() -> None:
    model = load_model("torchvision:deeplabv3_mobilenet_v3_large", "random")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        scores = read_features(model.module, model.tap, images)
        enlarged = nn.functional.interpolate(scores, size=(64, 64), mode="bilinear")
        assert torch.allclose(enlarged, model.module(images)["out"], atol=1e-5)


_TRANSFORMERS: list[tuple[str, str, dict[str, Any]]] = [
    ("ViT", "ForImageClassification", _SMALL),
    ("Dinov2WithRegisters", "Model", _SMALL),
    ("DINOv3ViT", "Model", {**_SMALL, "num_register_tokens": 3}),
    ("SiglipVision", "Model", _SMALL),
    (
        "ConvNext",
        "ForImageClassification",
        {"depths": [1, 1, 1, 1], "hidden_sizes": [4, 4, 8, 8], "num_labels": 3},
    ),
]


@pytest.mark.parametrize(("kind", "head", "choices"), _TRANSFORMERS, ids=lambda value: str(value))
def test_networks_of_transformers(
    tmp_path: Path, kind: str, head: str, choices: dict[str, Any]
) -> None:
    """Another size than the network's own; the last hidden state is ours before the final norm."""
    model = load_model(_saved(tmp_path / "net", kind, head, **choices), resolution=64)
    assert model.weights.kind == "pretrained"
    images = torch.randn(1, 3, 64, 64)
    base: Any = model.module if kind == "DINOv3ViT" else model.module.base_model
    with torch.no_grad():
        map_ = read_features(model.module, model.tap, images)
        told = base(images).last_hidden_state
    if kind == "ConvNext":
        assert torch.equal(map_, told)
        return
    norms = {"SiglipVision": "post_layernorm", "DINOv3ViT": "norm"}
    norm = getattr(base, norms.get(kind, "layernorm"))
    tokens = norm(map_.flatten(2).mT)
    assert map_.shape[2:] == (4, 4)
    assert torch.allclose(tokens, told[:, told.shape[1] - 16 :], atol=1e-5)


def test_saved_weights_of_other_channels(tmp_path: Path) -> None:
    name = _saved(tmp_path, "ViT", "ForImageClassification", **_SMALL, num_channels=1)
    assert load_model(name, channels=1).module.vit.config.num_channels == 1
    for channels in (3, 4):
        with pytest.raises(UsageError, match=r"takes images of 1 channels.* give --channels 1"):
            load_model(name, channels=channels)


def test_hiera_masks_in_its_training_alone(tmp_path: Path) -> None:
    choices: dict[str, Any] = {"image_size": [64, 64], "embed_dim": 8, "depths": [1, 1, 1]}
    choices |= {"num_heads": [1, 2, 4], "masked_unit_size": [4, 4], "num_query_pool": 2}
    model = load_model(_saved(tmp_path, "Hiera", "ForImageClassification", **choices))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        map_ = read_features(model.module, model.tap, images)
        told = model.module(images, output_hidden_states=True).reshaped_hidden_states[-1]
    assert torch.equal(map_, told.permute(0, 3, 1, 2))


_BACKBONES: dict[str, dict[str, Any]] = {
    "VitPoseBackbone": {**_SMALL, "image_size": [64, 64]},
    "LwDetrViT": {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "window_block_indices": [0, 2],
        "num_windows": 4,
        "pretrain_image_size": 64,
        "image_size": 64,
    },
    "RfDetrDinov2": {**_SMALL, "num_windows": 2, "patch_size": 8},
    "RTDetrResNet": {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "PPLCNet": {"scale": 0.25},
}


@pytest.mark.parametrize("kind", _BACKBONES)
def test_backbones_that_are_no_models(tmp_path: Path, kind: str) -> None:
    """What they give is our map, before the final norm; windows are put in order."""
    head = "" if kind.endswith("Backbone") else "Backbone"
    model = load_model(_saved(tmp_path, kind, head, **_BACKBONES[kind]))
    images = torch.randn(2, 3, 64, 64)
    backbone = getattr(transformers, f"{kind}{head}").from_pretrained(tmp_path).eval()
    with torch.no_grad():
        map_ = read_features(model.module, model.tap, images)
        (told,) = backbone(images).feature_maps
        if hasattr(backbone, "layernorm"):
            map_ = backbone.layernorm(map_.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    told = told.mT.unflatten(2, (4, 4)) if told.ndim == 3 else told
    assert map_.shape == told.shape
    assert torch.allclose(map_, told, atol=1e-5)


def test_kinds_of_transformers_have_classes() -> None:
    """All that are offered take images alone, and what else there is is refused for what it is."""
    from erf_tools.models.libraries import transformers_networks

    for name in transformers_networks.LIBRARY.names():
        kind = name.partition(":")[2]
        configuration = transformers_networks._configuration(kind, 3, False)
        found = transformers_networks._class(kind, configuration)
        assert found.main_input_name == "pixel_values", name
    for kind, said in [
        ("imagegpt", "is no network that takes images alone"),
        ("perceiver", "is no network that takes images alone"),
        ("timm_wrapper", "is a network of timm's; give it by timm's own name"),
    ]:
        assert f"transformers:{kind}" not in transformers_networks.LIBRARY.names()
        with pytest.raises(UsageError, match=said):
            load_model(f"transformers:{kind}", "random")


_SEVERAL_PARTS: list[tuple[str, dict[str, Any]]] = [
    ("Cvt", {"embed_dim": [8, 8, 8], "num_heads": [1, 1, 2], "depth": [1, 2, 3]}),
    (
        "HGNetV2",
        {
            "stem_channels": [3, 4, 4],
            "stage_in_channels": [4, 8],
            "stage_mid_channels": [4, 4],
            "stage_out_channels": [8, 8],
            "stage_num_blocks": [1, 1],
            "stage_numb_of_layers": [1, 1],
            "stage_downsample": [False, True],
            "stage_light_block": [False, True],
            "stage_kernel_size": [3, 3],
            "depths": [1, 1],
            "hidden_sizes": [8, 8],
            "num_labels": 3,
        },
    ),
    (
        "TextNet",
        {
            "stem_out_channels": 4,
            "hidden_sizes": [4, 4, 8, 8, 8],
            **{
                f"conv_layer_{name}": [[value]] * 4
                for name, value in [("kernel_sizes", [3, 3]), ("strides", 2)]
            },
        },
    ),
]


@pytest.mark.parametrize(("kind", "choices"), _SEVERAL_PARTS, ids=["cvt", "hgnet_v2", "textnet"])
def test_the_last_hidden_state_is_the_map(
    tmp_path: Path, kind: str, choices: dict[str, Any]
) -> None:
    """Beside states of other stages, and a class token [N, 1, C], which has the shape of tokens."""
    head = "ForImageClassification" if kind == "HGNetV2" else "Model"
    model = load_model(_saved(tmp_path, kind, head, **choices))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        map_ = read_features(model.module, model.tap, images)
        told = model.module(images, output_hidden_states=True)
    assert torch.equal(map_, told.hidden_states[-1] if kind == "HGNetV2" else told[0])


def test_each_class_token_is_counted(tmp_path: Path) -> None:
    model = load_model(_saved(tmp_path, "Pixio", **_SMALL, n_cls_tokens=3))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        map_ = read_features(model.module, model.tap, images)
        told = model.module(images).last_hidden_state
        tokens = model.module.layernorm(map_.flatten(2).mT)
    assert model.tap.prefix_tokens == 3
    assert torch.allclose(tokens, told[:, 3:], atol=1e-5)


def test_an_erf_of_dinov2(tmp_path: Path) -> None:
    """From a name to a map, equal to a gradient that is taken by hand."""
    name = _saved(tmp_path, "Dinov2", **_SMALL)
    model = load_model(name)
    found = effective_receptive_field(model, num_images=1, resolution=64)
    network = transformers.AutoModel.from_pretrained(tmp_path).eval()
    assert found.setting["feature_map"] == [16, 4, 4]
    inputs = torch.randn(1, 3, 64, 64, requires_grad=True)
    hidden = network.encoder(network.embeddings(inputs)).last_hidden_state
    hidden[0, 1 + 2 * 4 + 2].relu().sum().backward()
    map_ = read_features(model.module, model.tap, again := inputs.detach().requires_grad_())
    map_[0, :, 2, 2].relu().sum().backward()
    assert inputs.grad is not None
    np.testing.assert_allclose(inputs.grad, again.grad, atol=1e-6)


def test_the_decoder_of_a_segformer(tmp_path: Path) -> None:
    choices = {"hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
    choices |= {"depths": [1, 1, 1, 1], "decoder_hidden_size": 8, "num_labels": 5}
    name = _saved(tmp_path, "Segformer", "ForSemanticSegmentation", **choices)
    from erf_tools.features.taps import find_taps

    model = load_model(name)
    (tap,) = find_taps(model.module, ["decode_head"])
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(read_features(model.module, tap, images), model.module(images).logits)


def test_the_processors_choices_are_the_preprocessing(tmp_path: Path) -> None:
    name = _saved(tmp_path, "ViT", **_SMALL)
    assert own_preprocessing(name) == Preprocessing()
    processors: list[tuple[Any, Preprocessing]] = [
        (
            transformers.ViTImageProcessor(
                size={"height": 384, "width": 384}, image_mean=[0.5] * 3, image_std=[0.25] * 3
            ),
            Preprocessing(384, (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0, "both",
                          middle="below"),
        ),
        (
            transformers.BitImageProcessor(size={"shortest_edge": 256}, crop_size=224),
            Preprocessing(224, (0.48145466, 0.4578275, 0.40821073),
                          (0.26862954, 0.26130258, 0.27577711), "bicubic", 0.875,
                          middle="below"),
        ),
    ]  # fmt: skip
    for processor, expected in processors:
        processor.save_pretrained(tmp_path)
        assert own_preprocessing(name) == expected


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `transformers:org/net` in the hub's cache, without a network."""
    from huggingface_hub import constants

    revision = "0" * 40
    folder = tmp_path / "models--org--net"
    _saved(folder / "snapshots" / revision, "ViT", **_SMALL)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("ERF_TOOLS_OFFLINE", "1")
    return folder


def test_a_processor_that_is_not_here_is_not_taken_for_none(repository: Path) -> None:
    """Its network would see images by another mean: the hub's cache says where there is none."""
    for load in (own_preprocessing, load_model):
        with pytest.raises(ErfToolsError, match="may have an image processor of its own, which is"):
            load("transformers:org/net")
    missing = repository / ".no_exist" / ("0" * 40)
    missing.mkdir(parents=True)
    for name in ("preprocessor_config.json", "processor_config.json"):
        (missing / name).touch()
    assert own_preprocessing("transformers:org/net") == Preprocessing()


def test_a_processor_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    name = _saved(tmp_path, "ViT", **_SMALL)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ErfToolsError, match="has an image processor that cannot be read"):
        own_preprocessing(name)


def test_a_hub_whose_name_is_not_known_is_not_asked_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def unknown(host: object, *_arguments: object, **_choices: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(ErfToolsError, match="couldn't find them in the cached files"):
        load_model("transformers:org/nonesuch", "random")
    assert len(asked) == 1


def test_the_vision_tower_of_a_clip(tmp_path: Path) -> None:
    vision = transformers.CLIPVisionConfig(**_SMALL)
    text = transformers.CLIPTextConfig(**{**_SMALL, "vocab_size": 10, "bos_token_id": 1,
                                          "eos_token_id": 2})  # fmt: skip
    whole = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
    )
    whole.save_pretrained(tmp_path)
    model = load_model(f"transformers:{tmp_path}")
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        own = model.module(images).pooler_output
        assert torch.allclose(own, whole.eval().vision_model(images).pooler_output, atol=1e-6)


def test_towers_of_open_clip() -> None:
    model = load_model("open_clip:ViT-S-32-alt", "random", resolution=64)
    assert (model.input_size, model.preprocessing.size) == ((64, 64), 224)
    images = torch.randn(1, 3, 64, 64)
    tower: Any = model.module
    with torch.no_grad():
        map_ = read_features(tower, model.tap, images)
        tokens = tower.transformer(tower._embeds(images))
    assert torch.equal(map_.flatten(2).mT, tokens[:, 1:])


def test_a_resnet_of_open_clip() -> None:
    model = load_model("open_clip:RN50", "random", resolution=64)
    images = torch.randn(1, 3, 64, 64)
    tower: Any = model.module
    with torch.no_grad():
        map_ = read_features(tower, model.tap, images)
        assert torch.equal(tower.attnpool(map_), tower(images))


def test_a_tower_that_is_a_network_of_timms() -> None:
    import timm

    model = load_model("open_clip:convnext_tiny", "random")
    assert type(model.module) is type(timm.create_model("convnext_tiny"))


def test_a_saved_clip_is_loaded_into_its_tower(tmp_path: Path) -> None:
    torch.manual_seed(3)
    clip = open_clip.create_model("ViT-S-32-alt", load_weights=False)
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    model = load_model("open_clip:ViT-S-32-alt", tmp_path / "clip.pt")
    own = model.module.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in clip.visual.state_dict().items())
    assert "keys outside 'visual.'" in model.weights.notes[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision:resnet51", "did you mean"),
        ("torchvision:resnet50@IMAGENET1K_V9", "no weights 'IMAGENET1K_V9'"),
        ("torchvision:raft_small", "takes two images"),
        ("torchvision:r3d_18", "takes videos"),
        ("torchvision:quantized_resnet18", "is quantised"),
        ("transformers:facebook/dinov2/base", "is no repository"),
        ("transformers:bert", "no network that takes images alone"),
        ("transformers:vit_mae", "shuffles"),
        ("open_clip:ViT-B-33", "did you mean"),
        ("open_clip:ViT-B-32/laion3b", "no weights 'laion3b'"),
        ("timm:resnet5000", "there is no model"),
        ("timm:", "no name of a model"),
        ("transformers:", "no name of a model"),
        ("torchvision:resnet18@", "no weights ''"),
    ],
)
def test_wrong_names_are_told_in_one_sentence(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        load_model(name, "random")
    assert "\n" not in str(caught.value)


def test_a_misspelt_prefix() -> None:
    with pytest.raises(UsageError, match="did you mean torchvision:resnet18"):
        load_model("torchvison:resnet18")


def test_code_of_a_repository_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}'
    )
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UsageError, match="is in its repository, and is not run"):
        load_model(f"transformers:{tmp_path}")
    assert not (tmp_path / "ran").exists()


def test_what_a_file_lacks_is_told(tmp_path: Path) -> None:
    name = _saved(tmp_path, "ViT", "ForImageClassification", **_SMALL)
    from safetensors.torch import load_file, save_file

    state = load_file(tmp_path / "model.safetensors")
    state.pop("classifier.weight")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ErfToolsError, match=r"no weights for 1 tensors .* \(classifier.weight\)"):
        load_model(name)


def test_offline_weights_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("transformers:facebook/dinov2-base", "open_clip:ViT-B-32/laion2b_s34b_b79k"):
        with pytest.raises(ErfToolsError, match=name) as caught:
            load_model(name)
        assert "\n" not in str(caught.value)


def test_a_library_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.setattr(sys, "argv", ["erf-tools", "layers", "open_clip:ViT-B-32"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert 'pip install "erf-tools[clip]"' in capfd.readouterr().err


def test_copies_interpolate_too(tmp_path: Path) -> None:
    """What the network is told of another size goes with its copies."""
    model = load_model(_saved(tmp_path, "ViT", **_SMALL), resolution=64)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.module(images).last_hidden_state
        assert torch.equal(copy.deepcopy(model.module)(images).last_hidden_state, expected)


def test_the_configuration_of_a_local_folder_is_in_the_record(tmp_path: Path) -> None:
    """Weights and preprocessing stay as they are; what is done with the weights does not."""
    name = _saved(tmp_path, "ViT")
    records = [load_model(name).record()]
    file = tmp_path / "config.json"
    text = file.read_text()
    assert '"hidden_act": "gelu"' in text
    file.write_text(text.replace('"hidden_act": "gelu"', '"hidden_act": "relu"'))
    records.append(load_model(name).record())
    assert records[0]["weights"] == records[1]["weights"]
    assert records[0]["network_sha256"] != records[1]["network_sha256"]
    assert records[0]["libraries"] == {"transformers": transformers.__version__}
    assert load_model("resnet18", "random").record()["libraries"] == {}


def test_the_configuration_of_a_local_folder_of_timms_is_in_the_record(tmp_path: Path) -> None:
    import json

    import timm
    from safetensors.torch import save_file

    save_file(
        timm.create_model("resnet10t", num_classes=2).state_dict(), tmp_path / "model.safetensors"
    )
    records = []
    for arguments in ({}, {"output_stride": 8}):
        cfg = {"architecture": "resnet10t", "num_classes": 2, "model_args": arguments,
               "pretrained_cfg": {}}  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps(cfg))
        records.append(load_model(f"local-dir:{tmp_path}").record())
    assert records[0]["weights"] == records[1]["weights"]
    assert records[0]["network_sha256"] != records[1]["network_sha256"]
