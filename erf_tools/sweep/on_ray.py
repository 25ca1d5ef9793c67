"""Units on a Ray cluster: one actor per GPU, or per so many cores."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from erf_tools.downloads import go_offline, is_offline
from erf_tools.errors import ErfToolsError
from erf_tools.sweep.dispatch import Work, WorkerDied, dispatch, translated
from erf_tools.sweep.outcome import Outcome
from erf_tools.sweep.plan import Unit


def run_on_ray(
    units: Sequence[Unit],
    output: Path,
    work: Work,
    address: str,
    threads: int,
    resources: Mapping[str, float],
) -> Iterator[Outcome]:
    """Yield the outcome of each unit, done on an existing Ray cluster.

    All nodes see the folder in which the command is run, by the same path. What a lost node was at
    is done again by another one.

    Args:
        units: what to do.
        output: the sweep's folder.
        work: does a unit.
        address: of the cluster, as ``ray start`` prints it; ``auto`` for that of this machine.
        threads: of each worker on a CPU.
        resources: ``num_cpus`` and ``num_gpus`` of each worker; by default as many cores as threads
            and, where the cluster has GPUs, one.

    Raises:
        ErfToolsError: there is no cluster at the address, or no room in it for a worker.
        OutputError: the folder cannot be written.
    """
    host, separator, port = address.rpartition(":")
    try:
        if separator and port.isdecimal() and "/" not in host:
            # Ray itself would ask for a minute.
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, ValueError) as error:  # no such port, no such form
        raise ErfToolsError(
            f"there is no Ray cluster at {address} ({error}); start one with `ray start --head`, "
            "and name its address with --address"
        ) from error
    try:
        there = ray.cluster_resources()
        own = {"num_cpus": threads, "num_gpus": min(there.get("GPU", 0), 1), **resources}
        fitting = [
            there.get(kind, 0) // own[name]
            for kind, name in (("CPU", "num_cpus"), ("GPU", "num_gpus"))
            if own[name]
        ]
        count = int(min([*fitting, len(units)]))
        if not count:
            raise ErfToolsError(
                f"the Ray cluster at {address} has {there.get('CPU', 0):g} CPUs and "
                f"{there.get('GPU', 0):g} GPUs, and a worker wants {own['num_cpus']:g} and "
                f"{own['num_gpus']:g}; say less in the study's table [ray]"
            )
        yield from dispatch(units, [_Actor(output.resolve(), work, own) for _ in range(count)])
    finally:
        ray.shutdown()


class _Actor:
    """A worker somewhere in the cluster, once there is room for it."""

    def __init__(self, output: Path, work: Work, resources: Mapping[str, float]) -> None:
        self._output, self._work, self._resources = output, work, resources
        self._handle: Any = None

    def start(self) -> Future[None]:
        self._handle = (
            ray.remote(_Performer).options(**self._resources).remote(os.getcwd(), is_offline())
        )
        return translated(self._handle.be_there.remote().future(), _explained)

    def submit(self, unit: Unit) -> Future[Outcome]:
        done = self._handle.perform.remote(self._work, unit, self._output)
        return translated(done.future(), _explained)


class _Performer:
    """What runs on the cluster."""

    def __init__(self, folder: str, offline: bool) -> None:
        os.chdir(folder)  # where relative paths lead, and users' factories lie
        if offline:
            go_offline()

    def be_there(self) -> None:
        """Answer, once the process can."""

    def perform(self, work: Work, unit: Unit, output: Path) -> Outcome:
        """Do a unit."""
        return work(unit, output, "auto")


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, RayActorError):
        return WorkerDied("its process was killed, or its node is gone")
    return error.cause if isinstance(error, RayTaskError) else error
