"""Options that several commands have: one name, one meaning, one place; and shell completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from conftest import Command
from sweep_studies import write_study

from erf_tools.cli import app
from erf_tools.cli.options import no_file
from erf_tools.computing import plausible_device
from erf_tools.downloads import is_offline
from erf_tools.errors import UsageError

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]

#: What commands share, in the order that each of them shows.
SHARED = ("--weights", "--batch-size", "--device", "--seed", "--offline", "--output", "--overwrite")


def options(command: str) -> dict[str, Any]:
    return {each.opts[0]: each for each in COMMANDS[command].params if each.opts[0].startswith("-")}


def test_shared_options_have_one_text_one_form_and_one_order() -> None:
    texts: dict[str, set[tuple[str, str]]] = {}
    for command in COMMANDS:
        own = [name for name in options(command) if name in SHARED]
        assert own == [name for name in SHARED if name in own], command
        for name in own:
            found = options(command)[name]
            texts.setdefault(name, set()).add((found.help, found.metavar))
    assert {name: len(said) for name, said in texts.items()} == dict.fromkeys(SHARED, 1)


def test_what_runs_networks_can_be_told_where_and_without_fetching() -> None:
    running = ("erf", "audit", "dead-pixels", "attention", "shape-bias", "reliance", "sweep", "app")
    for command in running:
        assert {"--device", "--offline"} <= {*options(command)}, command


def test_the_output_is_a_folder_everywhere() -> None:
    with_output = [command for command in COMMANDS if "--output" in options(command)]
    assert {
        "audit",
        "dead-pixels",
        "attention",
        "erf",
        "measure",
        "shape-bias",
        "reliance",
        "compare",
        "sweep",
        "report",
        "demo",
    } == {*with_output}
    assert {options(command)["--output"].metavar for command in with_output} == {"DIR"}


def test_options_of_different_kinds_do_not_share_a_name_in_a_command() -> None:
    for command in COMMANDS:
        spelled = [set(each.opts) for each in COMMANDS[command].params]
        assert all(not one & other for one, other in combinations(spelled, 2)), command


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("erf-tools sh", {"shape-bias"}),
        ("erf-tools erf --gradient ", {"relu", "abs", "signed"}),
        ("erf-tools shape-bias --pres", {"--preset"}),
    ],
)
def test_the_shell_completes(line: str, offered: set[str]) -> None:
    words = line.split(" ")
    done = subprocess.run(
        [Path(sys.executable).with_name("erf-tools")],
        env={
            **os.environ,
            "_ERF_TOOLS_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("erf", "--model", "resnet10t"),
        ("audit", "--model", "resnet10t"),
        ("measure", "map.npy"),
        ("attention", "--model", "deit_tiny_patch16_224"),
        ("dead-pixels", "--model", "resnet10t"),
        ("shape-bias", "--model", "resnet10t"),
        ("reliance", "--model", "resnet10t"),
        ("compare",),
        ("report", "."),
        ("demo",),
    ],
)
def test_results_go_into_folders(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run_command(*command, "--output", "there/r.html")
    assert code == 2
    assert err == (
        "erf-tools: --output there/r.html ends as a file, and results go into a folder; name a "
        "folder, as in there/r\n"
    )
    assert not list(tmp_path.iterdir())


def test_folders_may_have_dots_and_be_there(tmp_path: Path) -> None:
    (tmp_path / "old.csv").mkdir()
    for name in ("v1.2", "old.csv", "resnet50.a1_in1k", "."):
        assert no_file(tmp_path / name) == tmp_path / name
    with pytest.raises(UsageError, match="ends as a file"):
        no_file(tmp_path / "new.CSV")


@pytest.mark.parametrize(
    "name", ["nowhere", "cuda:x", "cuda:01", "cuda:-1", "CUDA", "gpu", "cuda:", "cpu:1:2"]
)
def test_what_is_no_device_of_torchs_is_refused(name: str, run_command: Command) -> None:
    with pytest.raises(RuntimeError):
        torch.device(name)
    said = f"erf-tools: --device {name}: there is no such device here; use auto or cpu\n"
    for command in (["erf", "--model", "resnet10t"], ["app"], ["sweep", "study.toml"]):
        code, _, err = run_command(*command, "--device", name)
        assert (code, err) == (2, said)


def test_nonsense_is_no_device_before_torch_is_there() -> None:
    words = ["erf-tools", "attention", "--model", "deit", "--device", "nowhere"]
    program = (
        "import sys; sys.modules['torch'] = None; from erf_tools.cli import main; "
        f"sys.argv = {words!r}; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    said = "erf-tools: --device nowhere: there is no such device here; use auto or cpu\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_what_torch_takes_for_a_device_is_not_refused_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RuntimeError, match="Expected one of") as caught:
        torch.device("nowhere")
    types = re.findall(r"\w+", str(caught.value).partition("one of ")[2].partition(" device")[0])
    assert len(types) > 15
    for name in types:
        assert plausible_device(name) == name
        assert plausible_device(f"{name}:12") == f"{name}:12"
    assert plausible_device("auto") == "auto"
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [group])
    assert plausible_device("npu:1") == "npu:1"  # as extensions of torch name theirs


@pytest.fixture
def study(study_folder: Path) -> Path:
    return write_study(study_folder, "three")


def test_a_sweep_is_told_its_device(study: Path, run_command: Command) -> None:
    code, _, err = run_command("sweep", study.name, "--device", "nowhere")
    assert code == 2
    assert "--device nowhere: there is no such device here" in err
    assert not Path("out").exists()
    code, _, err = run_command("sweep", study.name, "--device", "cpu", "--executor", "slurm")
    assert code == 2
    assert "--device is for --executor local" in err


def test_a_sweep_fetches_nothing_offline(
    study: Path, run_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # set again afterwards
    assert not is_offline()
    run_command("sweep", study.name, "--offline", "--status")
    assert is_offline()


def test_the_page_is_told_its_device() -> None:
    from erf_tools.explorer.session import Session

    with pytest.raises(UsageError, match="--device nowhere: there is no such device here"):
        Session(device="nowhere")
