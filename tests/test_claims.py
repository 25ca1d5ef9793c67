"""The analyses' own arithmetic, against what was not computed by them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf, isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from analyses import (
    downstream,
    erf_scaling,
    erf_table,
    identity_shortcut,
    kernel_cost,
    narrow_replknet,
    perturbation,
    shape_bias_figure,
    small_maps,
)
from analyses.narrow_replknet import narrow, settle, untrained
from erf_tools.cue_conflict.decisions import read_decisions
from erf_tools.cue_conflict.makers import decision_makers
from erf_tools.erf.maps import ERF
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.published import PUBLISHED
from erf_tools.errors import ErfToolsError
from erf_tools.figures import save_figure
from erf_tools.images import select
from erf_tools.models.replknet import VARIANTS
from erf_tools.perturbation.choices import Checking

# --- erf_scaling ---


def power_law(kernel: float, depth: float, noise: float = 0.0) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    cells = pd.DataFrame(
        [
            {"wiring": wiring, "kernel_size": k, "depth": d}
            for wiring in ("plain", "residual", "normalised")
            for k, d in product((3, 7, 13, 31), (2, 8, 32, 100))
        ]
    )
    side = 5 * cells["kernel_size"] ** kernel * cells["depth"] ** depth
    cells["effective_side"] = side * np.exp(noise * generator.standard_normal(len(cells)))
    cells["expected_side"] = cells["extent_luo2016"] = side
    return cells


def test_exponents_of_a_power_law_are_found() -> None:
    law = erf_scaling.fit(power_law(1.1, 0.4), "effective_side")
    assert (law.kernel.value, law.depth.value) == pytest.approx((1.1, 0.4))
    assert law.kernel.high - law.kernel.low < 1e-6


def test_intervals_are_those_of_ordinary_least_squares() -> None:
    """Against scipy's regression, on the one regressor that is left when the other is removed."""
    from scipy.stats import linregress

    cells = power_law(1.0, 0.5, noise=0.1)
    law = erf_scaling.fit(cells, "effective_side")
    kernels, depths, sides = (
        np.log(cells[name].to_numpy(float)) for name in ("kernel_size", "depth", "effective_side")
    )
    # Frisch, Waugh and Lovell: the design is a full grid, so both regressors are orthogonal.
    within = sides - linregress(depths, sides).slope * (depths - depths.mean())
    alone = linregress(kernels, within)
    assert law.kernel.value == pytest.approx(alone.slope)
    assert law.kernel.low < 1.0 < law.kernel.high
    assert law.kernel.high - law.kernel.value == pytest.approx(2.01 * alone.stderr, rel=0.03)


def test_sides_that_are_rounded_too_coarsely_are_left_out() -> None:
    cells = power_law(1.0, 0.5)
    cells.loc[cells["depth"] == 2, "effective_side"] = 3.0
    law = erf_scaling.fit(cells, "effective_side")
    assert law.kernel.value == pytest.approx(1.0)
    assert law.networks == 36
    assert isnan(erf_scaling.fit(cells.iloc[:3], "effective_side").kernel.value)


def test_layers_needed_are_interpolated_between_depths() -> None:
    cells = pd.DataFrame(
        [
            {"kernel_size": kernel, "depth": depth, "effective_side": kernel * depth**0.5}
            for kernel, depth in product((3, 10, 40, 1), (1, 4, 100))
        ]
    )
    needed = erf_scaling.layers_needed(cells, 30.0).set_index("kernel_size")["layers"]
    assert needed[3] == pytest.approx(100)
    assert needed[10] == pytest.approx(9)
    assert needed[40] == 1
    assert needed[1] == inf


def test_inputs_hold_the_field_or_four_sides() -> None:
    assert erf_scaling.input_side(3, 2, "plain") == 16
    assert erf_scaling.input_side(31, 100, "plain") >= 4 * 0.86 * 31 * 9.9


def test_scaling_is_measured_and_drawn(tmp_path: Path) -> None:
    grid = erf_scaling.Grid((3, 7), (2, 4), seeds=1, largest=96)
    table = erf_scaling.measure(grid, tmp_path)
    assert len(table) == 3 * 4
    assert (table["effective_side"] <= table["resolution"]).all()
    again = erf_scaling.measure(grid, tmp_path)
    pd.testing.assert_frame_equal(table, again)
    cells = erf_scaling.over_seeds(table)
    columns = ["wiring", "kernel_size", "depth"]
    pd.testing.assert_frame_equal(cells[columns], table[columns])  # of a single seed
    assert len(erf_scaling.readable(cells)) == 9


def test_what_is_said_of_a_power_law_is_what_it_is(tmp_path: Path) -> None:
    """Of side = 5 k sqrt(d), as many layers see as far as go by the square of the kernel's side."""
    cells = power_law(1.0, 0.5)
    fits, *needed, closed = erf_scaling.remarks(cells)
    assert "95 % intervals" in fits
    assert len(needed) == 3
    for sentence in needed:
        assert "100 layers of 3x3 see 150 pixels" in sentence
        assert "3x3 100, 7x7 18, 13x13 5, 31x31 2 or fewer" in sentence
    assert closed == "Measured over closed form: median 1.00, from 1.00 to 1.00."
    shown = erf_scaling.readable(cells)
    assert {"1.00 [1.00, 1.00]", "0.50 [0.50, 0.50]"} <= {*shown.to_numpy().ravel()}
    paths = save_figure(erf_scaling.draw(cells), tmp_path / "figure", {})
    assert all(path.stat().st_size > 10_000 for path in paths)


# --- identity_shortcut ---


def test_the_branch_alone_is_left_without_a_shortcut() -> None:
    inner = nn.Conv2d(2, 2, 3, padding=1)

    class Residual(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features + inner(features)

    features = torch.randn(1, 2, 6, 6)
    found = identity_shortcut.WithoutShortcut(Residual())(features)
    assert torch.allclose(found, inner(features), atol=1e-6)


def test_shares_are_those_of_the_variances() -> None:
    images = torch.randn(2, 3, 64, 64)
    network = settle(untrained(replace(narrow("3"), layers=(2, 1, 1, 1))), images)
    found = identity_shortcut.branch_shares(network, images)
    assert len(found) == 5
    assert all(0 < share < 1 for share in found)
    first = network.stages[0].blocks[0]
    with torch.no_grad():
        features = images
        for layer in network.stem:
            features = layer(features)
        branch = first(features) - features
    expected = float(branch.var() / (branch.var() + features.var()))
    assert found[0] == pytest.approx(expected, rel=1e-5)
    assert not first._forward_hooks
    nn.init.zeros_(first.pw2.bn.weight)
    nn.init.zeros_(first.pw2.bn.bias)
    assert identity_shortcut.branch_shares(network, images)[0] == 0


def test_settled_norms_normalise() -> None:
    images = torch.randn(2, 3, 64, 64)
    network = settle(untrained(replace(narrow("3"), layers=(1, 1, 1, 1))), images)
    with torch.no_grad():
        first = network.stem[0].bn(network.stem[0].conv(images))
    assert float(first.mean()) == pytest.approx(0, abs=1e-4)
    assert float(first.var()) == pytest.approx(1, rel=1e-2)


def test_profiles_are_multiples_of_a_uniform_map() -> None:
    assert identity_shortcut._profile(np.full((9, 9), 5.0)) == pytest.approx([1.0] * 7)
    assert identity_shortcut._within(np.ones((10, 10)), 5) == pytest.approx(0.25)


def test_shortcuts_are_drawn(tmp_path: Path) -> None:
    profile = list(np.exp(-np.arange(200) / 20))
    records = [
        {
            "model": network,
            "wiring": wiring,
            "small_kernel": small,
            "effective_side": 10.0 + small,
            "within_5": 0.1,
            "passed": 3.0,
            "profile": profile,
            **(
                {"expected_profile": profile, "expected_side": 10.0}
                if network == "depthwise"
                else {"shares": [1.0]}
            ),
        }
        for network, wirings in (
            ("depthwise", ("plain", "residual", "normalised")),
            ("replknet31b", ("plain", "normalised")),
        )
        for wiring in wirings
        for small in (False, True)
    ]
    table = identity_shortcut.tabulated(records)
    assert list(table["blocks"]) == [8] * 6 + [24] * 4
    assert "from 10 to 10 pixels; the 5x5 from there to 11" in identity_shortcut.remarks(table)[1]
    assert identity_shortcut.readable(table).shape == (10, 8)
    save_figure(identity_shortcut.draw(records), tmp_path / "figure", {})


# --- kernel_cost ---


def test_counts_are_the_published_ones() -> None:
    """Parameters as in the model zoo; 51 of 320.8 GMAC at 1024 were counted apart from this."""
    found = kernel_cost.count((31, 29, 27, 13), 1024)
    assert found["parameters"] == 79_527_272
    assert found["macs"] / 1e9 == pytest.approx(320.8, abs=0.1)
    assert found["large_macs"] / 1e9 == pytest.approx(51, abs=0.5)
    widths, layers = VARIANTS["31b"].channels, VARIANTS["31b"].layers
    taps = sum(
        count * width * (side**2 + 1)
        for count, width, side in zip(layers, widths, (31, 29, 27, 13), strict=True)
    )
    assert found["large_parameters"] == taps


def test_growth_from_small_kernels_is_what_the_paper_says() -> None:
    small, large = (kernel_cost.count(k, 224) for k in ((3, 3, 3, 3), (31, 29, 27, 13)))
    assert large["parameters"] / small["parameters"] - 1 == pytest.approx(0.104, abs=0.003)
    assert large["macs"] / small["macs"] - 1 == pytest.approx(0.186, abs=0.003)


@pytest.mark.parametrize("kernel_size", [3, 13, 31])
def test_all_ways_give_one_map(kernel_size: int) -> None:
    found = kernel_cost.ways(kernel_size, torch.randn(1, 32, 12, 12))
    maps = [convolve() for convolve in found.values()]
    for other in maps[1:]:
        assert torch.allclose(maps[0], other, atol=1e-4)


def test_nothing_is_timed_where_ways_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(kernel_size: int, features: torch.Tensor) -> dict[str, object]:
        return {way: lambda i=i: features + i for i, way in enumerate(kernel_cost._WAYS)}

    monkeypatch.setattr(kernel_cost, "ways", wrong)
    with pytest.raises(ErfToolsError, match="nothing is timed"):
        kernel_cost.time_layers(kernel_cost.QUICK, torch.device("cpu"))


def test_the_published_density_is_up_to_71_times() -> None:
    found = kernel_cost.published_density().set_index(["side", "kernel_size"])["density"]
    assert found.max() == found[16, 31] == pytest.approx((31 / 3) ** 2 * 5.6 / 8.4)
    assert found.max() == pytest.approx(71, abs=0.3)
    assert (found[:, 3] == 1).all()


def test_layers_are_timed_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cost, "_CHANNELS", 4)
    shapes = kernel_cost.Shapes((3, 7), (8, 16), batch=1, repeats=1)
    times = kernel_cost.time_layers(shapes, torch.device("cpu"))
    assert len(times) == 2 * 2 * len(kernel_cost._WAYS)
    assert times["rate"].iloc[0] * times["seconds"].iloc[0] == pytest.approx(2 * 4 * 8 * 8 * 9)
    monkeypatch.setattr(kernel_cost, "_STAGES", kernel_cost._STAGES[:2])
    counted = kernel_cost.counts()
    assert kernel_cost.readable(counted)["over 3x3"].iloc[0] == "+0.0%"
    assert "cpu" in kernel_cost.remarks(times, "cpu")[1]
    save_figure(kernel_cost.draw(counted, times), tmp_path / "figure", {})


# --- small_maps ---


@pytest.mark.parametrize(("kernel_size", "side"), [(13, 7), (15, 7), (3, 7), (31, 56), (5, 1)])
def test_shares_of_kernels_are_counted_unit_by_unit(kernel_size: int, side: int) -> None:
    touched = np.zeros((kernel_size, kernel_size), dtype=bool)
    shares = []
    for row, column in product(range(side), repeat=2):
        offsets = np.arange(kernel_size) - kernel_size // 2
        rows = (row + offsets >= 0) & (row + offsets < side)
        columns = (column + offsets >= 0) & (column + offsets < side)
        on_image = rows[:, None] & columns[None, :]
        touched |= on_image
        shares.append(on_image.mean())
    assert small_maps.touching_share(kernel_size, side) == pytest.approx(touched.mean())
    assert small_maps.mean_share(kernel_size, side) == pytest.approx(np.mean(shares))


def test_published_kernels_just_touch_their_maps_at_224() -> None:
    use = small_maps.kernel_use()
    assert (use["touching"] == 1).all()
    assert list(use[use["resolution"] == 224]["map_side"]) == [56, 28, 14, 7]


def test_a_part_of_a_map_keeps_its_unit() -> None:
    whole = np.zeros((64, 64))
    whole[32, 32] = 1
    assert small_maps.central(whole, 16)[8, 8] == 1
    assert small_maps.central(whole, 15)[7, 7] == 1


def test_small_maps_are_drawn(tmp_path: Path) -> None:
    use = small_maps.kernel_use()
    resolutions = sorted(use["resolution"].unique())
    fields = pd.concat(
        [
            pd.DataFrame(
                {
                    "model": name,
                    "resolution": resolutions,
                    "padded": [r * 0.5 for r in resolutions],
                    "unpadded": [r * 0.6 for r in resolutions],
                    "inside": 0.5,
                }
            )
            for name in small_maps._VARIANTS.values()
        ]
    )
    text = small_maps.readable(use, fields)
    assert text.iloc[0, 4] == "7; 100 / 29"
    assert "At 224, 13x13 on 7x7: 29% of the weights" in small_maps.remarks(use, fields)[2]
    save_figure(small_maps.draw(use, fields), tmp_path / "figure", {})


# --- erf_table ---


def test_networks_without_weights_are_measured_untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> object:
        if name.startswith("replknet"):
            raise ErfToolsError(f"the trained weights of {name} are not on this machine")
        return object()

    monkeypatch.setattr(erf_table, "load_model", load)
    wanted, missing = erf_table.requests(untrained=False)
    assert [request.weights for request in wanted] == ["pretrained"] * 2 + ["random"] * 2
    assert len(missing) == 2
    assert {request.weights for request in erf_table.requests(untrained=True)[0]} == {"random"}


def test_the_table_has_published_and_measured_values(erf_of_resnet101: ERF, tmp_path: Path) -> None:
    table = erf_table.compared((erf_of_resnet101,))
    assert list(table["threshold"]) == [0.2, 0.3, 0.5, 0.99]
    assert list(table["standing"]) == ["recalled"] * 3 + ["seen"]
    assert list(table["published"]) == list(PUBLISHED["resnet101"].ratios.values())
    assert (table["difference"] == table["legacy"] - table["published"]).all()
    assert table[["legacy_low", "legacy_high"]].isna().all(axis=None)  # fewer than five images
    shown = erf_table.readable(table)
    assert shown["Published r, %"].iloc[3] == "22.4†"
    assert (shown["Weights"] == "untrained").all()
    save_figure(erf_table.draw((erf_of_resnet101,), table), tmp_path / "figure", {})


@pytest.fixture(scope="module")
def erf_of_resnet101() -> ERF:
    from erf_tools import effective_receptive_field, load_model

    model = load_model("resnet101", "random")
    return effective_receptive_field(model, select("builtin", 2), resolution=64)


# --- shape_bias_figure ---


def test_orderings_are_answered_by_paired_differences(published_decisions: Path) -> None:
    """Of the published decisions, ResNet-152 minus humans is known to the last digit."""
    makers = decision_makers(read_decisions([published_decisions]), reference=False)
    found = shape_bias_figure.answers(makers).set_index("claim")
    row = found.loc["humans more than resnet152"]
    assert row["difference"] == pytest.approx(0.9587 - 0.2562, abs=1e-4)
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert row["verdict"] == "as claimed"
    assert found.loc["replknet31b more than swin_b", "verdict"] == "not measured"


@pytest.mark.parametrize(
    ("alike", "low", "high", "verdict"),
    [
        (False, 0.1, 0.2, "as claimed"),
        (False, -0.2, -0.1, "reversed"),
        (False, -0.1, 0.1, "not settled"),
        (True, -0.1, 0.1, "no difference found"),
        (True, 0.1, 0.2, "not as claimed"),
    ],
)
def test_verdicts(alike: bool, low: float, high: float, verdict: str) -> None:
    ordering = shape_bias_figure.Ordering("a", "b", alike)
    assert ordering.verdict((low + high) / 2, low, high) == verdict


def test_what_cannot_be_had_is_named_and_left_out(tmp_path: Path) -> None:
    makers, missing = shape_bias_figure.gather(None, [], None, tmp_path)
    assert set(missing) == set(shape_bias_figure.NETWORKS)
    names = [maker.name for maker in makers]
    assert names == ["humans (published)", "ResNet-50 (published)", "ResNet-152 (published)"]


def test_given_decisions_take_the_place_of_published_rows(
    published_decisions: Path, tmp_path: Path
) -> None:
    given = [made for made in read_decisions([published_decisions]) if made.name == "resnet152"]
    makers, missing = shape_bias_figure.gather(None, given, None, tmp_path)
    assert "resnet152" not in missing
    names = [maker.name for maker in makers]
    assert "resnet152" in names
    assert "ResNet-152 (published)" not in names


# --- downstream ---


def test_every_published_number_has_a_source_and_a_standing() -> None:
    table = downstream.published()
    assert set(table["standing"]) == {"seen", "recalled"}
    assert table["source"].str.len().min() > 10
    scores = table[["imagenet", "ade20k", "coco_box"]]
    assert scores.stack().dropna().between(45, 90).all()
    assert table["imagenet"].notna().all()


def test_downstream_says_what_its_numbers_say(tmp_path: Path) -> None:
    table = downstream.published()
    kernels = table["kernels"].where(table["group"] == "kernel ablation")
    table["effective_side"] = 100 * kernels
    said = " ".join(downstream.remarks(table))
    assert "From 3x3 to 13x13 kernels: +0.91 points on ImageNet, +2.30 on ADE20K" in said
    assert "effective side with ADE20K 1.00, with ImageNet 0.90" in said
    shown = downstream.readable(table)
    assert shown.loc[4, "ADE20K mIoU, %"] == "49.17*"
    assert shown.loc[5, "ADE20K mIoU, %"] == "48.1"
    save_figure(downstream.draw(table), tmp_path / "figure", {})


def test_kernels_are_read_from_the_backbones_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow_replknet, "_SETTLED_ON", 1)
    small, large = (
        downstream.measure_kernels(f"RepLKNet {kernels}", 128, 1)["effective_side"]
        for kernels in ("3-3-3-3", "13-13-13-13")
    )
    assert small < large


# --- perturbation ---


@pytest.mark.usefixtures("no_drawing")
def test_checks_are_gone_on_with_and_only_of_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perturbation, "_NETWORKS", {"resnet18": "random"})
    monkeypatch.setattr(perturbation, "_PROCEDURE", Procedure(resolution=32))
    monkeypatch.setattr(perturbation, "_CHECKING", Checking(2, ("mean",)))
    perturbation.main(quick=True, output=tmp_path)
    table = pd.read_csv(tmp_path / "perturbation.csv")
    assert table["images"].tolist() == [2, 2, 2]
    said = (tmp_path / "perturbation.md").read_text()
    assert "by gradients resnet18; by real changes resnet18" in said
    selection = select("builtin", 2)
    before = perturbation.check("resnet18", selection, tmp_path)
    monkeypatch.setattr(perturbation, "check_layer", lambda *_, **more: more["earlier"])
    again = perturbation.check("resnet18", selection, tmp_path)
    assert again is not None
    assert again.record() == before.record()
    assert perturbation.check("resnet18", select("builtin", 2, seed=1), tmp_path) is None
