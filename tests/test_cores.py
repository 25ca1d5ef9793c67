"""How many threads are started: as many as can run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from erf_tools import cores


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """64 processors, all of them free."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(cores, "_QUOTAS", ())
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return monkeypatch


def test_all_of_the_machine(machine: pytest.MonkeyPatch) -> None:
    assert cores.available_cores() == 64


def test_those_it_is_bound_to(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(os, "sched_getaffinity", lambda _: {3, 5, 9})
    assert cores.available_cores() == 3
    machine.delattr(os, "sched_getaffinity")
    assert cores.available_cores() == 64


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (["200000 100000\n"], 2),
        (["150000 100000\n"], 2),
        (["max 100000\n"], 64),
        (["50000\n", "100000\n"], 1),
        (["-1\n", "100000\n"], 64),
        (["nonsense\n"], 64),
        ([], 64),
    ],
)
def test_a_containers_quota(
    contents: list[str], expected: int, machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = tuple(tmp_path / str(index) for index in range(len(contents)))
    for file, content in zip(files, contents, strict=True):
        file.write_text(content)
    machine.setattr(cores, "_QUOTAS", (tuple(map(str, files)), (str(tmp_path / "none"),)))
    assert cores.available_cores() == expected


@pytest.mark.parametrize(
    ("asked", "expected"), [("4", 4), ("2,1", 2), ("100", 64), ("0", 64), ("", 64), ("many", 64)]
)
def test_what_openmp_is_told(asked: str, expected: int, machine: pytest.MonkeyPatch) -> None:
    machine.setenv("OMP_NUM_THREADS", asked)
    assert cores.available_cores() == expected


@pytest.mark.parametrize(
    ("own", "rounds"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_that_wait_leave_the_core_unless_they_are_told_otherwise(
    own: dict[str, str], rounds: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(own))
    cores.share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == rounds


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or os.cpu_count() == 1,
    reason="processes cannot be bound to fewer processors here",
)
def test_the_command_line_starts_no_more() -> None:
    code = """
import os, sys
os.sched_setaffinity(0, {next(iter(os.sched_getaffinity(0)))})
from erf_tools.cli import main
sys.argv = ["erf-tools", "--help"]
try:
    main()
except SystemExit:
    pass
import torch
print(torch.get_num_threads(), os.environ["OMP_NUM_THREADS"])
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert run.stdout.splitlines()[-1] == "1 1", run.stderr
