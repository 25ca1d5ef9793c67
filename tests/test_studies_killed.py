"""Studies that are killed at each of their writes: resumed, they are as if nothing had been."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from erf_tools.computing import Computing
from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.erf.procedure import Procedure
from erf_tools.images import select
from erf_tools.models.requests import requests
from erf_tools.studies.erf import measure_erfs
from erf_tools.studies.shape_bias import measure_decisions

NETWORKS = """
import torch


def features():
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3, 2, 1)
    )


def classifier():
    torch.manual_seed(4)
    pooled = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 1000)]
    return torch.nn.Sequential(*features(), *pooled)


def others():
    return features()[:1]
"""

Study = Callable[[Path], object]


@pytest.fixture(autouse=True)
def drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write what is drawn as a word; laying figures out takes longer than all else."""

    def write(figure: Figure, path: Path, **options: object) -> None:
        path.write_text(f"{len(figure.axes)} {sorted(options)}")

    monkeypatch.setattr(Figure, "savefig", write)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A process that is forked has none of the threads that OpenMP would wait for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def networks(study_folder: Path) -> Path:
    (study_folder / "networks.py").write_text(NETWORKS)
    return study_folder


def erfs(folder: Path) -> Study:
    """Two networks on one image."""
    wanted = requests(["networks:features", "networks:others"], ["pretrained"])

    def study(output: Path) -> object:
        return measure_erfs(
            wanted,
            select("builtin", 1),
            output,
            Procedure(resolution=16),
            computing=Computing(device="cpu"),
        )

    return study


def decisions(folder: Path) -> Study:
    """A network on sixteen stimuli, without the published decision makers."""
    generator = np.random.default_rng(0)
    for category, other in zip(CATEGORIES, reversed(CATEGORIES), strict=True):
        (folder / "few" / category).mkdir(parents=True)
        pixels = generator.integers(0, 256, (224, 224, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "few" / category / f"{category}1-{other}2.png")
    stimuli = open_stimuli(folder / "few", allow_partial=True)
    wanted = requests(["networks:classifier"], ["pretrained"])

    def study(output: Path) -> object:
        return measure_decisions(
            wanted, stimuli, output, reference=False, computing=Computing(device="cpu")
        )

    return study


def killed_at_write(study: Study, output: Path, write: int, after: bool = False) -> bool:
    """Run a study in a process that kills itself at one of its atomic writes.

    Args:
        study: the study.
        output: its folder.
        write: which of the writes, from 0.
        after: after the file has taken its place; else while it is still a temporary one.

    Returns:
        Whether it came so far; else it ended by itself.
    """
    process = os.fork()
    if process:
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    try:
        replace, done = Path.replace, [0]

        def replace_or_die(self: Path, target: Path) -> Path:
            if done[0] == write and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            replaced = replace(self, target)
            if done[0] == write:
                os.kill(os.getpid(), signal.SIGKILL)
            done[0] += 1
            return replaced

        Path.replace = replace_or_die  # type: ignore[method-assign]
        study(output)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
@pytest.mark.parametrize("kind", [erfs, decisions])
def test_killed_at_every_write_and_resumed_it_gives_the_same_bytes(
    kind: Callable[[Path], Study], networks: Path
) -> None:
    """Each write in a folder of its own: killed during it, then behind the next, then resumed."""
    study = kind(networks)
    study(networks / "whole")  # in this process, so that those forked from it need import nothing
    whole = content(networks / "whole")
    assert not killed_at_write(study, networks / "whole", -1)
    assert content(networks / "whole") == whole  # a study that is complete stays as it is
    kills = 0
    while killed_at_write(study, output := networks / f"killed-{kills}", kills // 2):
        assert len(list(output.rglob(".partial-*"))) == 1
        assert killed_at_write(study, output, 0, after=True)
        assert not list(output.rglob(".partial-*"))
        assert not killed_at_write(study, output, -1)
        assert content(output) == whole, f"write {kills // 2}"
        kills += 2
    assert kills >= 20
