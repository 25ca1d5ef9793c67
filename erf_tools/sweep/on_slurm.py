"""Units on a SLURM cluster: as the jobs of an array, which outlive preemption."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby, pairwise
from math import ceil
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError

from erf_tools.errors import OutputError, UsageError
from erf_tools.files import write_json
from erf_tools.sweep.dispatch import TRIES, Work
from erf_tools.sweep.folder import SweepFolder
from erf_tools.sweep.outcome import Failure, Outcome
from erf_tools.sweep.plan import Unit

#: Jobs at once, where the study does not say.
_PARALLEL = 16

#: Seconds between looks at the jobs.
_INTERVAL = 5.0


class Chunk:
    """Units that a job does one after another, all of one network.

    SLURM may end the job at any time and start it again: what was done by then lies in files and is
    not done again.

    Args:
        units: what to do.
        output: the sweep's folder.
        work: does a unit.
    """

    def __init__(self, units: Sequence[Unit], output: Path, work: Work) -> None:
        self.units, self._output, self._work = units, output, work

    def __call__(self) -> list[Outcome] | OutputError:
        """Do the units; return their outcomes, or why the folder cannot be written."""
        try:
            return [self._work(unit, self._output, "auto") for unit in self.units]
        except OutputError as error:
            return error

    def checkpoint(self) -> Any:
        """Tell submitit how to go on when the job is preempted or out of time: once more."""
        return submitit.helpers.DelayedSubmission(self)


def run_on_slurm(
    units: Sequence[Unit], output: Path, work: Work, threads: int, parameters: Mapping[str, Any]
) -> Iterator[Outcome]:
    """Yield the outcome of each unit, done by jobs of the cluster that this machine belongs to.

    Jobs of an earlier run that was killed are cancelled first. Units of a job that ends without an
    answer become jobs of their own, and fail when that has happened three times. All nodes see the
    folder in which the command is run, by the same path.

    Args:
        units: what to do.
        output: the sweep's folder.
        work: does a unit.
        threads: of each job on a CPU.
        parameters: of the jobs, as submitit names them: ``timeout_min``, ``mem_gb``,
            ``gpus_per_node``, ``slurm_partition``, ``slurm_array_parallelism``, ...

    Raises:
        UsageError: there is no SLURM here, or it refuses the parameters.
        OutputError: the folder cannot be written.
    """
    folder = output.resolve() / "slurm"
    list_of_jobs = folder / "jobs.json"
    _cancel_earlier(list_of_jobs)
    settings = {
        "name": "erf-tools",
        "cpus_per_task": threads,
        "slurm_array_parallelism": _PARALLEL,
        **parameters,
    }
    done_in = SweepFolder(output)
    running: dict[Any, Sequence[Unit]] = {}
    deaths = Counter[str]()

    def submit(chunks: Sequence[Sequence[Unit]]) -> None:
        works = [Chunk(chunk, output.resolve(), work) for chunk in chunks]
        running.update(zip(executor.submit_array(works), chunks, strict=True))
        write_json(list_of_jobs, [job.job_id for job in running])

    try:
        with _refusals():
            executor = submitit.AutoExecutor(folder=folder / "%j", cluster="slurm")
            executor.update_parameters(**settings)
            submit(divide(units, int(settings["slurm_array_parallelism"])))
        while running:
            next(iter(running)).done(force_check=True)  # asks SLURM for the state of all of them
            again: list[list[Unit]] = []
            for job in [job for job in running if job.done()]:
                chunk = running.pop(job)
                try:
                    result = job.result()
                except (FailedJobError, UncompletedJobError) as error:
                    left = [unit for unit in chunk if not done_in.has_done(unit)]
                    deaths.update(unit.id for unit in left)
                    again += [[unit] for unit in left if deaths[unit.id] < TRIES]
                    lost = [unit for unit in left if deaths[unit.id] == TRIES]
                    finished = [unit for unit in chunk if unit not in left]
                    yield from (_lost(unit, job, error) for unit in lost)
                    yield from (Outcome(unit.id, len(unit.names), 0) for unit in finished)
                    continue
                if isinstance(result, OutputError):
                    raise result
                yield from result
            if again:
                submit(again)
            time.sleep(_INTERVAL if running else 0)
    finally:
        for job in running:
            job.cancel()
        list_of_jobs.unlink(missing_ok=True)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what submitit and SLURM say to parameters into one sentence.

    Raises:
        UsageError: instead of what they raised.
    """
    try:
        yield
    except (RuntimeError, FailedJobError, NameError, TypeError) as error:
        said = " ".join(str(error).split())
        raise UsageError(
            f"SLURM takes no jobs ({said}); correct the study's table [slurm], or use another "
            "--executor"
        ) from error


def _lost(unit: Unit, job: Any, error: Exception) -> Outcome:
    failure = Failure(
        f"its job ended without an answer, {TRIES} times (the last {job.job_id}, {job.state}); "
        f"it may need more memory or time than there is; its logs are in {job.paths.folder}",
        str(error),
    )
    return Outcome(unit.id, len(unit.names), 0, failure)


def divide(units: Sequence[Unit], jobs: int) -> list[list[Unit]]:
    """Divide units among about so many jobs or more, none of which has two networks.

    A network that is measured by several jobs is loaded by each of them.
    """
    measurements = [list(own) for _, own in groupby(units, key=lambda unit: unit.measurement.id)]
    pieces = ceil(jobs / len(measurements))
    chunks = []
    for own in measurements:
        count = min(pieces, len(own))
        ends = [len(own) * index // count for index in range(count + 1)]
        chunks += [own[start:end] for start, end in pairwise(ends)]
    return chunks


def _cancel_earlier(list_of_jobs: Path) -> None:
    with suppress(OSError, ValueError):
        for job in json.loads(list_of_jobs.read_text(encoding="utf-8")):
            submitit.SlurmJob(folder=list_of_jobs.parent, job_id=job).cancel(check=False)
