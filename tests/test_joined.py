"""`erf-tools compare`: which ERF stands beside a shape bias where a study has several."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import synthetic

from erf_tools.errors import UsageError
from erf_tools.joined import join, scatter

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
    "weights": "pretrained",
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


@pytest.mark.usefixtures("no_drawing")
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


@pytest.mark.usefixtures("no_drawing")
def test_checkpoints_of_which_none_decided_are_left_out(tmp_path: Path) -> None:
    others = [{**ERF, "weights_sha256": digest} for digest in "bc"]
    second = [{**ERF, "model": "net"}]
    assert sides([*others, *second], [BIAS], tmp_path) == [20]
    with pytest.raises(Exception, match="no model is in both"):
        sides(others, [BIAS], tmp_path)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """An ERF, a shape bias and a reliance, each of one network more."""
    named = {name: tmp_path / name for name in ("erf", "bias", "reliance", "out")}
    for name, file, row in (("erf", "erf_table.csv", ERF), ("bias", "shape_bias.csv", BIAS)):
        named[name].mkdir()
        rows = [row, {**row, "model": f"only {name}"}]
        pd.DataFrame(rows).to_csv(named[name] / file, index=False)
    synthetic.reliance_folder(named["reliance"], "net", "only reliance")
    return named


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize(
    ("erf", "bias", "label", "hollow", "other"),
    [
        ({}, {}, "net", False, "same"),
        ({}, {"weights": "untrained", "weights_sha256": "b"}, "decided untrained", True, "other"),
        (
            {"weights": "untrained"},
            {"weights_sha256": "b"},
            "untrained, other weights",
            True,
            "other",
        ),
        ({}, {"weights": "w.pth", "weights_sha256": "b"}, "other weights", False, "other"),
        ({}, {"low_coverage": True}, "LOW", False, "same"),
        # Of decisions that others have published nobody knows the weights.
        ({}, {"weights": "published", "weights_sha256": ""}, "net", False, "unknown"),
        ({"weights": "untrained"}, {"weights_sha256": ""}, "untrained", True, "unknown"),
    ],
)
def test_marks_say_what_they_are_of(
    erf: dict, bias: dict, label: str, hollow: bool, other: str, folders: dict[str, Path]
) -> None:
    for name, file, row in (
        ("erf", "erf_table.csv", {**ERF, **erf}),
        ("bias", "shape_bias.csv", {**BIAS, **bias}),
    ):
        pd.DataFrame([row]).to_csv(folders[name] / file, index=False)
    found = join(folders["erf"], folders["bias"], folders["out"])
    (axes, *_) = scatter(found.table).axes
    (mark,) = (text.get_text().replace("\n", " ") for text in axes.texts)
    assert mark == ("net" if label == "net" else f"net ({label})")
    (point,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert (point.get_markerfacecolor() == "white") == hollow
    assert found.other_weights == (("net",) if other == "other" else ())
    said = [remark for remark in found.remarks if remark.startswith("net: ")]
    assert (
        said
        == {
            "same": [],
            "other": ["net: measured with different weights."],
            "unknown": ["net: with which weights it decided is not known."],
        }[other]
    )
    shown = (folders["out"] / "comparison.md").read_text().splitlines()
    heads, _, cells = ([each.strip() for each in line.split("|")] for line in shown[:3])
    row = dict(zip(heads, cells, strict=True))
    assert row["Weights"] == {**ERF, **erf}["weights"]
    assert row["Weights that decided"] == {**BIAS, **bias}["weights"]


@pytest.mark.usefixtures("no_drawing")
def test_reliance_of_untrained_weights_is_hollow_beside_a_trained_map(
    folders: dict[str, Path],
) -> None:
    changed(folders, weights="untrained")
    found = join(folders["erf"], folders["bias"], folders["out"], folders["reliance"])
    by_shape, by_cue, *_ = scatter(found.table).axes
    assert [text.get_text() for text in by_shape.texts] == ["net"]
    assert [text.get_text() for text in by_cue.texts] == ["net\n(decided untrained)"]
    (point,) = [line for line in by_cue.lines if line.get_marker() == "o"]
    assert point.get_markerfacecolor() == "white"


def changed(folders: dict[str, Path], **columns: object) -> None:
    file = folders["reliance"] / "reliance.csv"
    pd.read_csv(file).assign(**columns).to_csv(file, index=False)


def test_reliance_stands_beside_erf_and_shape_bias(folders: dict[str, Path]) -> None:
    found = join(folders["erf"], folders["bias"], folders["out"], folders["reliance"])
    assert found.table["model"].tolist() == ["net"]
    (row,) = found.table.to_dict("records")
    measured = pd.read_csv(folders["reliance"] / "reliance.csv").iloc[0]
    assert (row["effective_side"], row["shape_bias"]) == (20, 0.3)
    for name in ("global_shape", "local_shape_low", "color_high", "accuracy"):
        assert row[name] == measured[name]
    assert set(found.left_out) == {"only erf", "only bias", "only reliance"}
    assert found.other_weights == ("net",)  # "a" and zeros
    shown = (folders["out"] / "comparison.md").read_text()
    assert "Global shape" in shown
    assert "Shape bias" in shown
    assert (folders["out"] / "comparison.png").stat().st_size > 1000

    alone = join(folders["erf"], None, folders["out"], folders["reliance"])
    assert "shape_bias" not in alone.table
    assert alone.table["global_shape"].tolist() == [measured["global_shape"]]


@pytest.mark.usefixtures("no_drawing")
def test_what_is_relative_to_a_low_accuracy_is_not_joined(folders: dict[str, Path]) -> None:
    changed(folders, low_accuracy=True)
    found = join(folders["erf"], None, folders["out"], folders["reliance"])
    assert found.table[["global_shape", "color_low"]].isna().all(axis=None)
    assert found.table["accuracy"].notna().all()
    assert " LOW" in (folders["out"] / "comparison.md").read_text()


@pytest.mark.usefixtures("no_drawing")
def test_axes_hold_reliances_beyond_zero_and_one(folders: dict[str, Path]) -> None:
    changed(folders, local_shape=1.1, local_shape_low=0.2, local_shape_high=1.6)
    changed(folders, color=-0.4, color_low=None, color_high=None)
    table = join(folders["erf"], folders["bias"], folders["out"], folders["reliance"]).table
    panels = {axes.get_ylabel(): axes.get_ylim() for axes in scatter(table).axes}
    assert panels["reliance on local shape"][1] > 1.6
    assert panels["reliance on colour"][0] < -0.4
    assert panels["shape bias, S / (S + T)"] == (0, 1)


@pytest.mark.parametrize(
    ("columns", "asked", "why"),
    [
        ({}, {"bias": None, "reliance": None}, "give --shape-bias or --reliance"),
        ({"counted": "shape"}, {}, "counts shape and texture of stimuli apart"),
        ({"model": "another"}, {}, "no model is in all three"),
        ({"model": "another"}, {"bias": None}, "no model is in both"),
        ({}, {"reliance": "bias"}, r"--reliance .*bias: there is no reliance\.csv"),
        ({}, {"bias": "reliance"}, r"--shape-bias .*reliance: there is no shape_bias\.csv"),
    ],
)
def test_what_cannot_be_joined_is_said(
    columns: dict[str, str], asked: dict[str, str | None], why: str, folders: dict[str, Path]
) -> None:
    changed(folders, **columns)
    given = {name: folders[own] if own else None for name, own in asked.items()}
    given = {"bias": folders["bias"], "reliance": folders["reliance"], **given}
    with pytest.raises(UsageError, match=why):
        join(folders["erf"], given["bias"], folders["out"], given["reliance"])
    assert not folders["out"].exists()


def test_a_reliance_without_a_profile_is_refused(folders: dict[str, Path]) -> None:
    file = folders["reliance"] / "reliance.csv"
    table = pd.read_csv(file)
    table.drop(columns=table.filter(regex="shape|color")).to_csv(file, index=False)
    with pytest.raises(UsageError, match="has no profile; measure with --cues"):
        join(folders["erf"], None, folders["out"], folders["reliance"])
