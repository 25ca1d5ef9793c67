"""Handing units to workers: the next one to whoever is free, and again if a worker dies."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, Protocol, TypeVar

from erf_tools.errors import ErfToolsError
from erf_tools.sweep.outcome import Failure, Outcome
from erf_tools.sweep.plan import Unit

#: Does a unit: the unit, the sweep's folder, the device.
Work = Callable[[Unit, Path, str], Outcome]

_Result = TypeVar("_Result")

#: How often a unit is handed out before it counts as what kills its workers, and how often a worker
#: that dies before its first unit is started.
TRIES = 3


class WorkerDied(Exception):  # noqa: N818 - an event, not a fault of the program
    """A worker ended without an answer: its process was killed, its machine is gone."""


class Worker(Protocol):
    """A process that does units, one at a time."""

    def start(self) -> Future[Any]:
        """Start the process, anew if it died; the future is done when it can take a unit."""
        ...

    def submit(self, unit: Unit) -> Future[Outcome]:
        """Hand over a unit; both futures raise :class:`WorkerDied` where the process ended."""
        ...


class Queue:
    """Units to do, handed out so that a worker keeps its network for as long as it can.

    A worker goes on with the measurement of its last unit; then it begins one that nobody is at;
    when there is none, it helps where most is left.

    Args:
        units: by measurement, as in a plan.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        self._waiting: dict[str, deque[Unit]] = {}
        for unit in units:
            self._waiting.setdefault(unit.measurement.id, deque()).append(unit)
        self._at: dict[Worker, str] = {}
        self._deaths = Counter[str]()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self, worker: Worker) -> Unit | None:
        """Return the next unit for a worker; ``None`` when all are handed out."""
        measurement = self._at.pop(worker, None)
        if not self._waiting:
            return None
        if measurement not in self._waiting:
            untouched = (each for each in self._waiting if each not in self._at.values())
            most = max(self._waiting, key=lambda each: len(self._waiting[each]))
            measurement = next(untouched, most)
        self._at[worker] = measurement
        units = self._waiting[measurement]
        unit = units.popleft()
        if not units:
            del self._waiting[measurement]
        return unit

    def lost(self, unit: Unit, reason: str) -> Outcome | None:
        """Take back a unit whose worker died; after the third time, return its failure."""
        self._deaths[unit.id] += 1
        if self._deaths[unit.id] == TRIES:
            failure = Failure(f"{reason}, {TRIES} times; it may need more memory than there is")
            return Outcome(unit.id, len(unit.names), 0, failure)
        self._waiting.setdefault(unit.measurement.id, deque()).appendleft(unit)
        return None


def dispatch(units: Sequence[Unit], workers: Sequence[Worker]) -> Iterator[Outcome]:
    """Yield the outcome of each unit as it comes.

    A unit whose worker dies is handed out again; the third time, that is its failure.

    Raises:
        OutputError: a worker could not write; nothing more is handed out.
        ErfToolsError: a worker does not start.
    """
    queue = Queue(units)
    starting: dict[Future[Any], Worker] = {worker.start(): worker for worker in workers}
    running: dict[Future[Outcome], tuple[Worker, Unit]] = {}
    stillborn = Counter[Worker]()
    idle: list[Worker] = []
    while queue or running:
        done, _ = wait([*starting, *running], return_when=FIRST_COMPLETED)
        for future in done & starting.keys():
            worker = starting.pop(future)
            try:
                future.result()
                idle.append(worker)
            except WorkerDied as error:
                stillborn[worker] += 1
                if stillborn[worker] == TRIES:
                    raise ErfToolsError(f"a worker does not start: {error}") from error
                starting[worker.start()] = worker
        for future in done & running.keys():
            worker, unit = running.pop(future)
            outcome: Outcome | None
            try:
                outcome = future.result()
                idle.append(worker)
            except WorkerDied as error:
                starting[worker.start()] = worker
                outcome = queue.lost(unit, str(error))
            if outcome:
                yield outcome
        waiting, idle = idle, []
        for worker in waiting:
            if next_unit := queue.take(worker):
                running[worker.submit(next_unit)] = (worker, next_unit)
            else:
                idle.append(worker)


def translated(
    future: Future[_Result], translate: Callable[[BaseException], BaseException]
) -> Future[_Result]:
    """Return a future that is done when ``future`` is, with its error translated."""
    other: Future[_Result] = Future()

    def settle(done: Future[_Result]) -> None:
        if error := done.exception():
            other.set_exception(translate(error))
        else:
            other.set_result(done.result())

    future.add_done_callback(settle)
    return other
