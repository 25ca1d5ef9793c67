"""Units on this machine: one process per device."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from tqdm import tqdm

from erf_tools.sweep.dispatch import Work, WorkerDied, dispatch, translated
from erf_tools.sweep.outcome import Outcome
from erf_tools.sweep.plan import Unit


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
    except BaseException:
        for worker in workers:
            worker.kill()
        raise
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
        self.kill()
        self.end()
        # A fork would inherit torch's threads and CUDA's state in a form they cannot be used in.
        context = multiprocessing.get_context("spawn")
        held, self._lifeline = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(1, context, _live_by, (held,))
        return translated(self._pool.submit(_be_there), _explained)

    def submit(self, unit: Unit) -> Future[Outcome]:
        assert self._pool
        done = self._pool.submit(self._work, unit, self._output, self._device)
        return translated(done, _explained)

    def kill(self) -> None:
        """Have the process end at once."""
        if self._lifeline:
            self._lifeline.close()

    def end(self) -> None:
        """Wait for the process to end."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)


def _live_by(lifeline: Connection) -> None:
    """End this process when the other end of the pipe is closed, if only by the parent's death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the parent, which ends this
    tqdm.set_lock(threading.RLock())  # its own, shared with other processes, would be left behind

    def end() -> None:
        with suppress(EOFError):
            lifeline.recv()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _be_there() -> None:
    """Answer, once the process can."""


def _explained(error: BaseException) -> BaseException:
    return WorkerDied("its process was killed") if isinstance(error, BrokenProcessPool) else error
