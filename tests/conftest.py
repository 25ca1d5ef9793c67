"""What tests share: where the reference data lies, small images, small networks."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from matplotlib.figure import Figure
from PIL import Image
from slurm_machine import NoSlurmError, slurm_machine

from erf_tools import cli
from erf_tools.allocation import keep_freed_memory
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.cue_conflict.stimulus_sets import StimulusSet

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers with two threads each would wait for one another; torch reads this when imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if "PYTEST_XDIST_WORKER" not in os.environ:
    # Of this run alone, and shared by its workers and all commands: what users have is left alone.
    CACHE = tempfile.TemporaryDirectory(prefix="erf-tools-tests-")
    os.environ["ERF_TOOLS_CACHE"] = CACHE.name

keep_freed_memory()  # as all that is called here does where it is called by the program

# The same examples in every run: what one run finds, all find. No deadline: machines are busy.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

#: Files of half a minute and more, the longest first: what is left for the end is then short.
LONGEST = (
    "test_sweep_clusters",
    "test_cli",
    "test_documentation",
    "test_gradients",
    "test_notebooks",
    "test_cue_conflict_classify",
    "test_sweep_survival",
    "test_gpu",
    "test_studies_killed",
    "test_distribution",
    "test_cue_conflict_absolute",
    "test_studies_shape_bias",
    "test_fuzz",
    "test_fast_paths",
    "test_sweep_command",
    "test_studies_erf",
    "test_explorer_page",
    "test_timm_families",
    "test_claims",
    "test_training_study",
    "test_report_page",
)

SHARED = Path(__file__).parents[2] / "shared" / "data"


Command = Callable[..., tuple[int, str, str]]


def pytest_collection_finish() -> None:
    """Spare the garbage collector all that was imported, which it would look through each time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hand out the longest files first."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `erf-tools ARGUMENTS` and return exit code, output and errors.

    It calls the entry function in this process, without the seconds that importing torch takes.
    """

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["erf-tools", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave figures empty: saving them takes longer than all else of a small study."""

    def leave_empty(_figure: Figure, stem: Path, _provenance: object) -> list[Path]:
        files = [stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf")]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"")
        return files

    for module in ("studies.erf", "studies.written", "joined"):
        monkeypatch.setattr(f"erf_tools.{module}.save_figure", leave_empty)


@pytest.fixture
def study_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, from which a study's own networks are imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("networks", None)
    yield tmp_path
    sys.modules.pop("networks", None)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """An ImageNet-like folder: three classes of four images each, every image different."""
    folder = tmp_path / "images"
    generator = np.random.default_rng(0)
    for category in ("ant", "bee", "cat"):
        (folder / category).mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / category / f"{number}.png")
    return folder


def _reference(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the reference data are not on this machine ({folder})")
    return folder


@pytest.fixture(scope="session")
def natural_images() -> Path:
    """The folder of natural photographs beside the checkout."""
    return _reference("natural-images")


@pytest.fixture(scope="session")
def published_maps() -> Path:
    """The folder of published maps beside the checkout."""
    return _reference("published-maps")


@pytest.fixture(scope="session")
def published_decisions() -> Path:
    """The folder of published decision files beside the checkout."""
    return _reference("decisions")


@pytest.fixture(scope="session")
def cue_conflict() -> Path:
    """The folder of the cue-conflict stimuli beside the checkout."""
    return _reference("cue-conflict")


@pytest.fixture(scope="session")
def published_stimuli(cue_conflict: Path) -> StimulusSet:
    """All cue-conflict stimuli, opened once: all of them are decoded and compared then."""
    return open_stimuli(cue_conflict)


@pytest.fixture(scope="session")
def edges() -> Path:
    """The folder of edge stimuli beside the checkout."""
    return _reference("edges")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """SLURM on this machine, which `sbatch` and submitit find."""
    try:
        with slurm_machine(tmp_path_factory.mktemp("slurm")):
            yield
    except NoSlurmError as reason:
        pytest.skip(str(reason))
