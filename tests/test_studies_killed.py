"""Studies that are killed at each of their writes: resumed, they are as if nothing had been."""

from __future__ import annotations

import os
import shutil
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


def left_at_writes(study: Study, folder: Path) -> list[Path]:
    """Run a study; return what a kill at each of its atomic writes would have left of its folder.

    Args:
        study: the study.
        folder: it is run in its subfolder ``whole``.
    """
    replace, left = Path.replace, list[Path]()

    def kept_and_replaced(self: Path, target: Path) -> Path:
        if folder in target.parents:  # and not of the cache
            left.append(folder / f"killed-{len(left)}")
            shutil.copytree(folder / "whole", left[-1])
        return replace(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", kept_and_replaced)
        study(folder / "whole")
    return left


def killed(study: Study, output: Path, after: int | None = None) -> bool:
    """Run a study in a process that kills itself as soon as it has written so many files.

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

        def replace_and_die(self: Path, target: Path) -> Path:
            replaced = replace(self, target)
            done[0] += 1
            if done[0] == after:
                os.kill(os.getpid(), signal.SIGKILL)
            return replaced

        Path.replace = replace_and_die  # type: ignore[method-assign]
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
    """At each write, while it is a temporary file, then behind the next, then resumed."""
    study = kind(networks)
    left = left_at_writes(study, networks)
    whole = content(networks / "whole")
    assert not killed(study, networks / "whole")
    assert content(networks / "whole") == whole  # a study that is complete stays as it is
    for write, output in enumerate(left):
        assert len(list(output.rglob(".partial-*"))) == 1
        assert killed(study, output, after=1)
        assert not list(output.rglob(".partial-*"))
        assert not killed(study, output)
        assert content(output) == whole, f"write {write}"
    assert len(left) >= 10
