"""What all of timm would take: counts against published ones, plans against hand-solved ones."""

from __future__ import annotations

from itertools import product

import pandas as pd
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from analyses import sweep_cost, sweep_plan, sweep_times, timm_operations
from analyses.sweep_plan import Costs, makespan
from erf_tools.features.reading import read_features
from erf_tools.features.taps import default_tap


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name)


def test_the_operations_of_resnet50_are_those_published() -> None:
    found = timm_operations.count_pass(on_meta("resnet50"), 224)
    assert found["failure"] is None
    assert found["forward"] == pytest.approx(4.09e9, rel=2e-3)
    assert found["convolutions"] == found["forward"]
    assert found["attention"] == 0


def test_the_operations_of_convolutions_quadruple_with_twice_the_side() -> None:
    network = on_meta("resnet18")
    small, large = (timm_operations.count_pass(network, side) for side in (128, 256))
    assert large["forward"] == 4 * small["forward"]
    assert large["kept_bytes"] == pytest.approx(4 * small["kept_bytes"], rel=0.01)


@pytest.mark.parametrize(
    "name", ["resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_the_way_back_is_that_of_autograd(name: str) -> None:
    network = on_meta(name).eval().requires_grad_(False)
    images = torch.empty(1, 3, 224, 224, device="meta", requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        features = read_features(network, default_tap(network), images)
        features[:, :, 3, 3].relu().sum().backward()
    counted = pd.DataFrame([timm_operations.count_pass(network, 224)]).add_prefix("own_")
    assert timm_operations.operations(counted, "own")[0] == counter.get_total_flops()


def test_attention_grows_with_the_fourth_power() -> None:
    """Of ViT-Ti/16: 12 layers, width 192, 196 positions and a class token."""
    found = timm_operations.count_network("vit_tiny_patch16_224")
    for prefix, tokens in (("own", 14 * 14 + 1), ("large", 64 * 64 + 1)):
        attention = 12 * 2 * tokens**2 * 192
        assert found[f"{prefix}_attention"] == attention
    assert found["parameters"] == 5_717_416
    assert found["weight_bytes"] == 4 * found["parameters"]
    assert found["one_size"]


def test_a_convolution_is_counted_by_hand() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, groups=8))
    found = timm_operations.count_pass(network, 16)
    assert found["forward"] == 16 * 16 * 8 * 27 + 12 * 12 * 8 * 25


def test_what_cannot_be_measured_has_a_reason() -> None:
    with torch.device("meta"):
        flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
    assert timm_operations.count_pass(flat, 16)["failure"].startswith("map: ")
    assert timm_operations.count_pass(flat, 17)["failure"].startswith("forward: ")
    failures = ["map: a", None, "forward: b", "map: c", "forward: 14 is not divisible by 4"]
    found = sweep_cost.failures(pd.DataFrame({"large_failure": failures}))
    assert found["name no feature map (a layer has to be named)"] == 2
    assert found["refuse the size"] == found["need a multiple of their patch or window"] == 1


def test_families_go_by_what_is_multiplied() -> None:
    counted = pd.DataFrame(
        {
            "own_forward": [100, 100, 100, None],
            "own_convolutions": [20, 50, 1, None],
            "own_attention": [0, 10, 10, None],
        }
    )
    assert timm_operations.family(counted)[:3].tolist() == ["convolutional", "mixed", "attention"]
    assert pd.isna(timm_operations.family(counted)[3])


def test_the_sample_is_spread_over_the_work_of_each_family() -> None:
    rows = [
        {"family": family, "own_forward": work, "model": f"{family}-{work}"}
        for family, work in product(timm_operations.FAMILIES, range(10))
    ]
    counted = pd.DataFrame(rows).assign(side=224, parameters=10, own_failure=None)
    chosen = sweep_times.sample(counted, 6)
    assert chosen == [f"{family}-{work}" for family in timm_operations.FAMILIES for work in (2, 7)]
    counted.loc[counted["own_forward"] > 4, "side"] = 384
    assert sweep_times.sample(counted, 3) == [f"{family}-2" for family in timm_operations.FAMILIES]


# --- the plan ---


@pytest.mark.parametrize(
    ("durations", "machines", "expected"),
    [([], 3, 0), ([5], 3, 5), ([3, 3, 2, 2, 2], 2, 7), ([1, 2, 3, 4], 2, 5), ([4, 1, 1, 1], 2, 4)],
)
def test_longest_first_by_hand(durations: list[float], machines: int, expected: float) -> None:
    assert makespan(durations, machines) == expected


lengths = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(lengths, st.integers(1, 8))
def test_no_schedule_beats_the_even_share_or_leaves_a_machine_idle_for_long(
    durations: list[float], machines: int
) -> None:
    found, share = makespan(durations, machines), sum(durations) / machines
    assert max(share, max(durations)) <= found + 1e-9
    assert found <= share + (1 - 1 / machines) * max(durations) + 1e-9
    assert makespan(durations[::-1], machines) == found


@given(st.lists(st.integers(1, 20), min_size=1, max_size=7), st.integers(1, 3))
def test_longest_first_is_within_grahams_bound_of_the_best(
    durations: list[float], machines: int
) -> None:
    best = min(
        max(
            sum(length for length, on in zip(durations, places, strict=True) if on == machine)
            for machine in range(machines)
        )
        for places in product(range(machines), repeat=len(durations))
    )
    assert best <= makespan(durations, machines) <= (4 / 3 - 1 / (3 * machines)) * best + 1e-9


def test_a_plan_by_hand() -> None:
    """Passes of 2 and 1 s; images that take 1.2 s of 4 threads; 10 s a start and 5 s a result."""
    counted = pd.DataFrame(
        {
            "large_failure": [None, None, "forward: no"],
            "large_forward": [4e11, 5e10, None],
            "large_attention": [2e11, 0, None],
            "family": ["attention", "convolutional", "mixed"],
        }
    )
    costs = Costs({"attention": 10.0, "convolutional": 10.0}, ready=1.2, finish=5.0)
    found = sweep_plan.plan(counted, costs, rate=1.0)
    assert found.passes == pytest.approx(1000 * (2 + 0.2) / 3600)
    assert found.waiting == pytest.approx(1000 * (0.3 - 0.2) / 3600)
    assert found.starting == pytest.approx(20 / 3600)
    assert found.finishing == pytest.approx(10 / 3600)
    # One network of 2015 s and one of 315 s, on a GPU each.
    assert found.wall == pytest.approx(2015 / 3600)
    assert found.gpu_hours == pytest.approx((2015 + 315) / 3600)
    assert found.excess == pytest.approx(8 * 2015 / (2015 + 315) - 1)


def test_shares_of_the_largest() -> None:
    counted = pd.DataFrame(
        {
            "large_failure": [None, None, None, "build: no"],
            "large_forward": [10, 30, 10, 1000],
            "large_attention": [0, 0, 0, 1000],
        }
    )
    assert sweep_cost.largest(counted).tolist() == pytest.approx([0.6, 0.8, 1.0])
