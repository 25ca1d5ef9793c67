"""What a report shows: found, computed, escaped, small enough."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
import torch
from conftest import Command
from synthetic import SCRIPT, blob
from torch import Tensor, nn

from erf_tools.cue_conflict.representation import MEASURES as LAYER_MEASURES
from erf_tools.erf import figures
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.maps import ERF, MeasuredImage
from erf_tools.erf.measures.families.squares import cut_square, shares_held, smallest_square
from erf_tools.erf.networks import depths, growths
from erf_tools.erf.parts import merge
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.tables import erf_table
from erf_tools.errors import ErfToolsError
from erf_tools.failures import Failures
from erf_tools.features.places import places
from erf_tools.features.taps import Tap
from erf_tools.images import select
from erf_tools.labels import distinct
from erf_tools.models.requests import requests
from erf_tools.reliance.suppressions import chosen
from erf_tools.report import page
from erf_tools.report.coded_maps import block_means, block_sides, coded_map
from erf_tools.report.commands import erf_command, reliance_command, shape_bias_command
from erf_tools.report.content import collect
from erf_tools.report.results import (
    HeadFreeLayers,
    Reliance,
    Results,
    ShapeBias,
    SingleCue,
    find_results,
    read_results,
)
from erf_tools.studies import erf as study
from erf_tools.tables import interval_columns


def content_of(erfs: Sequence[ERF], biases: Sequence[ShapeBias] = ()) -> dict[str, Any]:
    """Return what a page shows, of results that can all be shown."""
    failures = Failures()
    content = collect(Results(erfs, biases=biases), failures)
    assert not list(failures)
    return content


@pytest.mark.parametrize("center", [None, (10.5, 3.0)])
def test_the_slider_has_what_the_squares_are_found_by(center: tuple[float, float] | None) -> None:
    contribution = np.random.default_rng(1).uniform(size=(31, 20))
    held = shares_held(contribution, center)
    assert held is not None
    assert held[0] == 0
    assert held[-1] == 1
    assert (np.diff(held) >= 0).all()
    doubled = (30, 20) if center is None else (21, 6)
    for threshold in (0, 0.01, 0.5, 0.99):
        found = cut_square((31, 20), doubled, int(np.argmax(held > threshold)))
        assert found == smallest_square(contribution, threshold, center)
    assert shares_held(np.zeros((3, 3))) is None


def test_a_picture_gives_its_values_back() -> None:
    values = np.random.default_rng(0).lognormal(0, 4, (50, 71))
    values[:6] = 0
    made = coded_map(values, 3)
    means = block_means(values, 3)
    assert (made.rows, made.columns) == means.shape == (17, 24)
    codes = np.frombuffer(base64.b64decode(made.codes), "<u2").reshape(means.shape)
    read = 10 ** (made.low + (codes - 1.0) * (made.high - made.low) / 65_534)
    assert (codes[:2] == 0).all()
    np.testing.assert_allclose(read[codes > 0], means[codes > 0], rtol=2e-4)
    assert means[codes == 0].max() <= means.max() / 1e9


def test_blocks_at_the_rim_are_means_too() -> None:
    values = np.arange(35.0).reshape(5, 7)
    means = block_means(values, 4)
    assert means.shape == (2, 2)
    assert means[1, 1] == values[4:, 4:].mean()


@pytest.mark.parametrize("values", [np.zeros((4, 4)), np.full((4, 4), 2.5)])
def test_a_map_of_one_value_is_a_picture(values: np.ndarray) -> None:
    made = coded_map(values, 1)
    codes = np.frombuffer(base64.b64decode(made.codes), "<u2")
    assert set(codes) == {int(values.any())}


def test_pictures_shrink_where_there_are_many() -> None:
    assert block_sides([(1024, 1024)] * 10) == [2] * 10
    assert block_sides([(224, 224), (1024, 512)]) == [1, 2]
    assert block_sides([(1024, 1024)] * 60) == [5] * 60


def test_ten_models_at_1024_stay_below_15_mb(monkeypatch: pytest.MonkeyPatch) -> None:
    result = synthetic.erf("network", blob(1024, 200))
    measures = result.measures
    monkeypatch.setattr(ERF, "measures", measures)
    html = page.render(content_of([result] * 10, []))
    assert len(html.encode()) < 15e6


def test_maps_of_one_name_are_told_apart_by_what_differs() -> None:
    def seeded(seed: int, digest: str = "0" * 64, source: str = "builtin") -> ERF:
        found = synthetic.erf("net", blob(32, 5))
        weights = {**found.setting["model"]["weights"], "sha256": digest}
        weights["source"] = f"initialised with seed {seed}"
        images = {**found.runs[0]["images"], "source": source}
        model = {**found.setting["model"], "weights": weights}
        runs = ({**found.runs[0], "images": images},)
        return replace(found, setting={**found.setting, "model": model}, runs=runs)

    def labels(*results: ERF) -> list[str]:
        return [each["label"] for each in content_of(list(results), [])["erfs"]]

    def elsewhere(result: ERF) -> tuple[MeasuredImage, ...]:
        return tuple(
            replace(each, name=f"x{each.name}", sha256=f"x{each.sha256}") for each in result.images
        )

    first = seeded(0)
    assert labels(first, seeded(1, "1" * 64)) == [
        f"net (untrained), initialised with seed {seed}" for seed in (0, 1)
    ]
    assert labels(first, seeded(0, "abcdef012" + 55 * "0")) == [
        "net (untrained), weights 00000000",
        "net (untrained), weights abcdef01",
    ]
    assert labels(first, seeded(0, source="other|" + SCRIPT)) == [
        "net (untrained), 2 images of builtin, spread, seed 0",
        f"net (untrained), 2 images of other|{SCRIPT}, spread, seed 0",
    ]
    at_unit = replace(first, setting={**first.setting, "square": "unit"})
    assert labels(first, at_unit)[1] == "net (untrained), square at the unit"
    assert labels(first, synthetic.erf("net", blob(32, 5), protocol="kim2023"))[1] == (
        "net (untrained), 32x32, kim2023, unit center"
    )
    given = [seeded(0, source="2 given images"), seeded(0, source="3 given images")]
    assert labels(*given) == [
        "net (untrained), 2 given images, spread, seed 0",
        "net (untrained), 2 of 3 given images, spread, seed 0",
    ]
    both = merge([given[0], replace(given[1], images=elsewhere(given[1]))])
    assert labels(first, both)[1] == (
        "net (untrained), 4 images of 2 given images, spread, seed 0 and of "
        "3 given images, spread, seed 0"
    )
    assert labels(first, first) == ["net (untrained), 1", "net (untrained), 2"]


def test_rows_about_stimuli_of_one_name_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    bias = ShapeBias.read(synthetic.shape_bias_folder(tmp_path, "net"))
    own = bias.makers["model"] == "net"
    bias.makers.loc[own, ["weights", "stimuli"]] = ["pretrained", "1280 stimuli"]
    bias = replace(bias, makers=bias.makers[own])
    model = {**synthetic.erf("net", blob(8, 1)).setting["model"], "arguments": {}}
    weights = {"kind": "pretrained", "label": "pretrained", "source": "hub", "sha256": "a" * 64}
    stimuli = {"source": "here", "deviations": [], "sha256": "c" * 64}
    record = {
        **{"kind": "network", "preset": "direct", "preset_description": "", "aggregation": "mean"},
        **{"prompts": None, "output_key": None, "label_map": None, "similarity": "cosine"},
        **{"model": {**model, "weights": weights}, "stimuli": stimuli, "layers": []},
        "versions": {"erf-tools": "1"},
    }
    numbers = interval_columns("accuracy", "mrr", "mrr_classes", *LAYER_MEASURES)
    row = {
        "model": "net",
        "weights": "pretrained",
        "stimuli": "1280 stimuli",
        **dict.fromkeys(numbers, 0.5),
    }
    layer = {
        **row,
        "layer": "last",
        "dimensions": 4,
        "similarity": "cosine",
        "cues": "shape, texture",
    }

    def labels(**changes: Any) -> list[str]:
        records = [{"net": record}, {"net": {**record, **changes}}, {"net": record}]
        results = Results(
            biases=[replace(bias, records=each) for each in records],
            single_cue=[SingleCue(Path("a"), pd.DataFrame([row]), each) for each in records],
            layers=[HeadFreeLayers(Path("a"), pd.DataFrame([layer]), each) for each in records],
        )
        content = collect(results, failures := Failures())
        assert not list(failures)
        sections = (content["makers"], content["single_cue"], content["layers"][0]["networks"])
        found = [[each["label"] for each in section] for section in sections]
        assert found[0] == found[1]
        if {"output_key", "label_map"}.isdisjoint(changes):  # of heads
            assert found[0] == found[2]
        return found[0]

    def with_weights(**changes: str) -> dict[str, Any]:
        return {**model, "weights": {**weights, **changes}}

    assert labels() == ["net"]  # what is the same stands once
    files = [{"net": {"kind": "published decisions", "files": [name]}} for name in ("1", "2")]
    given = content_of([], [replace(bias, records=each) for each in files])["makers"]
    assert [each["label"] for each in given] == ["net, 1", "net, 2"]
    for changes, first, second in (
        ({"model": with_weights(source="mirror", sha256="b" * 64)}, "hub", "mirror"),
        ({"model": with_weights(sha256="b" * 64)}, "weights aaaaaaaa", "weights bbbbbbbb"),
        ({"preset": "mvh"}, "preset direct", "preset mvh"),
        ({"aggregation": "max"}, "aggregation mean", "aggregation max"),
        ({"output_key": "logits"}, "", "output logits"),
        ({"stimuli": {**stimuli, "source": "there"}}, "stimuli from here", "stimuli from there"),
        ({"versions": {"erf-tools": "2"}}, "erf-tools 1", "erf-tools 2"),
        ({"label_map": {"cat": [1]}}, "", "other classes of the categories"),
    ):
        assert labels(**changes) == [
            ", ".join(filter(None, ["net", end])) for end in (first, second)
        ]


def embedded(html: str) -> dict:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html)
    return json.loads(data)


def test_names_cannot_leave_the_data() -> None:
    result = synthetic.erf(SCRIPT + "\u2028", blob(32, 5))
    html = page.render(content_of([result], []))
    assert "taken" in html
    assert "<script>document" not in html
    assert "\u2028" not in html
    assert html.count("</script>") == 2
    assert embedded(html)["erfs"][0]["label"] == f"{SCRIPT}\\u2028 (untrained)"


def test_the_page_may_run_its_own_script_only() -> None:
    html = page.render(content_of([synthetic.erf("network", blob(32, 5))], []))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)


def test_a_map_of_zeros_is_shown_without_measures() -> None:
    content = content_of([synthetic.erf("dead", np.zeros((16, 16)))], [])
    (dead,) = content["erfs"]
    assert dead["held"] is None
    assert dead["measures"]["effective_side"] is None
    page.render(content)


def test_equal_names_are_told_apart() -> None:
    assert distinct(["a", "b", "a", "a"], ["1", "1", "2", "2"]) == [
        "a, 1",
        "b",
        "a, 2, 3",
        "a, 2, 4",
    ]
    results = [
        synthetic.erf("net", blob(32, 5)),
        synthetic.erf("net", blob(32, 5), protocol="kim2023"),
    ]
    labels = [shown["label"] for shown in content_of(results, [])["erfs"]]
    assert labels == [
        "net (untrained), 32x32, ding2022, unit center",
        "net (untrained), 32x32, kim2023, unit center",
    ]


def test_layers_of_a_network_are_its_growth() -> None:
    results = [synthetic.erf("net", blob(64, 2 + 3 * n), layer=f"layer{n}") for n in range(3)]
    (growth,) = content_of([*results, synthetic.erf("other", blob(64, 5))], [])["growth"]
    assert growth["label"] == "net (untrained)"
    assert [point["layer"] for point in growth["points"]] == ["layer0", "layer1", "layer2"]
    sides = [result.measures.effective_side for result in results]
    assert [point["effective_side"] for point in growth["points"]] == sides
    assert growth["points"][0]["theoretical"] == 41


def test_a_field_that_is_not_square_is_as_large_as_the_square_around_it() -> None:
    """All influence that there can be lies in that square, and in none that is smaller."""
    field = {"stride": [8, 8], "first": [3, -3], "last": [5, 11], "unbounded": False}
    results = []
    for n in range(2):
        first, last = [3, -3 - 8 * n], [5, 11 + 8 * n]
        told = {**field, "first": first, "last": last, "basis": "dependency"}
        result = synthetic.erf(
            "net", np.zeros((64, 64)), f"layer{n}", receptive_field=told, square="unit"
        )
        top, bottom, left, right = result.theoretical_box or (0, 0, 0, 0)
        assert (bottom - top, right - left) == (3, 15 + 16 * n)
        center = ((top + bottom - 1) / 2, (left + right - 1) / 2)
        seen = np.zeros((64, 64))
        seen[top:bottom, left:right] = 1
        square = smallest_square(seen, 0.9999, center)
        assert square is not None
        assert square.right - square.left == result.theoretical_side == 15 + 16 * n
        results.append(replace(result, total=blob(64, 2 + n)))
    (growth,) = content_of(results)["growth"]
    assert [point["theoretical"] for point in growth["points"]] == [15, 31]
    dotted = [
        line.get_ydata()
        for line in figures.stage_growth(results).axes[0].lines
        if line.get_linestyle() == ":"
    ]
    assert list(dotted[0]) == [15, 31]
    sides = [result.measures.effective_side for result in results]
    shares = erf_table(results)["side_of_theoretical"].tolist()
    assert shares == pytest.approx([sides[0] / 15, sides[1] / 31])


def test_growth_is_of_one_network_measured_in_one_way() -> None:
    def layers(sigma: float, count: int = 3, **setting: Any) -> list[ERF]:
        shown = [blob(64, sigma + 3 * n) for n in range(count)]
        return [
            synthetic.erf("net", each, layer=f"layer{n}", **setting) for n, each in enumerate(shown)
        ]

    def points(results: list[ERF]) -> list[tuple[str, float]]:
        return [(each.setting["tap"]["name"], each.measures.effective_side) for each in results]

    trained = [
        [synthetic.with_weights(each, f"{folder}/w.pth", folder) for each in layers(sigma)]
        for folder, sigma in (("a", 2), ("b", 3))
    ]
    of_unit = layers(4, 2, square="unit")
    elsewhere = [
        replace(each, images=tuple(replace(image, sha256="other") for image in each.images))
        for each in layers(5, 1)
    ]
    again, default = layers(2), synthetic.erf("net", blob(64, 9))
    growth = content_of(
        [default, *trained[0], *layers(2), *of_unit, *trained[1], *again, *elsewhere], []
    )["growth"]
    found = {
        each["label"]: [(point["layer"], point["effective_side"]) for point in each["points"]]
        for each in growth
    }
    # A default layer ends its row; what was measured twice stands once; one layer is no growth.
    assert found == {
        "net w.pth, a/w.pth": points(trained[0]),
        "net w.pth, b/w.pth": points(trained[1]),
        "net (untrained), square at the center": points([*layers(2), default]),
        "net (untrained), square at the unit": points(of_unit),
    }


#: A network whose folders of results, and definitions, are in no order in which layers run.
_MIXED = """
from torch import nn

class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(4, 4, 3, 2, 1)
        self.body = nn.Conv2d(4, 4, 3, 2, 1)
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, images):
        return self.last(self.body(self.stem(images)))

def build():
    return Mixed()
"""


class LastFirst(nn.Module):
    """A network whose layers are neither named nor defined in the order in which they run."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 7, 2, 3), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(8, 8, 7, 2, 3), nn.ReLU())
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.twice = nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.twice(self.body(self.twice(self.stem(images)))))


@pytest.mark.parametrize("size", [64, 20])
def test_layers_grow_from_the_image_on_whatever_they_are_called(size: int) -> None:
    network = LastFirst().eval()
    names = ["stem", "twice#1", "body", "twice#2", "last"]
    taps = [Tap(name.split("#")[0], run=int(name[-1]) if "#" in name else None) for name in names]
    mixed = [taps[place] for place in (2, 4, 3, 0, 1)]
    together = places(network, mixed, (size, size))
    alone = [places(network, [tap], (size, size), fixed_size=True)[0] for tap in mixed]
    assert together == alone
    assert [mixed.index(tap) for tap in taps] == np.argsort(np.array(together, int)).tolist()
    assert places(network, [Tap(""), Tap("forward_features")], (size, size)) == [None, None]

    selection = select("builtin", 2)
    results = [
        effective_receptive_field(network, selection, layer=tap, resolution=size) for tap in mixed
    ]
    own = effective_receptive_field(network, selection, resolution=size)
    (growth,) = content_of([own, *results])["growth"]
    assert [point["layer"] for point in growth["points"]][:-1] == [tap.name for tap in taps]
    assert growth["points"][-1]["layer"] == "output of the network"
    # What a unit may see grows from layer to layer.
    theoretical = [point["theoretical"] for point in growth["points"]]
    assert theoretical == sorted(theoretical)
    assert growth["ordered"]
    figure = figures.stage_growth(results)
    assert figure.axes[0].get_xlabel() == "layer (0: nearest to the image)"

    # Those of before do not say where they are: then nobody knows, and merging goes on.
    before = replace(results[0], setting={**results[0].setting})
    del before.setting["place"]  # type: ignore[attr-defined]
    (growth,) = content_of([before, *results[1:]])["growth"]
    assert [point["layer"] for point in growth["points"]] == [tap.name for tap in mixed]
    assert not growth["ordered"]
    xlabel = figures.stage_growth([before, *results[1:]]).axes[0].get_xlabel()
    assert xlabel == "layer (in the order of the results)"
    images = tuple(replace(image, sha256=f"x{image.sha256}") for image in before.images)
    assert merge([results[0], replace(before, images=images)]).count == 4


@pytest.mark.usefixtures("no_drawing")
def test_layers_of_a_network_are_shown_in_the_order_in_which_they_run(
    tmp_path: Path, run_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(_MIXED)
    command = ("erf", "--model", "net.py:build", "--num-images", 1)
    code, _, err = run_command(*command, "--layer", "*", "--resolution", 32, "--output", "out")
    assert code == 0, err
    synthetic.erf("aaa", blob(16, 3)).save(tmp_path / "out" / "aaa" / "erf.npz")
    code, _, err = run_command("report", "out", "--output", "page")
    assert code == 0, err
    shown = embedded(Path("page/report.html").read_text())["erfs"]
    names = [each["label"].removesuffix(" (untrained)") for each in shown]
    order = ["stem", "body", "last"]
    assert names == ["aaa", *(f"net.py:build {name}" for name in order)]
    # What a unit may see grows from layer to layer.
    sizes = [each["theoretical_size"] for each in shown[1:]]
    assert sizes == ["3 px", "7 px", "15 px"]


def test_stages_follow_each_other_by_their_numbers() -> None:
    stages = [synthetic.erf("net", blob(64, 2 + n), layer=f"stage {n}") for n in range(12)]
    numbered = [
        replace(each, setting={**each.setting, "tap": {**each.setting["tap"], "stage": n}})
        for n, each in enumerate(stages)
    ]
    default = synthetic.erf("net", blob(64, 20))
    (row,) = growths([default, *sorted(numbered, key=lambda each: each.label)])
    assert row == [*numbered, default]
    assert depths(row)
    # Beside a layer whose stage nobody knows they are in no order.
    assert depths([*numbered, synthetic.erf("net", blob(64, 3), layer="layer1")]) is None


def test_both_halves_meet_by_name(tmp_path: Path) -> None:
    bias = ShapeBias.read(synthetic.shape_bias_folder(tmp_path, "null"))
    erfs = [synthetic.erf("null", blob(32, 5)), synthetic.erf("b", blob(32, 5))]
    content = content_of(erfs, [bias])
    (point,) = content["scatter"]
    assert point["label"] == "null (untrained); null"
    assert point["other_weights"] is None  # of published decisions nobody knows the weights
    assert point["shape_bias"] == pytest.approx(182 / (182 + 537))
    assert len(content["makers"][0]["by_category"]) == 16
    assert [maker["human"] for maker in content["makers"]] == [True, *[False] * 11]
    again = content_of([], [bias, bias])
    assert len(again["makers"]) == 12  # rows that are the same stand once


@pytest.mark.parametrize("weights", ["pretrained", "untrained"])
def test_a_mark_is_of_a_trained_network_where_both_halves_are(weights: str, tmp_path: Path) -> None:
    bias = ShapeBias.read(synthetic.shape_bias_folder(tmp_path, "null"))
    own = bias.makers["model"] == "null"
    bias.makers.loc[own, ["weights", "weights_sha256", "low_coverage"]] = [weights, "b", True]
    trained = synthetic.with_weights(synthetic.erf("null", blob(32, 5)), "w.pth", "b")
    for result, other, both in (
        (trained, False, weights == "pretrained"),
        (synthetic.with_weights(trained, "w.pth", "c"), True, weights == "pretrained"),
        (synthetic.erf("null", blob(32, 5)), True, False),
    ):
        (point,) = content_of([result], [bias])["scatter"]
        assert (point["trained"], point["other_weights"]) == (both, other)
        assert point["low_coverage"]
        assert point["coverage"] == bias.makers.loc[own, "coverage"].item()


def test_every_kind_of_result_in_a_folder_has_its_own_provenance(tmp_path: Path) -> None:
    synthetic.reliance_folder(tmp_path, "net")
    synthetic.shape_bias_folder(tmp_path)
    found = read_results(find_results([tmp_path], failures := Failures()), failures)
    assert not list(failures)
    (reliance,), (bias,) = found.reliances, found.biases
    assert reliance.record["results"][0]["model"]["name"] == "net"
    assert set(bias.records) == {*bias.makers["model"]}
    # Results of before have all of it under one name.
    earlier = synthetic.reliance_folder(tmp_path / "before", "net")
    (earlier / "reliance.json").rename(earlier / "provenance.json")
    assert Reliance.read(earlier).record == reliance.record


def test_results_are_found_once_and_in_order(tmp_path: Path) -> None:
    result = synthetic.erf("net", blob(16, 3))
    for stage in (9, 10):
        result.save(tmp_path / "net" / f"stage_{stage}" / "erf.npz")
    synthetic.shape_bias_folder(tmp_path / "bias")
    synthetic.erf("last", blob(16, 3)).save(tmp_path / "net" / "stage_10" / "erf.npz")
    found = find_results([tmp_path, tmp_path / "net" / "stage_9" / "erf.npz"], Failures())
    assert [path.parent.name for path in found["erfs"]] == ["stage_9", "stage_10"]
    assert found["biases"] == (tmp_path / "bias",)


def test_the_command_measures_the_same_again(tmp_path: Path, run_command: Command) -> None:
    code, _, error = run_command(
        *("erf", "--model", "resnet18", "--weights", "random", "--layer", "layer[23]"),
        *("--gradient", "abs", "--unit", "1,1", "--square", "unit", "--num-images", 2),
        *("--resolution", 64, "--seed", 3, "--output", tmp_path / "one"),
    )
    assert code == 0, error
    first = ERF.load(tmp_path / "one" / "resnet18" / "layer3" / "erf.npz")
    command = erf_command(first)
    assert command is not None
    program, *arguments = shlex.split(command)
    assert program == "erf-tools"
    code, out, error = run_command(*arguments, "--preview", "--output", tmp_path / "two")
    assert code == 0, error
    again = ERF.load(tmp_path / "two" / "resnet18" / "layer3" / "erf.npz")
    assert again.record() == first.record()
    assert np.array_equal(again.total, first.total)
    assert "resnet18 layer3 (untrained)\n" in out
    assert "report.html" in out
    shown = embedded((tmp_path / "one" / "report.html").read_text())
    assert [erf["label"] for erf in shown["erfs"]] == [
        "resnet18 layer2 (untrained)",
        "resnet18 layer3 (untrained)",
    ]


def test_what_no_command_makes_has_none() -> None:
    assert erf_command(synthetic.erf("net", blob(16, 3))) is not None
    assert erf_command(synthetic.erf("net", np.ones((16, 24)))) is None
    given = {"kind": "given", "label": "as given", "source": "as given", "sha256": ""}
    model = {"name": "Sequential", "parameters": 1, "weights": given}
    assert erf_command(synthetic.erf("net", blob(16, 3), model=model)) is None
    factory = {**model, "name": "mine:network"}
    command = erf_command(synthetic.erf("net", blob(16, 3), model=factory))
    assert command is not None
    assert "--model mine:network --weights pretrained" in command
    assert shape_bias_command({"kind": "published counts"}) is None
    answers = synthetic.answers("net")
    for cues in ("all", "gray,patch-shuffle", "critical-band"):
        command = reliance_command(synthetic.answers("net", cues).setting, answers.source)
        assert command is not None
        words = shlex.split(command)
        asked = words[words.index("--cues") + 1]
        assert chosen(asked) == chosen(cues)
        assert (asked == "all") == (cues == "all")
    assert reliance_command(answers.setting, answers.source) is not None
    for change in ({"source": "3 given images"}, {"order": "sequential"}, {"seed": 1}):
        assert reliance_command(answers.setting, {**answers.source, **change}) is None
    assert reliance_command({**answers.setting, "seed": 1}, {**answers.source, "seed": 1}) is None


def test_commands_are_quoted() -> None:
    command = erf_command(synthetic.erf("$(touch it); net", blob(16, 3)))
    assert command is not None
    assert shlex.split(command)[3] == "$(touch it); net"
    record = {"kind": "published decisions", "files": ["a b.csv"]}
    assert shape_bias_command(record) == (
        "erf-tools shape-bias --decisions 'a b.csv' --no-reference"
    )


def test_a_report_that_fails_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr(page, "collect", broken)
    wanted = requests(["resnet18"], ["random"])
    outcome = study.measure_erfs(wanted, select("builtin", 1), tmp_path, Procedure(resolution=32))
    assert len(outcome.results) == 1
    assert (tmp_path / "erf_table.csv").is_file()
    assert not (tmp_path / "report.html").exists()
    (failure,) = outcome.failures
    assert isinstance(failure, ErfToolsError)
    assert "ZeroDivisionError: by accident" in str(failure)


def test_the_command_line_writes_one_file(tmp_path: Path, run_command: Command) -> None:
    synthetic.erf("net", blob(32, 5)).save(tmp_path / "results" / "net" / "erf.npz")
    synthetic.shape_bias_folder(tmp_path / "results" / "bias")
    path = tmp_path / "report.html"
    code, out, error = run_command("report", tmp_path / "results", "--output", tmp_path)
    assert code == 0, error
    assert f"Written to {path}" in out
    shown = embedded(path.read_text())
    assert len(shown["erfs"]) == 1
    assert len(shown["makers"]) == 12
    measures = synthetic.erf("net", blob(32, 5)).measures
    assert shown["erfs"][0]["measures"]["linear_50"] == measures.linear_50
    code, _, error = run_command("report", tmp_path / "nowhere")
    assert code == 2
    assert "there is no such file or folder" in error
