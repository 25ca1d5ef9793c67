"""How many processors there are for this process, asked in one place."""

from __future__ import annotations

import math
import os
from pathlib import Path

#: Of the control groups of Linux, version 2 and 1: processor time and the period it is for.
_QUOTAS = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)

#: Rounds that a thread of GNU's OpenMP, which torch brings along on Linux, waits at work for the
#: others before it sleeps. By default it is some 300,000: where another process has a core, a
#: thread then waits in vain, hundreds of times a second, for one that has none.
_ROUNDS = "1000"


def available_cores() -> int:
    """Return how many threads of this process can run at once, one at least.

    Those of the machine; fewer where the process is bound to some of them, its container has a
    quota of processor time, or ``OMP_NUM_THREADS`` says so.
    """
    limits = [os.cpu_count() or 1, _bound(), _quota(), _asked()]
    return max(1, min(limit for limit in limits if limit))


def share_cores() -> None:
    """Let torch and BLAS, where they are not imported yet, share the machine with other processes.

    They start no more threads than can run, and these leave a core soon that they do not need.
    Where nothing limits their number they know better: of a core's two hardware threads torch uses
    one.
    """
    if (cores := available_cores()) < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _ROUNDS)


def _bound() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else 0


def _quota() -> int:
    for files in _QUOTAS:
        try:
            words = " ".join(Path(file).read_text() for file in files).split()
            quota, period = (int(word) for word in words)
        except (OSError, ValueError):  # another system, or "max": no limit
            continue
        if quota > 0 and period > 0:
            return math.ceil(quota / period)
    return 0


def _asked() -> int:
    # As OpenMP reads it: a list is of nested levels.
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() else 0
