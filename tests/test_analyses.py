"""The analyses: that they compare what they say, and refuse to time what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from typer import Typer
from typer.testing import CliRunner

from analyses import benchmark, comparisons, large_kernels, whole_calls
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.errors import ErfToolsError
from erf_tools.figures import save_figure
from erf_tools.kernels.depthwise import DepthwiseConv2d
from erf_tools.models import slak, van, wtconvnext
from erf_tools.models.loading import load_model
from erf_tools.models.model import as_model
from erf_tools.models.replknet import VARIANTS, RepLKNet
from erf_tools.models.slak import SLaK
from erf_tools.models.van import VAN
from erf_tools.models.wtconvnext import WTConvNeXt

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small_replknet() -> nn.Module:
    torch.manual_seed(0)
    variant = replace(VARIANTS["31b"], channels=(8, 16, 24, 32), layers=(1, 1, 1, 1))
    return RepLKNet(variant).eval()


def test_published_procedure_uses_torch_alone(small_replknet: nn.Module) -> None:
    published = comparisons.as_published(small_replknet)
    assert not any(isinstance(part, DepthwiseConv2d) for part in published.modules())
    assert any(isinstance(part, DepthwiseConv2d) for part in small_replknet.modules())
    assert all(parameter.requires_grad for parameter in published.parameters())


def test_both_sides_give_the_same_map(small_replknet: nn.Module) -> None:
    model = as_model(small_replknet)
    against_published, without_cone = comparisons.compare_maps(model, 128, CPU, 1, "fp32")
    assert against_published.difference < 1e-3
    assert without_cone.difference < 1e-3
    assert against_published.pairs == 1
    assert 0 < against_published.share < 2


def test_whole_calls_give_the_map_of_the_published_loop() -> None:
    quiet, busy = whole_calls.compare_calls((("resnet18", 64, 2),), CPU, 1)
    assert quiet.difference < 1e-3
    assert busy.difference < 1e-3
    assert (quiet.what, busy.what) == (
        "resnet18 at 64, 2 images",
        "resnet18 at 64, 2 images, a core busy",
    )


def test_nothing_is_timed_where_the_maps_differ() -> None:
    calls = []

    def ours() -> torch.Tensor:
        calls.append("ours")
        return torch.ones(3)

    with pytest.raises(ErfToolsError, match="differ by"):
        comparisons.compare("x", "a", ours, "b", lambda: torch.zeros(3) + 2, CPU, 3, 0.1)
    assert calls == ["ours"]


def test_openerf_beside_ours() -> None:
    pytest.importorskip("openerf", reason="the extra `test` is missing")
    (found,) = comparisons.compare_openerf(load_model("resnet18", "random"), 2, CPU, 1)
    assert found.difference < 1e-2


def test_decisions_equal_those_of_a_plain_loop(cue_conflict: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stimuli"
    for path in sorted(cue_conflict.glob("*/*1-*1.png"))[:24]:
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    stimuli = open_stimuli(folder, allow_partial=True)
    found = comparisons.compare_decisions(load_model("efficientnet_lite0"), stimuli, CPU, 1)
    assert found.difference == 0


def test_growth_is_drawn(tmp_path: Path) -> None:
    rows = [
        {"axis": axis, "value": value, "way": way, "seconds": 0.1 * value}
        for axis in ("resolution", "kernel", "images")
        for value in (1, 2)
        for way in ("erf-tools", "published")
    ]
    files = save_figure(benchmark.draw(pd.DataFrame(rows)), tmp_path / "scaling", {})
    assert all(file.stat().st_size > 1000 for file in files)


def test_it_is_a_program() -> None:
    app = Typer()
    app.command()(benchmark.main)
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert "--quick" in shown.output


def test_controls_have_3x3_kernels_of_the_same_weight() -> None:
    variants = {
        WTConvNeXt: replace(wtconvnext.VARIANTS["t"], channels=(8, 8, 8, 8), layers=(1, 1, 1, 1)),
        VAN: replace(van.VARIANTS["b0"], channels=(8, 8, 8, 8), layers=(1, 1, 1, 1)),
        SLaK: replace(slak.VARIANTS["t"], channels=(8, 8, 8, 8), layers=(1, 1, 1, 1)),
        RepLKNet: replace(VARIANTS["31b"], channels=(8, 8, 8, 8), layers=(1, 1, 1, 1)),
    }
    for build, variant in variants.items():
        torch.manual_seed(0)
        network = build(variant)
        control = large_kernels.as_control(network)
        assert control(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
        kinds = {
            (layer.kernel_size, layer.dilation)
            for layer in control.modules()
            if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
        }
        assert kinds <= {((3, 3), (1, 1)), ((1, 1), (1, 1))}, build
        assert not any(isinstance(part, wtconvnext.WaveletConv) for part in control.modules())
        for name, layer in control.named_modules():
            before = dict(network.named_modules()).get(name)
            if isinstance(before, nn.Conv2d) and before.groups > 1:
                expected, actual = (float(conv.weight.detach().norm()) for conv in (before, layer))
                assert actual == pytest.approx(expected, rel=0.4)
        assert any(isinstance(part, DepthwiseConv2d) for part in network.modules())


def test_large_kernels_are_drawn_and_told(tmp_path: Path) -> None:
    rows = [
        {
            **{"network": name, "kernels": kernels, "effective_side": side},
            **{"parameters": 1e6 * (index + 1), "multiply_adds": 1e9 * (index + 2)},
        }
        for index, name in enumerate(large_kernels.NETWORKS.values())
        for kernels, side in (("own", 60.0 + index), ("3x3", 30.0))
    ]
    strips = [{**rows[0], "network": "SLaK-T", "kernels": str(k)} for k in large_kernels.STRIPS]
    table = pd.DataFrame(rows + strips)
    said = "\n".join(large_kernels.remarks(table, large_kernels.QUICK))
    assert "2.00 (ConvNeXt-T) to 2.23 (RepLKNet-31B) times" in said
    assert "SLaK-T, strips of 3, 7, 31, 51, 61: 30, 60, 60, 66, 60 pixels." in said
    assert "1.00 with parameters" in said
    assert len(large_kernels.readable(table)) == len(table)
    files = save_figure(large_kernels.draw(table), tmp_path / "large_kernels", {})
    assert all(file.stat().st_size > 1000 for file in files)
