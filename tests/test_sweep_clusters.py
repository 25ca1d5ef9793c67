"""The same units on a Ray cluster of two nodes and on a SLURM, both real, on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from sweep_studies import die, here, note_slowly, perform_and_note, results, write_study

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.sweep import coordinator
from erf_tools.sweep.outcome import Outcome
from erf_tools.sweep.plan import Unit, make_plan
from erf_tools.sweep.study import read_study
from erf_tools.sweep.work import perform

pytestmark = pytest.mark.usefixtures("no_drawing")

#: What a job of the tests' SLURM takes.
SLURM = {"mem_gb": 2, "timeout_min": 5, "slurm_array_parallelism": 2, "slurm_signal_delay_s": 10}


@pytest.fixture
def study(study_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("submitit", reason="the extra `slurm` is missing")
    # Workers elsewhere find the tests' own work by it.
    monkeypatch.setattr("erf_tools.sweep.on_slurm._INTERVAL", 0.5)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    return write_study(study_folder, "three", "seven")


def of_this_process(study: Path) -> dict[str, bytes]:
    coordinator.sweep(read_study(study), Path("here"), here)
    return results(Path("here"))


@pytest.fixture
def two_nodes() -> Iterator[Any]:
    """A Ray cluster with one core on each of two nodes; the second can be taken away."""
    pytest.importorskip("ray", reason="the extra `ray` is missing")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    cluster.shutdown()


def test_a_ray_cluster_that_loses_a_worker_and_a_node_gives_the_same(
    study: Path, two_nodes: Any
) -> None:
    from erf_tools.sweep.on_ray import run_on_ray

    second = two_nodes.add_node(num_cpus=1)
    lost: list[str] = []

    def execute(units: Sequence[Unit], output: Path) -> Iterator[Outcome]:
        for outcome in run_on_ray(units, output, perform_and_note, two_nodes.address, 1, {}):
            yield outcome
            if not lost:
                lost.append("worker")
                os.kill(int((output / "at-work").read_text()), signal.SIGKILL)
            elif lost == ["worker"]:
                lost.append("node")
                two_nodes.remove_node(second, allow_graceful=False)

    done = coordinator.sweep(read_study(study), Path("out"), execute)
    assert lost == ["worker", "node"]
    assert not done.failures
    assert results(Path("out")) == of_this_process(study)


def test_a_ray_cluster_that_is_not_there_or_too_small(study: Path, two_nodes: Any) -> None:
    from erf_tools.sweep.on_ray import run_on_ray

    units = make_plan(read_study(study)).units
    with pytest.raises(ErfToolsError, match=r"has 1 CPUs and 0 GPUs, and a worker wants 1 and 4"):
        list(run_on_ray(units, Path("out"), perform, two_nodes.address, 1, {"num_gpus": 4}))
    two_nodes.shutdown()
    for address in ("auto", "127.0.0.1:1"):
        with pytest.raises(ErfToolsError, match=f"there is no Ray cluster at {address}"):
            list(run_on_ray(units, Path("out"), perform, address, 1, {}))


@pytest.mark.usefixtures("slurm")
def test_jobs_of_slurm_give_the_same(study: Path, run_command: Command) -> None:
    table = "\n".join(f"{key} = {value}" for key, value in SLURM.items())
    study.write_text(f"{study.read_text()}\n[slurm]\n{table}\n")
    code, out, err = run_command("sweep", "study.toml", "--executor", "slurm")
    assert code == 0, err
    assert "erf/ding2022/erf_table.csv" in out
    assert not Path("out/slurm/jobs.json").exists()
    assert results(Path("out")) == of_this_process(study)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def run_beside(study: Path, work: Callable[..., Outcome], output: Path) -> list[Any]:
    """Run units on SLURM in a thread; return a list that gets their outcomes, or the error."""
    from erf_tools.sweep.on_slurm import run_on_slurm

    units = make_plan(read_study(study)).units
    output.mkdir()
    got: list[Any] = []

    def run() -> None:
        got.append(list(run_on_slurm(units, output, work, 1, SLURM)))

    threading.Thread(target=run, daemon=True).start()
    return got


@pytest.mark.usefixtures("slurm")
def test_a_job_that_is_preempted_goes_on_where_it_was(study: Path) -> None:
    output = Path("noted")
    got = run_beside(study, note_slowly, output)
    wait_until(lambda: list(output.glob("*-00000")))
    urgent = ["sbatch", "--partition=urgent", "--cpus-per-task=2", "--output=/dev/null"]
    subprocess.run([*urgent, "--wrap=sleep 2"], check=True, capture_output=True)
    wait_until(lambda: got)
    assert [each.failure for each in got[0]] == [None] * 6
    begun = [len(path.read_text().splitlines()) for path in output.glob("*-0000?")]
    assert len(begun) == 6
    assert 6 <= sum(begun) <= 8  # what the two jobs were at, and no more, was begun again


@pytest.mark.usefixtures("slurm")
def test_a_unit_that_kills_its_jobs_fails_with_their_logs_and_the_others_do_not(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from submitit import SlurmJob

    monkeypatch.setattr(SlurmJob, "_results_timeout_s", 1)  # this file system is not a slow one
    got = run_beside(study, die, Path("noted"))
    wait_until(lambda: got)
    failures = {each.unit: each.failure for each in got[0] if each.failure}
    assert len(got[0]) == 6
    assert [unit[-5:] for unit in failures] == ["00001"] * 2
    for failure in failures.values():
        assert failure.reason.startswith("its job ended without an answer, 3 times (the last ")
        assert Path(failure.reason.rpartition("its logs are in ")[2]).is_dir()


@pytest.mark.usefixtures("slurm")
def test_what_slurm_refuses_is_the_users_to_correct(study: Path) -> None:
    from erf_tools.sweep.on_slurm import run_on_slurm

    units = make_plan(read_study(study)).units
    for wrong in ({"slurm_partition": "nowhere"}, {"nonsense": 1}):
        with pytest.raises(UsageError, match=r"SLURM takes no jobs .*correct .*\[slurm\]"):
            list(run_on_slurm(units, Path("out"), perform, 1, {**SLURM, **wrong}))
