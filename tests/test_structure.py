"""The import rule, names, and that nothing heavy is imported for nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
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


#: Typer and what it stands on.
LIGHT = {"typer", "click", "rich", "shellingham", "annotated_doc", "typing_extensions"}


def test_help_loads_nothing_but_what_prints_it() -> None:
    """Which is why it is there at once."""
    code = (
        "import sys; sys.argv = ['erf-tools', '--help']\n"
        "from erf_tools.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*sys.modules)"
    )
    loaded = {name.split(".")[0] for name in run(code).splitlines()[-1].split()}
    foreign = {name for name in loaded - sys.stdlib_module_names if not name.startswith("_")}
    assert foreign - LIGHT == {"erf_tools"}


def test_public_names_are_there() -> None:
    import erf_tools

    assert all(getattr(erf_tools, name) for name in dir(erf_tools))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        erf_tools.nothing  # noqa: B018


def test_no_two_classes_of_the_package_share_a_name() -> None:
    """Nor do types that are spelled out, as a ``Literal``."""
    places: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for part in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(part, ast.ClassDef):
                names = [part.name]
            elif isinstance(part, ast.Assign):
                names = [target.id for target in part.targets if isinstance(target, ast.Name)]
            else:
                continue
            for name in names:
                if re.match(r"[A-Z][a-z]", name):
                    places.setdefault(name, set()).add(path.relative_to(PACKAGE).as_posix())
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
