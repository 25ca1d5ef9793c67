"""Memory that is freed is not given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

PAGES = """
import resource
from erf_tools.allocation import keep_freed_memory

{before}
b"x" * (40 << 20)  # and freed
touched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    b"x" * (40 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - touched)
"""


def pages(before: str) -> int:
    """Return how many pages the system gives a process that takes 40 MB over and over again."""
    code = PAGES.format(before=before)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is another one")
def test_what_is_freed_is_taken_again() -> None:
    given_back = pages("")
    if given_back < 1000:
        pytest.skip("the allocator keeps what is freed by itself")
    assert pages("keep_freed_memory()") < given_back / 100
