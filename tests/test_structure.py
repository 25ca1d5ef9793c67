"""The import rule, and that nothing heavy is imported for nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

PACKAGE = Path(__file__).parents[1] / "erf_tools"


def test_imports_keep_the_contracts() -> None:
    """Those of ``pyproject.toml``: which package may import which, and what knows of torch."""
    assert lint_imports(no_cache=True) == 0


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, erf_tools; print(*sys.modules)"
    loaded = {name.split(".")[0] for name in run(code).split()}
    assert not loaded & {"torch", "timm", "matplotlib", "pandas", "numpy", "scipy"}


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['erf-tools', '--help']\n"
        "from erf_tools.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*sys.modules)"
    )
    loaded = {name.split(".")[0] for name in run(code).splitlines()[-1].split()}
    assert not loaded & {"torch", "timm", "matplotlib", "pandas", "numpy", "scipy"}


def test_public_names_are_there() -> None:
    import erf_tools

    assert all(getattr(erf_tools, name) for name in dir(erf_tools))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        erf_tools.nothing  # noqa: B018


def test_help_is_quick() -> None:
    """Against Python's own start in the same run, not against the clock."""

    def best(*command: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        return min(times)

    empty = best("-c", "pass")
    full = best(
        "-c", "import sys; sys.argv[1:] = ['--help']; from erf_tools.cli import main; main()"
    )
    assert full < empty + 0.45 or full < 20 * empty
