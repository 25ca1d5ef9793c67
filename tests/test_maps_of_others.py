"""Maps that others have made: measured and marked beside ours; published ones for reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from matplotlib.figure import Figure
from synthetic import blob, erf

from erf_tools.erf.measures import MEASURES
from erf_tools.erf.others import OthersMap
from erf_tools.erf.shown_tables import compact, notes, readable
from erf_tools.erf.tables import COLUMNS, erf_table, with_published, without_published
from erf_tools.errors import UsageError
from erf_tools.failures import Failures
from erf_tools.figures import save_figure
from erf_tools.joined import join
from erf_tools.labels import in_lines
from erf_tools.provenance import versions
from erf_tools.report.content import collect
from erf_tools.report.results import Results, find_results


def others(name: str = "theirs", side: int = 32) -> OthersMap:
    return OthersMap(name, blob(side, side / 8), f"{name}.npy", "ab" * 32)


def test_a_map_has_the_measures_that_ours_has() -> None:
    mass = blob(33, 4.0)
    table = erf_table([erf("net", mass)], [OthersMap("theirs", 7 * mass, "theirs.npy", "ab")])
    assert list(table.columns) == list(COLUMNS)
    ours, theirs = table.to_dict("records")
    for name in MEASURES:
        if not name.startswith("legacy"):  # which depends on the scale
            assert theirs[name] == pytest.approx(ours[name], rel=1e-6), name
    assert theirs["weights"] == "map of others"
    assert pd.isna(theirs["images"])
    assert theirs["protocol"] == ""
    assert np.isnan(theirs["effective_side_low"])


def test_a_protocol_is_said_of_our_own_sizes_only() -> None:
    table = erf_table([erf("net", blob(33, 4.0))], [others(side=48)])
    assert notes(table)[0].startswith("Protocol ding2022 at 33x33. ")
    assert notes(erf_table([], [others(side=48)]))[0].startswith("Protocol not known at 48x48. ")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 4, 5)), "shape 3x4x5"),
        (np.float64(1), "shape of a number"),
        (np.ones((0, 4)), "shape 0x4"),
        (np.zeros((4, 4)), "zero everywhere"),
        (-np.eye(4), "negative values"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((4, 4), np.inf), "not finite"),
        (np.full((4, 4), 1e308), "too large to add up"),
        (np.eye(4) * 1j, "complex128"),
        (np.array([["a", "b"]]), "<U1"),
        (np.eye(4, dtype=bool), "bool"),
    ],
)
def test_what_is_no_map_is_refused(array: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        OthersMap("theirs", array, "theirs.npy", "")


@pytest.mark.parametrize(
    "content", [b"", b"no array", b"\x93NUMPY\x01\x00", b"PK\x03\x04"], ids=repr
)
def test_files_that_are_no_arrays_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "map.npy"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot be read as a \.npy file") as refused:
        OthersMap.read(path)
    assert "allow_pickle" not in str(refused.value)  # which would run what is in the file


def test_a_pickled_file_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "map.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(UsageError, match="pickle"):
        OthersMap.read(tmp_path / "map.npy")


def test_a_map_is_saved_and_read_back(tmp_path: Path) -> None:
    given = others()
    given.save(tmp_path / "map.npz")
    read = OthersMap.load(tmp_path / "map.npz")
    assert (read.name, read.source, read.sha256) == (given.name, given.source, given.sha256)
    assert np.array_equal(read.map, given.map)


#: As published: linear r in per cent at 20, 30, 50 and 99 %, and the side.
GOLDEN = {
    "resnet101.a1_in1k": (9.49, 15.08, 29.18, 99.11, 121),
    "swin_base_patch4_window7_224.ms_in1k": (5.18, 11.21, 30.15, 99.11, 123),
    "swin_tiny_patch4_window7_224.ms_in1k": (6.94, 15.08, 39.62, 99.11, 141),
    "deit_base_patch16_224.fb_in1k": (4.79, 12.44, 37.41, 99.11, 137),
    "xcit_medium_24_p16_224.fb_in1k": (4.04, 8.42, 28.22, 99.11, 119),
    "beit_base_patch16_384.in22k_ft_in22k_in1k": (2.52, 6.92, 25.79, 99.48, 195),
}


@pytest.mark.parametrize(("side", "compared"), [(224, 5), (384, 1), (32, 0)])
def test_published_maps_stand_beside_maps_of_their_size(side: int, compared: int) -> None:
    table = with_published(erf_table([], [others(side=side)]))
    published = table[table["weights"] == "published map"]
    assert len(published) == compared
    for row in published.itertuples():
        ratios = [getattr(row, f"linear_{threshold}") for threshold in (20, 30, 50, 99)]
        found = [*(round(100 * ratio, 2) for ratio in ratios), row.effective_side]
        assert found == list(GOLDEN[row.model])
        assert row.images == 1000
    assert len(published) == sum(model in compact(table) for model in GOLDEN)
    assert any("OpenERF" in note and "MIT" in note for note in notes(table)) == bool(compared)
    assert readable(table)["Images"].tolist() == ["-", *["1000"] * compared]


def test_published_maps_stand_beside_results_of_their_protocol_only() -> None:
    mass = blob(224, 20)
    assert len(with_published(erf_table([erf("net", mass, protocol="kim2023")]))) == 6
    assert len(with_published(erf_table([erf("net", mass, protocol="ding2022")]))) == 1


def test_a_given_map_that_is_a_published_one_stands_for_it() -> None:
    published = with_published(erf_table([], [others(side=384)]))
    digest = published["map_sha256"].iloc[-1]
    same = OthersMap("theirs", blob(384, 9), "theirs.npy", digest)
    assert len(with_published(erf_table([], [same]))) == 1


def test_without_reference_the_papers_values_are_gone() -> None:
    table = erf_table([erf("resnet101", blob(32, 4))])
    assert "22.4†" in compact(table)
    assert "22.4" not in compact(without_published(table))
    assert not any("Table 10" in note for note in notes(without_published(table)))


@pytest.mark.usefixtures("no_drawing")
def test_the_command_measures_and_marks_maps(tmp_path: Path, run_command: Command) -> None:
    np.save(tmp_path / "slak.npy", blob(48, 5.0))
    erf("net", blob(48, 4.0)).save(tmp_path / "erf.npz")
    out = tmp_path / "out"
    line = ["measure", str(tmp_path / "slak.npy"), str(tmp_path / "erf.npz"), "--name", "SLaK-T"]
    code, printed, _ = run_command(*line, "--output", str(out))
    assert code == 0
    assert "SLaK-T" in printed
    assert "map of others: network, layer, unit, images and protocol are not known" in printed
    table = pd.read_csv(out / "erf_table.csv")
    assert table["model"].tolist() == ["net", "SLaK-T"]
    assert (out / "erf_comparison.png").is_file()
    assert find_results([out], Failures())["others"] == (out / "SLaK-T" / "map.npz",)
    # Another map of that name is not lost unasked.
    np.save(tmp_path / "slak.npy", blob(48, 6.0))
    code, _, err = run_command(*line, "--output", str(out))
    assert code == 2
    assert "holds another map named SLaK-T" in err
    # Of what is written of some results only, what is of others goes; that of `erf` stays.
    for stem in ("erf_convergence", "erf_stages"):
        save_figure(Figure(figsize=(1, 1)), out / stem, {"versions": versions()})
    assert run_command(*line, "--output", str(out), "--overwrite")[0] == 0
    assert not list(out.glob("erf_convergence*"))
    assert (out / "erf_stages.png").is_file()
    code, _, err = run_command(*line, "--name", "more", "--output", str(out))
    assert (code, "2 names for 1 maps" in err) == (2, True)


def test_the_page_shows_what_is_not_known() -> None:
    content = collect(Results([erf("net", blob(32, 4))], [others()]), Failures())
    ours, theirs = content["erfs"]
    assert theirs["label"] == "theirs (map of others)"
    assert theirs["unit"] is None
    assert theirs["command"] is None
    assert theirs["held"][-1] == 1
    assert theirs["measures"].keys() == ours["measures"].keys()
    assert "not known" in dict(theirs["provenance"])["Not known"]
    kim = erf("net", blob(224, 20), protocol="kim2023")
    (summary,) = collect(Results([kim]), Failures())["summary"]
    assert len(summary["published"]) == 5
    (summary,) = collect(Results([kim]), Failures(), reference=False)["summary"]
    assert summary["published"] == []


def test_a_published_map_is_compared_with_no_shape_bias(tmp_path: Path) -> None:
    (tmp_path / "erf").mkdir()
    (tmp_path / "bias").mkdir()
    table = erf_table([], [others("net")])
    table.to_csv(tmp_path / "erf" / "erf_table.csv", index=False)
    columns = ["shape_bias", "shape_bias_low", "shape_bias_high", "coverage", "low_coverage"]
    words = ["preset", "aggregation", "stimuli", "weights", "weights_sha256", "cues"]
    row = {"model": "net", **dict.fromkeys(columns, 0.5), **dict.fromkeys(words, "")}
    pd.DataFrame([row]).to_csv(tmp_path / "bias" / "shape_bias.csv", index=False)
    with pytest.raises(UsageError, match="no model is in both"):
        join(tmp_path / "erf", tmp_path / "bias", tmp_path / "out")


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ("resnet50 (untrained)", ["resnet50", "(untrained)"]),
        ("swin_base_patch4_window7_224.ms_in1k", ["swin_base_patch4_", "window7_224.ms_in1k"]),
        ("a" * 30, ["a" * 22, "a" * 8]),
        ("", []),
    ],
)
def test_long_names_take_several_lines(label: str, lines: list[str]) -> None:
    assert in_lines(label).split("\n") == (lines or [""])
