"""Small studies for the tests of sweeps, and work that needs no network."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from erf_tools.files import write_text
from erf_tools.sweep.outcome import Outcome
from erf_tools.sweep.plan import Unit

NETWORKS = """
import os

import torch


def small(kernel):
    torch.manual_seed(kernel)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, kernel, 2, kernel // 2),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Conv2d(4, 4, kernel, 2, kernel // 2),
    )


def three():
    return small(3)


def seven():
    return small(7)


class Large(torch.nn.Conv2d):
    def forward(self, images):
        raise torch.OutOfMemoryError("tried to allocate 80.00 GiB")


def large():
    return Large(3, 4, 3)


def broken():
    if os.path.exists("mended"):
        return seven()
    raise RuntimeError("the layers do not fit\\nand more of it")
"""

STUDY = """
output = "out"
threads = 1

[[models]]
names = [{models}]

[images]
source = "images"
count = 6
shard = 2

[[erf]]
resolution = 32
"""

LAYERS = """
[[erf]]
name = "layers"
resolution = 32
gradient = "abs"
layers = ["0", "3"]
"""


def write_study(folder: Path, *models: str) -> Path:
    """Write a study of networks of :data:`NETWORKS` and its six images; return its file.

    Its paths are relative to the folder, which has to be the current one.
    """
    (folder / "networks.py").write_text(NETWORKS)
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    for number in range(6):
        pixels = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    quoted = ", ".join(f'"networks:{model}"' for model in models)
    (folder / "study.toml").write_text(STUDY.format(models=quoted))
    return folder / "study.toml"


def results(folder: Path) -> dict[str, bytes]:
    """Return the content of all results below a sweep's folder, but for the figures."""
    kept = {".csv", ".md", ".tex", ".npz", ".json", ".parquet"}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in kept and path.name != "plan.json"
    }


def here(units: Sequence[Unit], output: Path) -> Iterator[Outcome]:
    """Do units in this process."""
    from erf_tools.sweep.work import perform

    for unit in units:
        yield perform(unit, output, "cpu")


#: What is imported for the sweep of a study, in the middle of it.
WORK = ("erf_tools.sweep.coordinator", "erf_tools.sweep.work", "erf_tools.studies.erf")


def draw_nothing() -> None:
    """Leave the figures of this process empty: saving them takes longer than all else."""
    from matplotlib.figure import Figure

    Figure.savefig = lambda figure, path, **options: path.touch()


def run_to_the_end(study: Path, output: Path) -> None:
    """Sweep a study in a process of its own, which draws nothing."""
    from erf_tools.sweep import coordinator
    from erf_tools.sweep.study import read_study

    draw_nothing()
    sys.path.insert(0, str(study.parent))
    os.chdir(study.parent)
    coordinator.sweep(read_study(study), output, here)


def perform_and_note(unit: Unit, output: Path, device: str) -> Outcome:
    """Do a unit, but for the figures, and leave a file that says which process is at it."""
    from erf_tools.sweep.work import perform

    draw_nothing()
    write_text(output / "at-work", str(os.getpid()))
    return perform(unit, output, device)


def note(unit: Unit, output: Path, device: str) -> Outcome:
    """Leave a file that says which process did a unit, and how often it was begun."""
    with (output / unit.id).open("a") as stream:
        stream.write(f"{os.getpid()} {device}\n")
    time.sleep(0.05)
    return Outcome(unit.id, len(unit.names), 0.05)


def note_and_wait_for_another(unit: Unit, output: Path, device: str) -> Outcome:
    """Go on only when a second process is at a unit as well."""
    outcome, deadline = note(unit, output, device), time.monotonic() + 60
    while len({noted[0] for path in output.iterdir() if (noted := path.read_text().split())}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return outcome


def note_and_die_once(unit: Unit, output: Path, device: str) -> Outcome:
    """Kill the process in the middle of each unit that is begun for the first time."""
    outcome = note(unit, output, device)
    if len((output / unit.id).read_text().splitlines()) == 1:
        os.kill(os.getpid(), 9)
    return outcome


def die(unit: Unit, output: Path, device: str) -> Outcome:
    """Kill the process in the middle of the second unit."""
    if unit.shard == 1:
        os.kill(os.getpid(), 9)
    return note(unit, output, device)


def note_slowly(unit: Unit, output: Path, device: str) -> Outcome:
    """Take two seconds for a unit, unless it was done before."""
    done = output / f"{unit.id}.done"
    if not done.exists():
        note(unit, output, device)
        time.sleep(2)
        done.touch()
    return Outcome(unit.id, len(unit.names), 2)


def sleep(unit: Unit, output: Path, device: str) -> Outcome:
    """Be at a unit for as long as a test may take."""
    note(unit, output, device)
    time.sleep(600)
    raise AssertionError
