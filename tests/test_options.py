"""Options that several commands have: one name, one meaning, one place; and shell completion."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import Command
from sweep_studies import write_study

from erf_tools.cli import app
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
