"""One small or shallow member of many of timm's families, untrained, each at its native size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models import byobnet, cspnet, hrnet, mobilevit

from analyses.network_state import identities, random_states, state
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.models.loading import load_model
from erf_tools.models.model import as_model

FAMILIES = {
    "beit": "beit_base_patch16_224",
    "cait": "cait_xxs24_224",
    "coat": "coat_lite_tiny",
    "convmixer": "convmixer_1024_20_ks9_p14",
    "convnext": "convnext_atto",
    "convnextv2": "convnextv2_atto",
    "crossvit": "crossvit_9_240",
    "cspnet": "cspresnet50",
    "davit": "davit_tiny",
    "deit": "deit_tiny_distilled_patch16_224",
    "densenet": "densenet121",
    "dla": "dla34",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientnet": "efficientnet_b0",
    "efficientvit": "efficientvit_b0",
    "eva": "eva02_tiny_patch14_224",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "ghostnet": "ghostnet_050",
    "hiera": "hiera_tiny_224",
    "hrnet": "hrnet_w18_small",
    "inception_next": "inception_next_atto",
    "levit": "levit_128s",
    "mambaout": "mambaout_femto",
    "maxvit": "maxvit_rmlp_pico_rw_256",
    "mlp_mixer": "mixer_s32_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "nextvit": "nextvit_small",
    "pit": "pit_ti_224",
    "poolformer": "poolformer_s12",
    "pvt_v2": "pvt_v2_b0",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvgg": "repvgg_a0",
    "repvit": "repvit_m0_9",
    "resnest": "resnest14d",
    "resnet": "resnet18",
    "resnext": "resnext50_32x4d",
    "rexnet": "rexnet_100",
    "starnet": "starnet_s1",
    "swin": "swin_tiny_patch4_window7_224",
    "swinv2": "swinv2_tiny_window8_256",
    "tiny_vit": "tiny_vit_5m_224",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vit": "vit_tiny_patch16_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_dw",
    "xception": "xception41",
    "xcit": "xcit_nano_12_p16_224",
}


def _single(block: Any) -> Any:
    """Return the same stages of one block each, whose transformers have one layer."""
    if isinstance(block, tuple):
        return tuple(map(_single, block))
    own = block.block_kwargs
    if own and "transformer_depth" in own:
        own = {**own, "transformer_depth": 1}
    return replace(block, d=1, block_kwargs=own)


def _shallow_hrnet() -> dict[str, Any]:
    """Return stages of one block in each branch."""
    stages = {}
    for name, own in hrnet.cfg_cls["hrnet_w18_small"].items():
        if name.startswith("stage"):
            stages[name] = {**own, "num_modules": 1, "num_blocks": (1,) * len(own["num_blocks"])}
    return stages


def _narrow_xception() -> list[dict[str, Any]]:
    """Return a block of each kind: entry, middle and exit."""
    return [
        *({"in_chs": 64, "out_chs": 64, "stride": stride} for stride in (2, 2, 2, 1, 2)),
        {"in_chs": 64, "out_chs": 64, "stride": 1, "no_skip": True, "start_with_relu": False},
    ]


#: Fewer blocks of each kind, or narrower ones, where a factory takes their numbers.
SHALLOW: dict[str, dict[str, Any]] = {
    "beit": {"depth": 3, "embed_dim": 192, "num_heads": 3},
    "cait": {"depth": 3},
    "coat": {"serial_depths": (1, 1, 1, 1)},
    "convnextv2": {"depths": (1, 1, 2, 1)},
    "crossvit": {"depth": ((1, 1, 0), (1, 1, 0), (1, 1, 0))},
    "cspnet": {"stages": replace(cspnet.model_cfgs["cspresnet50"].stages, depth=(1, 1, 1, 1))},
    "davit": {"depths": (1, 1, 1, 1), "embed_dims": (32, 64, 128, 256), "num_heads": (1, 2, 4, 8)},
    "deit": {"depth": 3},
    "densenet": {"block_config": (3, 3, 3, 3)},
    "dla": {"levels": [1, 1, 1, 1, 1, 1], "channels": [16, 32, 64, 64, 128, 128]},
    "dpn": {"k_sec": (1, 1, 2, 1)},
    "edgenext": {"depths": (1, 1, 2, 1)},
    "efficientvit": {"depths": (1, 1, 1, 1, 1)},
    "eva": {"depth": 3},
    "fastvit": {"layers": (1, 1, 1, 1)},
    "hiera": {"stages": (1, 1, 2, 1)},
    "hrnet": _shallow_hrnet(),
    "inception_next": {"depths": (1, 1, 2, 1)},
    "mambaout": {"depths": (1, 1, 2, 1)},
    "mobilevit": {"blocks": _single(mobilevit.model_cfgs["mobilevit_xxs"].blocks)},
    "nextvit": {"depths": (1, 1, 5, 1)},
    "pvt_v2": {"depths": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128), "num_heads": (1, 1, 2, 4)},
    "repvgg": {"blocks": _single(byobnet.model_cfgs["repvgg_a0"].blocks)},
    "repvit": {"depth": (1, 1, 2, 1)},
    "resnext": {"layers": (1, 1, 1, 1)},
    "rexnet": {"depth_mult": 0.3},
    "starnet": {"depths": (1, 1, 2, 1)},
    "swin": {"depths": (1, 1, 2, 1)},
    "swinv2": {"depths": (1, 1, 2, 1)},
    "tiny_vit": {"depths": (1, 1, 2, 1)},
    "twins": {"depths": (1, 1, 2, 1), "embed_dims": (32, 64, 128, 256), "num_heads": (1, 2, 4, 8)},
    "vgg": {"mlp_ratio": 0.125},
    "vit": {"depth": 3},
    "xception": {"block_cfg": _narrow_xception()},
    "xcit": {"depth": 3},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_member_has_a_finite_map_that_is_not_zero_and_is_as_before(family: str) -> None:
    if family in SHALLOW:
        torch.manual_seed(0)
        model = as_model(timm.create_model(FAMILIES[family], **SHALLOW[family]).eval())
    else:
        model = load_model(FAMILIES[family], "random")
    side = model.preprocessing.size
    before = state(model.module), identities(model.module), random_states()
    result = effective_receptive_field(model, num_images=1, resolution=side)
    assert (state(model.module), identities(model.module), random_states()) == before
    assert result.map.shape == (side, side)
    assert np.isfinite(result.map).all()
    assert result.map.sum() > 0
    channels, rows, columns = result.setting["feature_map"]
    assert rows == columns > 1
    assert channels >= 32
    # Where units are about one stride apart, the unit is not far from the middle of the image.
    assert abs(result.center[0] - side / 2) <= side / rows
