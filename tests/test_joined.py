"""`erf-tools compare`: which ERF stands beside a shape bias where a study has several."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from erf_tools.joined import join

ERF = {
    "model": "net",
    "weights": "pretrained",
    "weights_sha256": "a",
    "layer": "last",
    "default_layer": True,
    "protocol": "ding2022",
    "resolution": "64x64",
    "images": 5,
    "legacy_99": 0.9,
    "linear_50": 0.1,
    "linear_99": 0.9,
    "effective_side": 20.0,
    "radius": 10.0,
}
BIAS = {
    "model": "net",
    "shape_bias": 0.3,
    "shape_bias_low": 0.2,
    "shape_bias_high": 0.4,
    "coverage": 0.6,
    "low_coverage": False,
    "preset": "direct",
    "aggregation": "mean",
    "stimuli": "",
    "weights_sha256": "a",
    "cues": "shape, texture",
}


def sides(erfs: list[dict], biases: list[dict], folder: Path) -> list[float]:
    for name, rows in (("erf/erf_table.csv", erfs), ("bias/shape_bias.csv", biases)):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_csv(path, index=False)
    found = join(folder / "erf", folder / "bias", folder / "out")
    assert (found.table["model"] == "net").all()
    return found.table["effective_side"].tolist()


@pytest.mark.parametrize(
    ("erfs", "expected"),
    [
        ([{}], [20]),
        # The default layer counts, wherever it stands.
        ([{"layer": "first", "default_layer": False, "effective_side": 5.0}, {}], [20]),
        # Of several checkpoints the one that decided.
        ([{"weights_sha256": "b", "effective_side": 7.0}, {}], [20]),
        # Only other layers: all of them, since none of them is more the network's than another.
        (
            [
                {"layer": "one", "default_layer": False, "effective_side": 5.0},
                {"layer": "two", "default_layer": False, "effective_side": 6.0},
            ],
            [5, 6],
        ),
    ],
)
def test_a_model_is_joined_once(erfs: list[dict], expected: list[float], tmp_path: Path) -> None:
    assert sides([{**ERF, **row} for row in erfs], [BIAS], tmp_path) == expected


def test_checkpoints_of_which_none_decided_are_left_out(tmp_path: Path) -> None:
    others = [{**ERF, "weights_sha256": digest} for digest in "bc"]
    second = [{**ERF, "model": "net"}]
    assert sides([*others, *second], [BIAS], tmp_path) == [20]
    with pytest.raises(Exception, match="no model is in both"):
        sides(others, [BIAS], tmp_path)
