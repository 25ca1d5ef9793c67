"""The README's own words, carried out."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from erf_tools import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_there_are_two_commands_and_ci_runs_them() -> None:
    install, test = (block.strip() for block in blocks("bash"))
    assert install.startswith("python -m pip install ")
    assert install.endswith("&& erf-tools demo")
    assert test == "python -m pytest"
    script = (ROOT / ".ci" / "run").read_text()
    assert 'eval "$(readme_command 1)"' in script
    assert 'eval "$(readme_command 2)"' in script


def test_the_library_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "replknet31b.npz").is_file()


COMMANDS = [line for block in blocks("console") for line in block.strip().splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shown_is_understood(
    command: str,
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is run, small; those on files of the user's get as far as looking for them."""
    monkeypatch.chdir(tmp_path)
    image_folder.rename(tmp_path / "photos")
    program, *arguments = shlex.split(command)
    assert program == "erf-tools"
    if arguments[0] == "erf":
        arguments += ["--num-images", "1", "--resolution", "64"]
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    error = capsys.readouterr().err
    if "my_" in command:
        assert stopped.value.code == 2
        assert "no such file" in error or "cannot import" in error
    else:
        assert not stopped.value.code, error
