"""What all studies share: each network stands alone, and a result that is there is used again.

What a network needs is told before any is measured, so that a folder with other results is refused
before the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from erf_tools.errors import UsageError
from erf_tools.failures import Failures, FailuresError
from erf_tools.files import remove_partial_files
from erf_tools.models.requests import Request
from erf_tools.provenance import versions
from erf_tools.records import differing_values
from erf_tools.text import first_few

Result = TypeVar("Result")


@dataclass(frozen=True)
class Earlier(Generic[Result]):
    """What an earlier run has left of a network.

    Attributes:
        result: what measuring would give again; ``None`` if that is not there.
        differences: in what a result that is there differs from the one that is asked for.
    """

    result: Result | None = None
    differences: Sequence[str] = ()


@dataclass(frozen=True)
class StudyCourse(Generic[Result]):
    """How a study went.

    Attributes:
        results: by network, in the order asked for.
        reused: networks of which the result was there.
        failures: what failed; what fails later is added.
    """

    results: dict[Request, Result] = field(default_factory=dict)
    reused: list[Request] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)


def measure_one_by_one(
    wanted: Sequence[Request],
    output: Path,
    earlier: Callable[[Request], Earlier[Result]],
    measure: Callable[[Request], Result],
    overwrite: bool,
) -> StudyCourse[Result]:
    """Measure each network whose result is not there; what fails is listed, and the rest goes on.

    Args:
        wanted: the networks.
        output: the study's folder, locked.
        earlier: says what an earlier run has left of a network.
        measure: measures a network and writes its result.
        overwrite: measure as well where another result lies.

    Raises:
        UsageError: a network has another result there, and ``overwrite`` is not set.
        FailuresError: no network could be measured.
    """
    course: StudyCourse[Result] = StudyCourse()
    left = look_up(wanted, output, earlier, overwrite, course.failures)
    for request, found in left.items():
        with course.failures.alone(request.label):
            if found.result is None:
                course.results[request] = measure(request)
            else:
                course.results[request] = found.result
                course.reused.append(request)
    if wanted and not course.results:
        raise FailuresError(list(course.failures), all_of_it=True)
    return course


def look_up(
    wanted: Sequence[Request],
    output: Path,
    earlier: Callable[[Request], Earlier[Result]],
    overwrite: bool,
    failures: Failures,
) -> dict[Request, Earlier[Result]]:
    """Return what an earlier run has left of each network; those that fail are left out.

    For the arguments and what is raised see :func:`measure_one_by_one`.
    """
    left: dict[Request, Earlier[Result]] = {}
    for request in wanted:
        with failures.alone(request.label):
            left[request] = earlier(request)
    others = [
        f"of {request.label}, which differs in {first_few(found.differences)}"
        for request, found in left.items()
        if found.differences
    ]
    if others and not overwrite:
        raise UsageError(
            f"{output} holds another result {'; and '.join(others)}: name another folder with "
            "--output, or replace it with --overwrite"
        )
    return left


def clear(output: Path, places: Sequence[Path]) -> None:
    """Remove what killed writers have left in a study's folder, and in those of its networks."""
    below = [folder for place in places for folder in _folders(place)]
    remove_partial_files([output, *below])


def _folders(place: Path) -> Iterator[Path]:
    yield place
    yield from (path for path in place.glob("*/") if path.is_dir())


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in what JSON values differ, each as its name with both values.

    Args:
        there: what a result says of itself; what ``now`` does not name does not count.
        now: what is asked for.
    """
    named = {key: there.get(key) for key in now}
    return [
        f"{name} ({other} there, {value} now)"
        for name, other, value in differing_values(named, now)
    ]


def other_images(
    there: Sequence[tuple[str, str]], now: Sequence[tuple[str, str]], begun: bool = False
) -> list[str]:
    """Return in what the images of a result differ from those that are asked for.

    Args:
        there: of the result; see :func:`~erf_tools.images.identities`.
        now: asked for.
        begun: a result of the first of them is enough.
    """
    wanted = now[: len(there)] if begun else now
    if list(there) == list(wanted):
        return []
    if sorted(there) == sorted(wanted):
        return [f"the order of the images (the same {len(there)} there and now)"]
    if [sha256 for _, sha256 in there] == [sha256 for _, sha256 in wanted]:
        return [f"the names of the images (the same {len(there)} there and now)"]
    return [f"images ({len(there)} there, {len(now)} now, not all of them the same)"]


def other_run(run: Mapping[str, Any], exact: bool = False) -> list[str]:
    """Return in what a run differs from one of now: in versions, and in ways of computing.

    Args:
        run: as a result records it.
        exact: no faster ways may have been taken.
    """
    faster = any(run.get(way) for way in ("folded", "cone", "together")) or run.get("batch", 1) > 1
    way = ["ways of computing (a faster one there, --exact now)"] if exact and faster else []
    return differences({"versions": run["versions"]}, {"versions": versions()}) + way


def check_not_in_series(wanted: Sequence[Request], measured: str) -> None:
    """See that each network has one choice of weights.

    Args:
        wanted: the networks.
        measured: what is measured of them.

    Raises:
        UsageError: one has several checkpoints.
    """
    for request in wanted:
        if request.in_series:
            raise UsageError(
                f"{request.model} has a series of checkpoints; {measured} is measured of one of "
                f"them: --weights {request.weights}"
            )
