"""The SLURM of the tests: an array, accounting, preemption, and that nothing of it stays."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import slurm_machine


def output_of(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def submit(script: str, *options: str) -> str:
    (job,) = output_of("sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}")
    return job


def states(job: str) -> list[str]:
    return output_of("sacct", "--noheader", "--allocations", "--format=State", f"--jobs={job}")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.usefixtures("slurm")
def test_an_array_is_run_and_accounted_for(tmp_path: Path) -> None:
    job = submit(f"touch {tmp_path}/$SLURM_ARRAY_TASK_ID; exit $SLURM_ARRAY_TASK_ID", "--array=0-2")
    wait_until(lambda: states(job) == ["COMPLETED", "FAILED", "FAILED"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


@pytest.mark.usefixtures("slurm")
def test_an_urgent_job_takes_the_cores_of_one_that_asks_to_be_requeued(tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = (
        f"[ $SLURM_RESTART_COUNT ] && exit; trap 'scontrol requeue $SLURM_JOB_ID' USR2;"
        f"touch {started}; while :; do sleep 0.1; done"
    )
    preempted = submit(script, "--cpus-per-task=2", "--signal=B:USR2@5")
    wait_until(started.exists)
    urgent = submit("true", "--cpus-per-task=2", "--partition=urgent")
    wait_until(lambda: states(urgent) == ["COMPLETED"])
    wait_until(lambda: states(preempted) == ["COMPLETED"])


def test_nothing_stays_after_an_exception(tmp_path: Path) -> None:
    started = tmp_path / "started"
    try:
        with slurm_machine.slurm_machine(tmp_path):
            submit(f"echo $$ > {started}; sleep 600")
            wait_until(lambda: started.exists() and bool(started.read_text()))
            raise ZeroDivisionError
    except slurm_machine.NoSlurmError as reason:
        pytest.skip(str(reason))
    except ZeroDivisionError:
        pass
    assert str(tmp_path) not in os.environ.get("SLURM_CONF", "")
    wait_until(lambda: not Path("/proc", started.read_text().strip()).exists())
    assert not any(str(tmp_path) in line for line in output_of("ps", "-eo", "args"))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(slurm_machine, "PROGRAMS", ("no-such-daemon",))
    with (
        pytest.raises(slurm_machine.NoSlurmError, match=r"no-such-daemon.*apt-get install slurm"),
        slurm_machine.slurm_machine(tmp_path),
    ):
        pass
