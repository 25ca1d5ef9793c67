"""The import rule, and that nothing heavy is imported for nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "erf_tools"

# Who may import whom: lower layers only, and in layer 2 the torch side and the drawing side do not
# see each other.
LAYERS = {
    "cli": 0,
    "cli.erf": 1,
    "cli.shape_bias": 1,
    "cli.compare": 1,
    "cli.pages": 1,
    "cli.demo": 1,
    "cli.listing": 1,
    "cli.sweep": 1,
    "cli.weights": 1,
    "cli.inputs": 1,
    "cli.outcomes": 1,
    "cli.options": 3,
    "compare": 1,
    "explorer.page": 1,
    "studies.erf": 1,
    "studies.shape_bias": 1,
    "sweep.coordinator": 1,
    "sweep.local": 1,
    "sweep.on_ray": 1,
    "sweep.on_slurm": 1,
    "sweep.work": 1,
    "sweep.results": 1,
    "sweep.estimate": 1,
    "sweep.dispatch": 3,
    "sweep.folder": 3,
    "sweep.outcome": 3,
    "sweep.plan": 3,
    "sweep.study": 3,
    "models.requests": 3,
    "models.operations": (2, "torch"),
    "models.weight_files": 3,
    "models.loading": (2, "torch"),
    "models.checkpoints": (2, "torch"),
    "models.replknet": (2, "torch"),
    "models.taps": (2, "torch"),
    "models.devices": (2, "torch"),
    "models.dependency": (2, "torch"),
    "models.spreading": (2, "torch"),
    "models.layers": (2, "torch"),
    "models.dataflow": (2, "torch"),
    "models.folding": (2, "torch"),
    "models.cone": (2, "torch"),
    "models.depthwise": (2, "torch"),
    "erf.contributions": (2, "torch"),
    "models.accuracy": (2, "torch"),
    "erf.gradients": (2, "torch"),
    "cue_conflict.classify": (2, "torch"),
    "explorer.session": (2, "torch"),
    "explorer.overlay": (2, "drawing"),
    "tables": (2, "drawing"),
    "figures": (2, "drawing"),
    "erf.tables": (2, "drawing"),
    "erf.figures": (2, "drawing"),
    "erf.preview": (2, "drawing"),
    "report.content": (2, "drawing"),
    "report.page": (2, "drawing"),
    "report.commands": 3,
    "report.pictures": 3,
    "report.results": 3,
    "cue_conflict.tables": (2, "drawing"),
    "cue_conflict.figures": (2, "drawing"),
    "erf.protocols": 3,
    "erf.published": 3,
    "erf.maps": 3,
    "erf.intervals": 3,
    "erf.parts": 3,
    "erf.bootstrap": 3,
    "erf.measures": 3,
    "erf.gaussian": 3,
    "erf.units": 3,
    "erf.procedure": 3,
    "erf.receptive_field": 3,
    "cue_conflict.categories": 3,
    "cue_conflict.stimuli": 3,
    "cue_conflict.decisions": 3,
    "cue_conflict.measures": 3,
    "cue_conflict.published": 3,
    "cue_conflict.makers": 3,
    "explorer.pictures": 3,
    "explorer.answers": 3,
    "explorer.markup": 3,
    "explorer.routes": 3,
    "images": 3,
    "models.catalogue": 3,
    "downloads": 4,
    "statistics": 4,
    "files": 4,
    "provenance": 4,
    "errors": 4,
}
OPEN = {
    "",
    "models",
    "erf",
    "cue_conflict",
    "report",
    "explorer",
    "studies",
    "sweep",
}  # __init__ modules: docstrings, names by string


def modules() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        .removesuffix("__init__")
        .rstrip("."): ast.parse(path.read_text())
        for path in PACKAGE.rglob("*.py")
    }


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_module_has_a_layer() -> None:
    assert set(modules()) == set(LAYERS) | OPEN


def test_imports_point_downwards() -> None:
    def split(module: str) -> tuple[int, str]:
        layer = LAYERS[module]
        return layer if isinstance(layer, tuple) else (layer, "")

    for module, tree in modules().items():
        if module in OPEN:
            continue
        level, side = split(module)
        for name in imported(tree):
            target = name.removeprefix("erf_tools.")
            if not name.startswith("erf_tools.") or target not in LAYERS:
                continue
            below, other = split(target)
            assert below > level or (below, other) == (level, side), f"{module} imports {target}"


@pytest.mark.parametrize("heavy", ["torch", "timm", "matplotlib"])
def test_values_and_measures_know_nothing_of_torch_or_matplotlib(heavy: str) -> None:
    for module, tree in modules().items():
        if module in OPEN or isinstance(LAYERS[module], tuple) or LAYERS[module] == 1:
            continue
        assert not any(name.split(".")[0] == heavy for name in imported(tree)), module


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


def test_the_two_halves_do_not_import_each_other() -> None:
    for module, tree in modules().items():
        for half, other in (("erf.", "cue_conflict"), ("cue_conflict.", "erf")):
            if module.startswith(half):
                assert not any(
                    f"{name}.".startswith(f"erf_tools.{other}.") for name in imported(tree)
                ), module
