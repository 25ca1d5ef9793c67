"""Checks in a study: written image by image, gone on with, refused where they differ, shown."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Command

from erf_tools.erf.maps import ERF
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.failures import Failures
from erf_tools.images import select
from erf_tools.models.requests import requests
from erf_tools.perturbation import measuring
from erf_tools.perturbation.choices import Checking
from erf_tools.perturbation.result import ARCHIVE, PerturbationERF
from erf_tools.report.commands import erf_command
from erf_tools.report.page import report
from erf_tools.studies import erf as study

CHECKING = Checking(4, ("mean", "other"))


def measured(output: Path, checking: Checking | None = CHECKING, **more: Any) -> study.Study:
    return study.measure_erfs(
        requests(["resnet18"], ["random"]),
        select("builtin", 2),
        output,
        Procedure(resolution=32),
        checking=checking,
        **more,
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("checked")
    assert not measured(output).failures
    return output


def test_the_files_are_those_promised(written: Path) -> None:
    files = {path.relative_to(written).as_posix() for path in written.rglob("perturbation*")}
    tables = {f"perturbation_table.{suffix}" for suffix in ("csv", "md", "tex")}
    figures = {f"perturbation{name}.{end}" for name in ("", "_linearity") for end in ("png", "pdf")}
    assert files == {*tables, *figures, f"resnet18/{ARCHIVE}"}
    table = pd.read_csv(written / "perturbation_table.csv")
    assert list(table["replacement"].unique()) == ["mean", "other"]
    assert table["spearman"].between(-1, 1).all()
    assert table["spearman_low"].isna().all()  # of two images
    assert "untrained" in (written / "perturbation_table.md").read_text()


def test_the_gradient_map_is_that_of_the_result(written: Path) -> None:
    erf = ERF.load(written / "resnet18" / "erf.npz")
    check = PerturbationERF.load(written / "resnet18" / ARCHIVE)
    of_cells = check.grid.sums(erf.map) / check.grid.areas
    np.testing.assert_allclose(check.gradient_map, of_cells, rtol=1e-3)
    assert [image.sha256 for image in check.images] == [image.sha256 for image in erf.images]


@pytest.mark.usefixtures("no_drawing")
def test_what_is_there_is_gone_on_with(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written / "resnet18" / ARCHIVE
    whole = PerturbationERF.load(path)
    first = replace(whole, found=whole.found.of(np.array([True, False])), images=whole.images[:1])
    first.save(path)
    checked: list[object] = []
    check = measuring.CheckableNetwork.check

    def counted(self: object, *arguments: Any) -> Any:
        checked.append(arguments)
        return check(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring.CheckableNetwork, "check", counted)
    assert not measured(written).failures
    assert len(checked) == 1
    again = PerturbationERF.load(path)
    for name, array in vars(whole.found).items():
        np.testing.assert_array_equal(array, getattr(again.found, name))
    measured(written)
    assert len(checked) == 1  # all of it was there


@pytest.mark.usefixtures("no_drawing")
def test_another_check_is_replaced_only_where_that_is_asked_for(written: Path) -> None:
    with pytest.raises(UsageError, match=r"check cells \(4 there, 2 now\)"):
        measured(written, Checking(2, ("mean", "other")))
    with pytest.raises(UsageError, match="--replacement other takes"):
        study.measure_erfs(
            requests(["resnet18"], ["random"]),
            select("builtin", 1),
            written,
            checking=CHECKING,
        )


@pytest.mark.usefixtures("no_drawing")
def test_the_command_on_the_page_checks_again(
    written: Path, tmp_path: Path, run_command: Command
) -> None:
    page = tmp_path / "report.html"
    assert not list(report([written], page))
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])  # type: ignore[index]
    program, *arguments = shlex.split(data["erfs"][0]["command"])
    assert program == "erf-tools"
    assert arguments[-7:] == [
        *("--check", "--cells", "4", "--replacement", "mean", "--replacement", "other")
    ]
    code, _, error = run_command(*arguments, "--output", tmp_path / "again")
    assert code == 0, error
    first, again = (
        PerturbationERF.load(folder / "resnet18" / ARCHIVE)
        for folder in (written, tmp_path / "again")
    )
    assert again.record() == first.record()
    for name, array in vars(first.found).items():
        np.testing.assert_array_equal(array, getattr(again.found, name))


def test_a_check_of_something_else_is_not_taken_for_one(written: Path) -> None:
    erf = ERF.load(written / "resnet18" / "erf.npz")
    check = PerturbationERF.load(written / "resnet18" / ARCHIVE)
    assert check.is_of(erf)
    assert not check.is_of(replace(erf, setting={**erf.setting, "unit": "0,0"}))
    assert not check.is_of(replace(erf, images=erf.images[::-1]))
    assert "--check" not in str(erf_command(erf))


def test_the_page_shows_the_check_beside_the_map(written: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert not list(report([written], page))
    text = page.read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    (check,) = data["checks"]
    assert [len(map_["cells"]) for map_ in check["maps"]] == [4, 4, 4]
    assert np.mean(check["maps"][0]["cells"]) == pytest.approx(1, abs=1e-3)
    assert check["label"] == "resnet18 (untrained)"
    assert "the gradient predicts" in check["linearity"]
    damaged = written / "resnet18" / ARCHIVE
    content = damaged.read_bytes()
    damaged.write_bytes(b"nothing")
    failures: Failures = report([written], page)
    damaged.write_bytes(content)
    assert len(list(failures)) == 1
    assert json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])[
        "erfs"
    ]  # type: ignore[index]


def test_a_unit_that_is_off_on_all_images_is_told_as_that(
    run_command: Command, tmp_path: Path
) -> None:
    (tmp_path / "off.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef net():\n"
        "    layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3, 2))\n"
        "    nn.init.constant_(layers[0].bias, -1e3)\n    return layers\n"
    )
    arguments = "--num-images 2 --resolution 32 --check --output"
    code, out, error = run_command(
        "erf", "--model", tmp_path / "off.py:net", *arguments.split(), tmp_path / "out"
    )
    assert code == 0, error
    assert "2 of 2 maps are zero, so it rests on nothing" in out
    assert "has no intervals: the map is zero everywhere" in out
    assert "so it predicts no change of the unit" in out
    assert (tmp_path / "out" / "perturbation.png").exists()
    assert not (tmp_path / "out" / "perturbation_linearity.png").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "so it predicts no change of the unit" in page
