"""Units on this machine: one process per device."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from erf_tools.sweep.dispatch import WorkerDied, dispatch
from erf_tools.sweep.outcome import Outcome
from erf_tools.sweep.plan import Unit

_Result = TypeVar("_Result")

#: Does a unit: the unit, the sweep's folder, the device.
Work = Callable[[Unit, Path, str], Outcome]


def run_locally(
    units: Sequence[Unit], output: Path, work: Work, devices: Sequence[str]
) -> Iterator[Outcome]:
    """Yield the outcome of each unit, done by a process of its own for each device.

    Args:
        units: what to do.
        output: the sweep's folder.
        work: does a unit.
        devices: their names, as torch has them.

    Raises:
        OutputError: the folder cannot be written.
    """
    workers = [_Process(output, work, device) for device in devices]
    try:
        yield from dispatch(units, workers)
    finally:
        for worker in workers:
            worker.end()


class _Process:
    """One process; a pool of one, since that notices when it dies."""

    def __init__(self, output: Path, work: Work, device: str) -> None:
        self._output, self._work, self._device = output, work, device
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None

    def start(self) -> Future[None]:
        self.end()
        # A fork would inherit torch's threads and CUDA's state in a form they cannot be used in.
        context = multiprocessing.get_context("spawn")
        held, self._lifeline = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(1, context, _live_by, (held,))
        return _explained(self._pool.submit(_be_there))

    def submit(self, unit: Unit) -> Future[Outcome]:
        assert self._pool
        return _explained(self._pool.submit(self._work, unit, self._output, self._device))

    def end(self) -> None:
        """End the process, in the middle of its work if it is at any."""
        if self._pool and self._lifeline:
            self._lifeline.close()
            self._pool.shutdown(cancel_futures=True)


def _live_by(lifeline: Connection) -> None:
    """End this process when the other end of the pipe is closed, if only by the parent's death."""

    def end() -> None:
        with suppress(EOFError):
            lifeline.recv()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _be_there() -> None:
    """Answer, once the process can."""


def _explained(future: Future[_Result]) -> Future[_Result]:
    """Return a future that raises :class:`WorkerDied` where the process ended."""
    explained: Future[_Result] = Future()

    def settle(done: Future[_Result]) -> None:
        error = done.exception()
        if isinstance(error, BrokenProcessPool):
            explained.set_exception(WorkerDied("its process was killed"))
        elif error:
            explained.set_exception(error)
        else:
            explained.set_result(done.result())

    future.add_done_callback(settle)
    return explained
