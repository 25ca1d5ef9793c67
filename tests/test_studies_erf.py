"""A study: every file is written, carries its provenance, and survives a failure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from erf_tools.erf import shown_tables
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures import MEASURES
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures
from erf_tools.figures import save_figure
from erf_tools.images import select
from erf_tools.models.requests import requests
from erf_tools.provenance import versions
from erf_tools.studies import erf as study
from erf_tools.studies.one_by_one import other_images
from erf_tools.studies.written import remove_earlier

pytestmark = pytest.mark.usefixtures("no_drawing")

SMALL = Procedure(resolution=32)
MODELS = ["replknet3", "resnet18", "swin_t"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, study.Study]:
    output = tmp_path_factory.mktemp("study")
    wanted = requests(MODELS, ["random"])
    return output, study.measure_erfs(
        wanted, select("builtin", 2), output, Procedure(resolution=64)
    )


def test_the_files_are_those_promised(written: tuple[Path, study.Study]) -> None:
    output, _ = written
    found = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    expected = {f"erf_table.{suffix}" for suffix in ("csv", "md", "tex")}
    expected |= {"erf_convergence.csv", "erf_differences.csv", "report.html"}
    for figure in ("comparison", "radial", "convergence"):
        expected |= {f"erf_{figure}.{suffix}" for suffix in ("png", "pdf")}
    for model in MODELS:
        expected |= {f"{model}/{name}" for name in ("erf.npz", "erf.json")}
        expected |= {f"{model}/heatmap.{suffix}" for suffix in ("png", "pdf")}
    assert found == expected


def test_every_file_says_that_the_networks_are_untrained(
    written: tuple[Path, study.Study],
) -> None:
    output, _ = written
    for name in ("erf_table.csv", "erf_table.md", "erf_table.tex", "resnet18/erf.json"):
        assert "untrained" in (output / name).read_text()
    assert not ERF.load(output / "resnet18" / "erf.npz").trained
    for name in ("erf_comparison.png", "resnet18/heatmap.png"):
        with Image.open(output / name) as image:
            assert "untrained" in image.info["Description"]
            provenance = json.loads(image.info["Description"])
            assert "ding2022" in json.dumps(provenance)


def test_json_has_the_measures_and_the_provenance(written: tuple[Path, study.Study]) -> None:
    output, outcome = written
    record = json.loads((output / "replknet3" / "erf.json").read_text())
    row = outcome.table.iloc[0]
    intervals = [f"{n}_{end}" for n, m in MEASURES.items() if m.interval for end in ("low", "high")]
    assert set(record["measures"]) == {*MEASURES, *intervals, "without_intervals"}
    assert record["measures"]["effective_side"] == row["effective_side"]
    assert record["measures"]["without_intervals"] == outcome.table["without_intervals"][0] != ""
    assert record["setting"]["model"]["weights"]["sha256"]
    assert [image["outcome"] for image in record["images"]] == ["counted", "counted"]


def test_table_has_the_papers_values_in_columns_of_their_own(
    written: tuple[Path, study.Study],
) -> None:
    table = pd.read_csv(written[0] / "erf_table.csv")
    assert list(table["model"]) == MODELS
    assert table[[f"paper_{t}" for t in (20, 30, 50, 99)]].isna().all().all()


def test_published_values_are_marked_by_their_standing(tmp_path: Path) -> None:
    outcome = study.measure_erfs(
        requests(["resnet101"], ["random"]),
        select("builtin", 1),
        tmp_path,
        SMALL,
    )
    assert outcome.table["paper_99"][0] == 0.224
    assert "recalled from memory" in outcome.table["paper_standing"][0]
    shown = shown_tables.readable(outcome.table)
    assert shown["paper r at 99 %, %"][0] == "22.4†"
    assert shown["paper r at 20 %, %"][0] == "0.9"
    assert "22.4†" in shown_tables.compact(outcome.table)
    for name in ("erf_table.md", "erf_table.tex"):
        assert "recalled from memory" in (tmp_path / name).read_text()


def test_a_result_that_is_there_is_used_again_only_if_nothing_changed(tmp_path: Path) -> None:
    wanted = requests(["resnet18"], ["random"])

    def reused(**changes: object) -> bool:
        arguments = {"num_images": 2, "resolution": 32, "seed": 0, "overwrite": False, **changes}
        selection = select("builtin", arguments["num_images"], seed=0)  # type: ignore[arg-type]
        outcome = study.measure_erfs(
            wanted,
            selection,
            tmp_path,
            Procedure(resolution=arguments["resolution"]),  # type: ignore[arg-type]
            seed=arguments["seed"],  # type: ignore[arg-type]
            overwrite=arguments["overwrite"],  # type: ignore[arg-type]
        )
        return outcome.reused == ("resnet18",)

    assert not reused()
    assert reused()
    for changes, message in (
        ({"num_images": 3}, r"images \(2 there, 3 now"),
        ({"resolution": 48}, r"resolution \(\[32, 32\] there, \[48, 48\] now\)"),
        ({"seed": 1}, r"initialised with seed 0.*initialised with seed 1"),
    ):
        with pytest.raises(
            UsageError, match=rf"another result of resnet18.*{message}.*--overwrite"
        ):
            reused(**changes)
    assert reused()
    assert not reused(num_images=3, overwrite=True)
    assert reused(num_images=3)
    assert not reused(seed=1, overwrite=True)
    archive = tmp_path / "resnet18" / "erf.npz"
    archive.write_bytes(archive.read_bytes()[:100])
    assert not reused(seed=1)


def test_the_same_images_in_another_order_or_by_other_names_are_told_as_that() -> None:
    there = [("a", "1"), ("b", "2"), ("c", "3")]
    assert other_images(there, there) == other_images(there[:2], there, begun=True) == []
    order = "the order of the images (the same 3 there and now)"
    assert other_images(there, there[::-1]) == [order]
    assert other_images(there, [*there[1:], there[0], ("d", "4")], begun=True) == [order]
    named = [(f"img/{name}", sha256) for name, sha256 in there]
    assert other_images(there, named) == ["the names of the images (the same 3 there and now)"]
    for now in (there[:2], [*there[:2], ("d", "4")], [*there, ("d", "4")]):
        (told,) = other_images(there, now)
        assert told == f"images (3 there, {len(now)} now, not all of them the same)"


def test_what_an_earlier_run_has_drawn_of_other_results_is_removed(tmp_path: Path) -> None:
    """Of figures with the names that this command writes, and of the tables that belong to them."""
    earlier = ("erf_stages", "erf_series", "perturbation", "erf_of_mine", "critical_band")
    for stem in earlier:
        save_figure(Figure(figsize=(1, 1)), tmp_path / stem, {"versions": versions()})
    tables = (
        "perturbation_table.csv",
        "perturbation_table.md",
        "critical_band.csv",
        "erf_stages.csv",
    )
    for name in tables:
        (tmp_path / name).write_text("model\n")
    for name in ("erf_series.pdf", "perturbation_linearity.png"):  # drawn by others
        Figure(figsize=(1, 1)).savefig(tmp_path / name)
    (tmp_path / "linked.png").write_bytes((tmp_path / "erf_stages.png").read_bytes())
    (tmp_path / "perturbation_linearity.pdf").symlink_to("linked.png")
    before = {path.name for path in tmp_path.iterdir()}
    wanted, images = requests(["resnet18"], ["random"]), select("builtin", 1)
    outcome = study.measure_erfs(wanted, images, tmp_path, SMALL)
    assert not outcome.failures
    assert before - {path.name for path in tmp_path.iterdir()} == {
        *("erf_stages.png", "erf_stages.pdf", "erf_series.png", "perturbation.png"),
        *("perturbation.pdf", "perturbation_table.csv", "perturbation_table.md"),
    }


def test_what_a_run_has_drawn_again_stays_and_what_cannot_be_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stem in ("again", "earlier"):
        save_figure(Figure(figsize=(1, 1)), tmp_path / stem, {"versions": versions()})
        (tmp_path / f"{stem}.csv").write_text("model\n")
    written = [tmp_path / f"again.{suffix}" for suffix in ("png", "pdf")]
    shown = {stem: [f"{stem}.csv"] for stem in ("again", "earlier", "never")}
    failures = Failures()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _refuse)
        remove_earlier(tmp_path, shown, written, failures)
    assert [str(failure) for failure in failures] == [
        f"cannot write {tmp_path / 'earlier.png'}: no; choose another --output folder"
    ]
    remove_earlier(tmp_path, shown, written, failures)
    left = {"again.png", "again.pdf", "again.csv"}
    assert {path.name for path in tmp_path.iterdir()} == left


def _refuse(_path: Path, missing_ok: bool = False) -> None:
    raise PermissionError(13, "no")


def test_a_failing_model_costs_no_other_its_result(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pth"
    torch.save({"weight": torch.ones(3)}, wrong)
    wanted = requests(["resnet18", "resnet34"], [str(wrong), "random"])
    outcome = study.measure_erfs(wanted, select("builtin", 1), tmp_path / "out", SMALL)
    assert [result.name for result in outcome.results] == ["resnet34"]
    assert "does not fit the network" in str(outcome.failures[0])
    assert (tmp_path / "out" / "erf_table.csv").is_file()
    with pytest.raises(ErfToolsError, match="does not fit"):
        study.measure_erfs(wanted[:1], select("builtin", 1), tmp_path / "out", SMALL)


@pytest.mark.parametrize(
    ("models", "weights", "message"),
    [
        ([], ["random"], "--model is missing"),
        (["resnet18", "resnet18"], ["random"], "resnet18 is named twice"),
        (["resnet18", "resnet34"], ["mine.pth"], "one file is for one model"),
        (["resnet18"], ["random", "random"], "given 2 times for 1 models"),
        (["a:b", "a_b"], ["random"], "same folder"),
        (["Net:a", "net:A"], ["random"], "same folder"),
    ],
)
def test_requests_that_make_no_sense(models: list[str], weights: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        requests(models, weights)


def test_an_all_zero_map_is_written_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dead.py").write_text(
        "import torch\n"
        "def network():\n"
        "    net = torch.nn.Conv2d(3, 2, 3)\n"
        "    torch.nn.init.zeros_(net.weight)\n"
        "    return net\n"
    )
    monkeypatch.chdir(tmp_path)
    wanted = requests(["dead:network"], ["pretrained"])
    outcome = study.measure_erfs(wanted, select("builtin", 2), tmp_path / "out", SMALL)
    assert outcome.table["zero_maps"][0] == 2
    assert np.isnan(outcome.table["linear_50"][0])
    assert "2 images gave a map of zeros" in (tmp_path / "out" / "erf_table.md").read_text()
    measures = json.loads((tmp_path / "out" / "dead_network" / "erf.json").read_text())["measures"]
    assert measures["linear_50"] is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ErfToolsError, match=r"cannot write .*choose another --output"):
        study.measure_erfs(
            requests(["resnet18"], ["random"]),
            select("builtin", 1),
            tmp_path / "file" / "out",
            SMALL,
        )
