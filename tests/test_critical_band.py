"""The critical band: closed forms, a slow calculation, and the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from conftest import Command
from matplotlib.figure import Figure
from PIL import Image

from erf_tools.reliance.critical_band import critical_band, critical_band_table
from erf_tools.reliance.figures import critical_band_plot
from erf_tools.reliance.suppressions import chosen

ROWS = chosen("gray,critical-band")  # five strengths of another cue before the bands


def answers(losses: list[float], images: int = 40) -> np.ndarray:
    """Return hits of which noise of each band takes a share, at each of its four strengths."""
    columns = [np.ones(images, dtype=bool)] * (1 + 5 + 1)
    for loss in losses:
        columns += [np.arange(images) >= round(loss * images)] * 4
    return np.column_stack(columns)


def test_losses_centre_and_width_are_those_of_the_definition() -> None:
    losses = [0, 0.25, 0.5, 1, 0.5, 0.25, 0]
    found = critical_band(answers(losses), ROWS)
    assert [loss.value for loss in found.losses] == pytest.approx(losses)
    assert found.center.value == pytest.approx((7 * 14) ** 0.5)
    assert found.width.value == pytest.approx(2.5)
    assert found.accuracy.value == 1
    assert found.width.low <= 2.5 <= found.width.high
    one = critical_band(answers([0, 0, 1, 0, 0, 0, 0]), ROWS)
    assert (one.width.value, one.width.low, one.width.high) == (1, 1, 1)
    assert one.center.value == pytest.approx((3.5 * 7) ** 0.5)
    assert critical_band(answers([1] * 7), ROWS).width.value == 7


def test_losses_are_relative_to_low_contrast() -> None:
    generator = np.random.default_rng(0)
    hits = generator.random((60, 1 + 5 + 1 + 28)) < 0.6
    found = critical_band(hits, ROWS)
    clean = sum(bool(row[6]) for row in hits)
    for band in range(7):
        kept = 0.0
        for strength in range(4):
            kept += sum(bool(row[7 + 4 * band + strength]) for row in hits) / clean / 4
        assert found.losses[band].value == pytest.approx(1 - kept)
    assert found.accuracy.value == clean / 60


def test_without_harm_there_is_no_band() -> None:
    found = critical_band(answers([0] * 7), ROWS)
    assert np.isnan([found.center.value, found.width.value, found.width.low]).all()
    few = critical_band(answers([0, 0.5, 0, 0, 0, 0, 0], 4), ROWS)
    assert few.width.value == 1
    assert np.isnan(few.width.low)


def test_what_noise_adds_by_chance_is_drawn() -> None:
    """Half is right without noise, all of it with noise of the first band."""
    result = replace(
        synthetic.answers("net", "gray,critical-band"), hits={"accuracy": answers([0.5] * 7)}
    )
    hits = result.hits["accuracy"]
    hits[:, 6] = np.arange(40) >= 20
    hits[:, 7:11] = True
    table = critical_band_table([result], result.rows)
    assert table["loss_1"].tolist() == [-1]
    (axes,) = critical_band_plot(table).axes
    assert axes.lines[0].get_ydata()[0] == -1
    bottom = axes.get_ylim()[0]
    assert bottom < table["loss_1_low"].item()
    assert bottom < axes.collections[0].get_paths()[0].vertices[:, 1].min()


def test_intervals_hold_the_truth() -> None:
    """Of images that noise of the bands takes independently, with known shares."""
    generator = np.random.default_rng(0)
    losses = np.array([0.05, 0.1, 0.3, 0.7, 0.4, 0.1, 0.05])
    truth = losses.sum() / losses.max()
    held = 0
    for draw in range(60):
        hits = np.ones((200, 35), dtype=bool)
        for band, loss in enumerate(losses):
            hits[:, 7 + 4 * band : 11 + 4 * band] = generator.random((200, 4)) >= loss
        width = critical_band(hits, ROWS, seed=draw).width
        held += width.low <= truth <= width.high
    assert held >= 52  # of 60; 95 % would be 57


NETWORK = """
from torch import nn

class Brightness(nn.Module):
    def forward(self, images):
        level = images.mean(dim=(1, 2, 3))
        left = images[..., : images.shape[-1] // 2].mean(dim=(1, 2, 3))
        return (left - level)[:, None] * images.new_tensor([[-9.0, 9.0]])

def build():
    return nn.Sequential(nn.Identity(), Brightness())
"""


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Command) -> None:
    """A network that sees which half of an image is brighter: noise of low frequencies harms it."""
    pytest.importorskip("cv2", reason="the extra `reliance` is missing")
    monkeypatch.chdir(tmp_path)
    for others in ("profile_plot", "curves_plot", "changes_plot", "strip_plot"):
        monkeypatch.setattr(f"erf_tools.reliance.figures.{others}", lambda *_: Figure())
    generator = np.random.default_rng(0)
    for label, sign in (("right", -1), ("left", 1)):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(3):
            pixels = generator.normal(128, 20, (224, 224, 3))
            pixels[:, :112] += 6 * sign
            path = tmp_path / "images" / label / f"{number}.png"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    (tmp_path / "network.py").write_text(NETWORK)
    (tmp_path / "classes.csv").write_text("index,category\n0,right\n1,left\n")
    command = ("reliance", "--models", "network.py:build", "--images", "images")
    command += ("--label-map", "classes.csv", "--output", "out", "--cues", "critical-band")
    code, _, err = run_command(*command)
    assert code == 0, err
    (row,) = pd.read_csv("out/critical_band.csv").to_dict("records")
    assert row["accuracy"] == 1
    assert row["peak"] == "0.875 to 1.75"
    assert row["loss_1"] > 0.2
    assert row["loss_7"] == 0
    assert row["width"] < 3
    assert "Critical band" in Path("out/critical_band.md").read_text()
    assert Path("out/critical_band.png").stat().st_size > 1000
    code, _, err = run_command(*command[:-1], "color", "--overwrite")
    assert code == 0, err
    assert Path("out/reliance.csv").exists()
    assert not list(Path("out").glob("critical_band*"))
