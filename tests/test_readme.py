"""The README's own words, carried out."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
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


def test_the_library_example_runs(
    cue_conflict: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from erf_tools.cue_conflict import stimuli

    monkeypatch.chdir(tmp_path)
    (tmp_path / "cue-conflict").symlink_to(cue_conflict)
    whole = stimuli.open_stimuli(cue_conflict)
    few = replace(whole, stimuli=whole.stimuli[:4])
    monkeypatch.setattr("erf_tools.cue_conflict.classify.open_stimuli", lambda source: few)
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "resnet50.npz").is_file()


COMMANDS = [line for block in blocks("console") for line in block.strip().splitlines()]


@pytest.mark.usefixtures("no_drawing")
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
    if arguments[0] in ("erf", "audit"):
        arguments += ["--num-images", "1", "--resolution", "64"]
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    error = capsys.readouterr().err
    if arguments[0] in ("measure", "shape-bias", "reliance", "compare", "report"):
        assert stopped.value.code == 2  # understood, but the folders are the user's
        assert "there is no" in error or "No such file" in error
    elif arguments[0] == "sweep":
        assert stopped.value.code == 2
        assert "backbones.toml cannot be read" in error
    elif "my_" in command:
        assert stopped.value.code == 2
        assert "no such file" in error or "cannot import" in error
    else:
        assert not stopped.value.code, error
