"""The training study: its images, its networks, what it counts, and that it goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chi2_contingency
from torch import nn
from typer import Typer
from typer.testing import CliRunner

from analyses import (
    shape_texture_images,
    trained_networks,
    training_figure,
    training_reliance,
    training_statistics,
    training_study,
)
from analyses.shape_texture_images import ABSENT, CLASSES, CUES, SHAPES, Cue, Images, make_images
from analyses.trained_networks import QUICK, RESNET, SWIN, WHOLE, Network, kernel
from erf_tools.figures import save_figure

CPU = torch.device("cpu")

TINY = replace(
    QUICK,
    designs=(kernel(3), kernel(13, shortcut=False)),
    seeds=2,
    side=32,
    width=8,
    depth=1,
    steps=3,
    batch_size=8,
    test_images=24,
    erf_images=2,
)


def images_of(cue: Cue, number: int, side: int, seed: int = 0) -> Images:
    return make_images(number, cue, side, np.random.default_rng(seed), CPU)


def counts(shapes: np.ndarray, textures: np.ndarray) -> np.ndarray:
    table = np.zeros((CLASSES, CLASSES))
    np.add.at(table, (shapes, textures), 1)
    return table


@pytest.mark.parametrize("cue", CUES)
def test_a_seed_gives_the_same_images(cue: Cue) -> None:
    first, second, other = (images_of(cue, 12, 32, seed) for seed in (1, 1, 2))
    assert torch.equal(first.pixels, second.pixels)
    assert np.array_equal(first.labels, second.labels)
    assert not torch.equal(first.pixels, other.pixels)
    assert first.pixels.min() >= 0
    assert first.pixels.max() <= 1


@pytest.mark.parametrize("cue", ["shape", "texture"])
def test_the_label_is_one_cue_and_the_other_says_nothing(cue: Cue) -> None:
    images = images_of(cue, 4000, 4)
    assert np.array_equal(images.labels, getattr(images, f"{cue}s"))
    table = counts(images.shapes, images.textures)
    assert table.min() > 20
    assert chi2_contingency(table).pvalue > 0.001


def test_either_cue_is_the_label() -> None:
    images = images_of("either", 400, 4)
    assert np.array_equal(images.shapes, images.labels)
    assert np.array_equal(images.textures, images.labels)
    assert len(set(images.labels)) == CLASSES


def test_cues_in_conflict_never_agree_and_all_pairs_occur_alike() -> None:
    images = images_of("conflict", 4000, 4)
    table = counts(images.shapes, images.textures)
    assert np.trace(table) == 0
    pairs = table[~np.eye(CLASSES, dtype=bool)]
    expected = 4000 / len(pairs)
    assert ((pairs - expected) ** 2 / expected).sum() < 93.2  # chi-square, 55 df, p = 0.001


def test_an_absent_cue_is_absent() -> None:
    assert set(images_of("silhouette", 8, 32).textures) == {ABSENT}
    assert set(images_of("swatch", 8, 32).shapes) == {ABSENT}
    classes, absent, noise = np.arange(CLASSES), np.full(CLASSES, ABSENT), 0.08
    silhouettes, swatches = (
        shape_texture_images.render(*cues, 64, np.random.default_rng(0), CPU)
        for cues in ((classes, absent), (absent, classes))
    )
    inside = shape_texture_images.outlines(classes, 64, np.random.default_rng(0), CPU)
    for pixels, mask in zip(silhouettes, inside, strict=True):
        assert pixels[:, mask].std(dim=1).max() < 1.1 * noise
        assert pixels.std(dim=(1, 2)).max() > 1.5 * noise
    assert swatches.std(dim=(2, 3)).min() > 1.2 * noise
    for corner in (swatches[..., :8, :8], swatches[..., -8:, -8:]):
        assert corner.mean(dim=(2, 3)).min() > 0.45  # the ground is darker than 0.4


def test_silhouettes_have_one_area_and_lie_within_the_image() -> None:
    for index in range(CLASSES):
        inside = shape_texture_images.outlines(
            np.full(200, index), 128, np.random.default_rng(3), CPU
        )
        area = inside.double().mean(dim=(1, 2)).numpy()
        if index == 0:
            discs = area
        assert area == pytest.approx(discs, rel=0.03)
        assert not inside[:, [0, -1]].any()
        assert not inside[:, :, [0, -1]].any()


def test_silhouettes_differ() -> None:
    masks = [
        shape_texture_images.outlines(np.array([index]), 64, np.random.default_rng(0), CPU)
        for index in range(CLASSES)
    ]
    for index, mask in enumerate(masks):
        for other in masks[:index]:
            assert (mask != other).sum() > 0.1 * mask.sum()


def test_a_texture_is_the_same_whatever_the_shape() -> None:
    textures = np.arange(CLASSES)
    drawn = []
    for shape in ("disc", "cross"):
        shapes = np.full(CLASSES, list(SHAPES).index(shape))
        pixels = shape_texture_images.render(shapes, textures, 64, np.random.default_rng(5), CPU)
        inside = shape_texture_images.outlines(shapes, 64, np.random.default_rng(5), CPU)
        drawn.append((pixels, inside))
    (discs, in_disc), (crosses, in_cross) = drawn
    both, neither = in_disc & in_cross, ~in_disc & ~in_cross
    assert both.sum(dim=(1, 2)).min() > 200
    for same in (both, neither):
        mask = same[:, None].expand_as(discs)
        assert torch.equal(discs[mask], crosses[mask])
    changed = (in_disc ^ in_cross)[:, None].expand_as(discs)
    assert (discs[changed] != crosses[changed]).float().mean() > 0.9


@pytest.mark.parametrize("cue", ["shape", "texture"])
def test_mean_colour_says_nothing(cue: Cue) -> None:
    """A linear probe on mean and spread of the colours does not beat guessing."""
    images = images_of(cue, 4000, 32)
    colours = torch.cat([images.pixels.mean(dim=(2, 3)), images.pixels.std(dim=(2, 3))], dim=1)
    assert _probed(colours[:, :3].double().numpy(), images.labels) < 0.125 + 4 * 0.0074
    darkened = colours[:, :3].double().numpy() * (1 + 0.1 * images.labels[:, None])
    assert _probed(darkened, images.labels) > 0.2  # it would find a colour that tells


def _probed(features: np.ndarray, labels: np.ndarray) -> float:
    """Fit one half by least squares; return the accuracy on the other."""
    design = np.c_[features, np.ones(len(features))]
    half = len(labels) // 2
    weights = np.linalg.lstsq(design[:half], np.eye(CLASSES)[labels[:half]], rcond=None)[0]
    return float(((design[half:] @ weights).argmax(axis=1) == labels[half:]).mean())


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_networks_differ_in_nothing_but_their_kernels() -> None:
    depth, width = 3, 32
    plain = parameters(Network(kernel(3), 64, width, depth))
    for side in (7, 13, 31):
        more = parameters(Network(kernel(side), 64, width, depth)) - plain
        assert more == depth * width * (side**2 - 9)
    assert parameters(Network(kernel(3, shortcut=False), 64, width, depth)) == plain
    small = parameters(Network(kernel(31, True, 5), 64, width, depth))
    assert small - parameters(Network(kernel(31), 64, width, depth)) == depth * width * (25 + 2)
    largest = parameters(Network(kernel(31), 64, width, depth))
    for design in (RESNET, SWIN):
        assert plain < parameters(Network(design, 64, width, depth)) < largest


@pytest.mark.parametrize("side", [3, 7, 13, 31])
def test_a_block_sees_as_far_as_its_kernel(side: int) -> None:
    torch.manual_seed(0)
    block = trained_networks.DepthwiseBlock(32, kernel(side)).eval()
    stream = torch.rand(1, 32, 41, 41, requires_grad=True)
    block(stream)[0, :, 20, 20].sum().backward()
    assert stream.grad is not None
    seen = stream.grad[0].abs().sum(dim=0).nonzero()
    assert seen.min(dim=0).values.tolist() == [20 - side // 2] * 2
    assert seen.max(dim=0).values.tolist() == [20 + side // 2] * 2


@pytest.mark.parametrize("shortcut", [True, False])
def test_only_the_shortcut_passes_a_silent_branch(shortcut: bool) -> None:
    block = trained_networks.DepthwiseBlock(4, kernel(5, shortcut))
    nn.init.zeros_(block.leave[1].weight)
    stream = torch.rand(2, 4, 9, 9)
    assert torch.equal(block(stream), stream if shortcut else torch.zeros_like(stream))


def test_the_parallel_kernel_is_a_branch_with_its_own_norm() -> None:
    torch.manual_seed(0)
    block = trained_networks.DepthwiseBlock(4, kernel(13, True, 5)).eval()
    assert [branch[0].kernel_size for branch in block.kernels] == [(13, 13), (5, 5)]
    stream = torch.randn(2, 4, 16, 16)
    entered = torch.relu(block.enter(stream))
    merged = block.kernels[0](entered) + block.kernels[1](entered)
    assert torch.allclose(block(stream), stream + block.leave(torch.relu(merged)), atol=1e-6)


def test_shifted_windows_see_beyond_their_window() -> None:
    torch.manual_seed(0)
    blocks = [trained_networks.WindowBlock(8, 16, shifted) for shifted in (False, True)]
    extents = []
    for network in (blocks[0], nn.Sequential(*blocks)):  # the second's windows are 6 to 9, 10 to 13
        stream = torch.randn(1, 8, 16, 16, requires_grad=True)
        network.eval()(stream)[0, :, 9, 9].sum().backward()
        assert stream.grad is not None
        seen = stream.grad[0].abs().sum(dim=0).nonzero()
        extents.append((seen.min().item(), seen.max().item()))
    assert extents == [(8, 11), (4, 11)]


def test_training_is_repeatable_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second, other = (
        training_study.train(kernel(13), "either", seed, TINY, CPU).state_dict()
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["features.0.0.weight"], other["features.0.0.weight"])


@pytest.mark.parametrize("cue", ["shape", "texture"])
def test_each_cue_can_be_learned(cue: Cue) -> None:
    plan = replace(QUICK, depth=1, steps=90)
    network = training_study.train(kernel(7), cue, 0, plan, CPU)
    images = images_of(cue, 400, plan.side, seed=9)
    share = (training_study.decide(network, images.pixels) == images.labels).mean()
    assert share > 0.35  # guessing: 0.125, standard error 0.017


def test_decisions_are_counted_by_cue() -> None:
    decisions, shapes, textures = np.array([[0, 1, 2, 3, 1], [0, 0, 0, 3, 2], [1, 1, 1, 1, 1]])
    found = training_study.count_cues(decisions, shapes, textures)
    assert found == {"S": 2, "T": 2, "N": 5, "shape_bias": 1 / 2, "coverage": 4 / 5}
    found = training_study.count_cues(decisions[:4], shapes[:4], textures[:4])
    assert found == {"S": 2, "T": 1, "N": 4, "shape_bias": 2 / 3, "coverage": 3 / 4}
    nothing = training_study.count_cues(np.array([5, 6]), shapes[:2], textures[:2])
    assert np.isnan(nothing["shape_bias"])
    assert nothing["coverage"] == 0


def test_a_run_measures_what_the_network_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """An oracle of shapes: right wherever there is one, never with the texture."""
    network = Network(kernel(3), 32, 8, 1).eval()
    asked: list[Images] = []

    def making(*arguments: object) -> Images:
        asked.append(make_images(*arguments))  # type: ignore[arg-type]
        return asked[-1]

    monkeypatch.setattr(training_study, "train", lambda *arguments: network)
    monkeypatch.setattr(training_study, "make_images", making)
    monkeypatch.setattr(training_study, "decide", lambda *arguments: asked[-1].shapes)
    found = training_study.measure_run(kernel(3), "either", 0, TINY, CPU)
    assert found["accuracy_own"] == found["accuracy_silhouette"] == 1
    assert found["accuracy_swatch"] == 0
    assert (found["S"], found["T"], found["N"]) == (24, 0, 24)
    assert found["parameters"] == parameters(network)
    assert 0 < found["effective_side"] <= 32


def test_a_network_of_textures_loses_nothing_by_shuffling_and_all_without_texture() -> None:
    found = training_reliance.known_answer(0, replace(QUICK, depth=1, steps=60), CPU)
    assert found["accuracy"] > 0.6
    assert found["changed"] == 0  # of 256 answers to each of three shuffles
    assert found["left_low"] < 1 / CLASSES < found["left_high"]
    assert training_reliance.whole_grids(64) == [2, 4, 8]
    assert "change 0 of its answers" in training_reliance.finding([found])


def test_reliance_is_what_answers_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_of("either", 16, 32)
    strengths = iter(range(16))  # unchanged, eight shuffles, seven blurs

    def decide(*_: object) -> np.ndarray:
        """Be right on all unchanged images, half of the shuffled ones, and all blurred ones."""
        shuffled = 0 < next(strengths) < 9
        return np.where(np.arange(16) < (8 if shuffled else 16), images.labels, -1)

    monkeypatch.setattr(training_reliance, "decide", decide)
    found = training_reliance.reliance(nn.Identity(), images)
    assert found == {"global_shape": 0.5, "local_shape": 0, "texture": 0}
    monkeypatch.setattr(training_reliance, "decide", lambda *_: np.full(16, -1))
    assert np.isnan(training_reliance.reliance(nn.Identity(), images)["texture"])


def test_effective_side_is_within_the_theoretical_field() -> None:
    torch.manual_seed(0)
    sides = [
        training_study.effective_side(
            Network(kernel(side), 64, 8, 1).eval(), "x", images_of("either", 2, 64).pixels
        )
        for side in (3, 13)
    ]
    assert sides[0] <= 4 * 2 + 7 + 2  # the stem's 7 pixels, 4 more for each cell to either side
    assert sides[1] > sides[0]


def test_a_study_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(TINY, designs=(kernel(3),))
    whole = training_study.study(plan, tmp_path / "whole", CPU)
    assert len(whole) == 2
    assert list(whole.columns[:3]) == ["design", "cue", "seed"]
    measured = []
    measure_run = training_study.measure_run

    def counting(*arguments: object) -> dict[str, float]:
        measured.append(arguments)
        return measure_run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training_study, "measure_run", counting)
    training_study.study(replace(plan, seeds=1), tmp_path / "parts", CPU)
    parts = training_study.study(plan, tmp_path / "parts", CPU)
    assert len(measured) == 2
    pd.testing.assert_frame_equal(whole, parts)
    training_study.study(replace(plan, seeds=1, steps=2), tmp_path / "parts", CPU)
    assert len(measured) == 3


def test_processes_give_the_same_numbers(tmp_path: Path) -> None:
    plan = replace(TINY, designs=(kernel(13),), seeds=1)
    alone = training_study.study(plan, tmp_path / "alone", CPU)
    together = training_study.study(plan, tmp_path / "together", CPU, workers=2)
    pd.testing.assert_frame_equal(alone, together)


DESIGNS = (kernel(3), kernel(31), kernel(31, shortcut=False), kernel(31, True, 5), RESNET, SWIN)


@pytest.fixture
def runs() -> pd.DataFrame:
    """Two seeds, six networks: a larger kernel adds 10 and 14 pixels, 0.2 and 0.4 of shape bias."""
    sides = {"3x3": 10, "31x31": 20, "31x31, no shortcut": 40, "31x31 + 5x5": 15}
    biases = {"3x3": 0.1, "31x31": 0.3, "31x31, no shortcut": 0.5, "31x31 + 5x5": 0.25}
    rows = []
    for seed in (0, 1):
        for design in DESIGNS:
            larger = seed * (design.kernel_size == 31)
            rows.append(
                {
                    "design": design.name,
                    "cue": "either",
                    "seed": seed,
                    "parameters": 1000 * design.kernel_size,
                    "accuracy_own": 0.9,
                    "accuracy_silhouette": 0.5,
                    "accuracy_swatch": 0.25,
                    "S": 30 + seed,
                    "T": 10,
                    "N": 100,
                    "coverage": 0.4 + 0.01 * seed,
                    "shape_bias": biases.get(design.name, 0.2) + 0.2 * larger,
                    "effective_side": sides.get(design.name, 12.0) + 4 * larger,
                    **{"global_shape": 0.3 + 0.01 * len(rows), "local_shape": 0.01 * len(rows)},
                    "texture": 0.3 - 0.01 * len(rows),
                }
            )
    return pd.DataFrame(rows)


def test_intervals_are_students() -> None:
    found = training_statistics.over_seeds([0.5, 0.7, float("nan")])
    assert found.value == pytest.approx(0.6)
    assert found.high - found.value == pytest.approx(12.7062 * 0.1, rel=1e-4)
    assert found.value - found.low == pytest.approx(found.high - found.value)
    alone = training_statistics.over_seeds([0.5])
    assert (alone.value, np.isnan(alone.low)) == (0.5, True)
    assert np.isnan(training_statistics.over_seeds([float("nan")]).value)


def test_table_has_sums_and_means(runs: pd.DataFrame) -> None:
    table = training_study.summarise(runs)
    assert list(table["model"]) == [design.name for design in DESIGNS]
    row = table[table["model"] == "31x31"].iloc[0]
    assert (row["S"], row["T"], row["N"], row["seeds"]) == (61, 20, 200, 2)
    assert row["shape_bias"] == pytest.approx(0.4)
    shown = training_study.as_text(table)
    assert shown.loc[1, "S / T / N"] == "61 / 20 / 200"
    assert shown.loc[1, "parameters"] == "31,000"
    assert shown.loc[1, "accuracy"] == "0.90"  # two that are alike show no spread
    assert shown.loc[1, "shape bias"] == "0.40 [-0.87, 1.67]"


def test_differences_are_paired_by_seed(runs: pd.DataFrame) -> None:
    shuffled = runs.sample(frac=1, random_state=0)
    found = training_study.compare(shuffled, DESIGNS).set_index(["what", "measure"])
    assert len(found) == 9
    larger = found.loc[("a larger kernel", "effective_side")]
    assert (larger["model"], larger["other"]) == ("31x31", "3x3")
    assert larger["difference"] == pytest.approx(12)
    assert larger["difference_high"] == pytest.approx(12 + 12.7062 * 2, rel=1e-4)
    shortcut = found.loc[("the shortcut", "shape_bias")]
    assert shortcut["difference"] == pytest.approx(-0.2)
    assert np.isnan(shortcut["difference_high"])  # both seeds are alike, and show no spread
    parallel = found.loc[("the parallel kernel", "effective_side")]
    assert parallel["difference"] == pytest.approx(-5)


def test_findings_are_sentences(runs: pd.DataFrame) -> None:
    said = training_study.findings(runs, training_study.compare(runs, DESIGNS))
    assert said[0] == (
        "What a larger kernel adds (31x31 minus 3x3, label from either): "
        "accuracy 0.00, effective side +12.0 [-13.4, +37.4], "
        "shape bias +0.30 [-0.97, +1.57]."
    )
    assert len(said) == 4
    assert "over the 6 networks" in said[-1]


def test_rank_correlation_follows_the_ranks(runs: pd.DataFrame) -> None:
    ordered = runs.assign(shape_bias=runs["effective_side"] ** 2)
    assert training_statistics.rank_correlation(ordered).value == pytest.approx(1)
    ordered["shape_bias"] *= -1
    assert training_statistics.rank_correlation(ordered).value == pytest.approx(-1)


def test_figure_shows_every_network(runs: pd.DataFrame, tmp_path: Path) -> None:
    figure = training_study.draw(runs, DESIGNS)
    sides, biases, both = figure.axes
    assert [label.get_text() for label in sides.get_yticklabels()] == [
        design.name for design in DESIGNS
    ]
    for axes, measure in ((sides, "effective_side"), (biases, "shape_bias")):
        marks = {
            round(float(line.get_ydata()[0])): float(line.get_xdata()[0])
            for line in axes.lines
            if line.get_marker() in tuple("osPDX")
        }
        means = runs.groupby("design", sort=False)[measure].mean()
        assert [marks[row] for row in range(len(DESIGNS))] == pytest.approx(list(means))
    assert [text.get_text() for text in both.texts] == ["3", "31", "31", "31"]
    files = save_figure(figure, tmp_path / "figure", {})
    assert all(file.stat().st_size > 1000 for file in files)


def test_all_designs_have_a_name_and_a_mark_of_their_own() -> None:
    for plan in (QUICK, WHOLE):
        assert len({design.name for design in plan.designs}) == len(plan.designs)
        assert all(training_figure.marker(design)["marker"] for design in plan.designs)
        assert plan.side % (4 * trained_networks.STRIDE) == 0  # four windows to a side


def test_it_is_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Typer()
    app.command()(training_study.main)
    monkeypatch.setattr(training_study, "QUICK", TINY)
    monkeypatch.setattr(training_study, "available_cores", lambda: 1)
    output = tmp_path / "results"
    options = ["--quick", "--seeds", "1", "--device", "cpu", "--output", str(output)]
    shown = CliRunner().invoke(app, options)
    assert shown.exit_code == 0, shown.output
    for suffix in (".csv", ".md", ".tex", ".png", ".pdf", ".json", "_runs.csv", "_differences.csv"):
        assert (output / f"training_study{suffix}").stat().st_size > 0
    assert len(list((output / "runs").iterdir())) == len(TINY.designs)
    assert "Guessing: accuracy 0.125" in shown.output
    assert CliRunner().invoke(app, ["--seeds", "0"]).exit_code == 2
