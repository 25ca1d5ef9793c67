"""A folder has one writer at a time, and keeps nothing of its lock."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from erf_tools.errors import ErfToolsError
from erf_tools.files import locked


def test_never_two_are_at_work_in_a_folder(tmp_path: Path) -> None:
    """The file of the lock is removed at its end, while others wait to take it."""
    begin, inside, most, refusals = Barrier(4), set[int](), [], []

    def work(number: int) -> int:
        begin.wait()
        done = 0
        for _ in range(300):
            try:
                with locked(tmp_path / "results"):
                    inside.add(number)
                    most.append(len(inside))
                    inside.remove(number)
                    done += 1
            except ErfToolsError as refused:
                refusals.append(str(refused))
        return done

    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(work, range(4)))
    assert sum(done) == len(most) > 0
    assert set(most) == {1}
    assert all("another erf-tools is at work" in refused for refused in refusals)
    assert not list((tmp_path / "results").iterdir())
