"""``erf-tools inspect`` and ``erf-tools models --search``: what there is, and what to type next."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_states import NAME, prefixed, save, trained, zeros
from conftest import Command

from erf_tools.models import search as searching
from erf_tools.models.checkpoints import read_checkpoint
from erf_tools.models.inspection import describe_parts


def row(output: str, name: str) -> list[str]:
    """The cells of a printed table's row."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"{name} ")]
    return re.split(r"\s{2,}", line.strip())


def typed_next(output: str) -> list[str]:
    """The command that is proposed at the end, without the program's name."""
    program, *arguments = shlex.split(output.strip().splitlines()[-1].partition("Next: ")[2])
    assert program == "erf-tools"
    return arguments


def test_a_file_is_described(run_command: Command, tmp_path: Path) -> None:
    state = {key: value.half() for key, value in trained("resnet18").state_dict().items()}
    content = {
        "state_dict": prefixed(zeros(state), "module."),
        "state_dict_ema": prefixed(state, "module._orig_mod."),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
    }
    path = save(content, tmp_path / "run 1.pth")
    code, out, _ = run_command("inspect", path)
    assert code == 0
    assert read_checkpoint(path).sha256 in out
    cells = row(out, "state_dict_ema")
    assert cells[1:4] == ["122", "11.70 M", "float16"]
    assert cells[4:] == [
        "_orig_mod, module",
        "1000 (fc)",
        "ResNet in the names of timm or torchvision: resnet18",
    ]
    assert out.index("state_dict_ema ") < out.index("state_dict  ")
    assert "exp_avg" not in out
    assert typed_next(out) == ["erf", "--model", "resnet18", "--weights", str(path)]


def test_averages_without_names_are_said(run_command: Command, tmp_path: Path) -> None:
    content = {"model": trained().state_dict(), "ema": {"shadow_params": [torch.ones(2)]}}
    _, out, _ = run_command("inspect", save(content, tmp_path / "file.pth"))
    assert "not used: ema.shadow_params" in out


def test_the_next_command_of_what_is_not_known(run_command: Command, tmp_path: Path) -> None:
    path = save({"a.weight": torch.ones(2), "\x1b[31mb.c": torch.ones(1)}, tmp_path / "file.pth")
    _, out, _ = run_command("inspect", path)
    assert typed_next(out)[:3] == ["erf", "--model", "FILE.py:FUNCTION"]
    _, out, _ = run_command("inspect", save(trained().state_dict(), path))
    assert typed_next(out) == ["models", "--search", "ResNet"]
    _, out, _ = run_command("inspect", save({"\x1b[31mred": {"a.b": torch.ones(1)}}, path))
    assert "\x1b" not in out


def test_heads_are_found_under_any_prefix(tmp_path: Path) -> None:
    state = {"model.backbone.stem.weight": torch.ones(2, 2), "model.head.fc.bias": torch.ones(7)}
    state["model.head.fc.weight"] = torch.ones(7, 2)
    (part,) = describe_parts(read_checkpoint(save(state, tmp_path / "file.pth")))
    assert part.head == "7 (head.fc)"


def test_a_network_is_described(run_command: Command) -> None:
    code, out, _ = run_command("inspect", NAME)
    assert code == 0
    assert out.startswith(f"{NAME}: ResNet, 0.47 M parameters\nInput: any; evaluated at 160x160")
    assert row(out, "layer4") == ["layer4", "Sequential", "96x5x5", "32", "167"]
    command = typed_next(out)
    assert command[:3] == ["erf", "--model", NAME]
    assert command[-2:] == ["--layer", "layer4"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nosuch.pth", "there is no such file"),
        ("resnett50", "there is no model 'resnett50': did you mean"),
        ("nosuch.json", "there is no such file"),
        ("./", "is a folder"),
    ],
)
def test_what_is_neither(given: str, said: str, run_command: Command) -> None:
    code, _, error = run_command("inspect", given)
    assert code == 2
    assert said in error
    assert error.count("\n") == 1


def test_the_commands_that_are_proposed_run(
    run_command: Command, tmp_path: Path, no_drawing: None, image_folder: Path
) -> None:
    """From a file to a result, by what is printed alone."""
    path = save({"net": trained("resnet18").state_dict()}, tmp_path / "file.pth")
    _, out, _ = run_command("inspect", path)
    fast = ("--resolution", 32, "--num-images", 1, "--images", image_folder)
    code, out, error = run_command(*typed_next(out), *fast, "--output", tmp_path / "results")
    assert code == 0, error
    assert "resnet18" in out


def test_search_finds_all_words(run_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "LIBRARIES", ["timm"])
    code, out, _ = run_command("models", "--search", "ConvNeXt V2-atto fcmae_ft")
    assert code == 0
    assert row(out, "convnextv2_atto.fcmae_ft_in1k") == ["convnextv2_atto.fcmae_ft_in1k", "timm"]
    assert typed_next(out) == ["inspect", "convnextv2_atto.fcmae_ft_in1k"]
    _, out, _ = run_command("models", "--search", "replknet 3x3 control")
    assert row(out, "replknet3") == ["replknet3", "catalogue"]
    code, _, error = run_command("models", "--search", "nosuchthing")
    assert (code, error.count("\n")) == (2, 1)


def test_a_missing_library_is_said_and_stops_nothing(
    run_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from erf_tools.errors import UsageError

    def missing(key: str) -> None:
        raise UsageError(f"{key} is not installed")

    monkeypatch.setattr(searching, "LIBRARIES", ["transformers"])
    monkeypatch.setattr(searching, "open_library", missing)
    code, out, error = run_command("models", "--search", "swin_t")
    assert code == 0
    assert "catalogue" in out
    assert error == "left out: transformers is not installed\n"


def test_listing_without_search_needs_no_torch() -> None:
    code = (
        "import sys, typer.testing, erf_tools.cli as c;"
        "typer.testing.CliRunner().invoke(c.app, ['models'], catch_exceptions=False);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
