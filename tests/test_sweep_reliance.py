"""Reliance in a sweep: the numbers of the single command, however the work is divided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from PIL import Image
from sweep_studies import here

from erf_tools.reliance import deciding
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.sweep import coordinator
from erf_tools.sweep.study import read_study

pytestmark = pytest.mark.usefixtures("no_drawing")

NETWORKS = """
import torch


class Colour(torch.nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


class Corner(torch.nn.Module):
    def forward(self, images):
        return images[:, :, :100, :100].mean(dim=(2, 3))


def colour():
    return Colour()


def corner():
    return Corner()


def broken():
    raise RuntimeError("no")
"""

STUDY = """
output = "out"
threads = 1

[[models]]
names = [{models}]

[images]
source = "images"
labels = "labels.csv"
count = 7

[reliance]
cues = "gray,patch-shuffle"
shard = {shard}
"""


@pytest.fixture
def folder(study_folder: Path) -> Path:
    (study_folder / "networks.py").write_text(NETWORKS)
    (study_folder / "images").mkdir()
    generator = np.random.default_rng(0)
    lines = ["image,label"]
    for number in range(7):
        pixels = generator.integers(0, 200, (64, 64, 3), dtype=np.uint8)
        pixels[..., number % 3] += 40
        Image.fromarray(pixels).save(study_folder / "images" / f"{number}.png")
        lines += [f"{number}.png,{number % 3}"] if number else []
    (study_folder / "labels.csv").write_text("\n".join(lines))
    return study_folder


def write(folder: Path, *models: str, shard: int = 2) -> None:
    quoted = ", ".join(f'"networks:{model}"' for model in models)
    (folder / "study.toml").write_text(STUDY.format(models=quoted, shard=shard))


def numbers(place: Path) -> dict[str, bytes]:
    """Return what is the same in every form of the run; the sheet is of the same image too."""
    names = ("reliance.csv", "reliance_curves.csv", "reliance_differences.csv")
    files = [*place.glob("decisions/*.npz"), *map(place.joinpath, names), *place.glob("*.jpg")]
    return {file.name: file.read_bytes() for file in files}


def test_numbers_are_those_of_the_single_command(folder: Path, run_command: Command) -> None:
    write(folder, "colour", "corner")
    coordinator.sweep(read_study(folder / "study.toml"), folder / "out", here)
    words = ["--models", "networks:colour,networks:corner", "--images", "images"]
    words += ["--labels", "labels.csv", "--num-images", "7", "--cues", "gray,patch-shuffle"]
    assert run_command("reliance", *words, "--output", "single")[0] == 0
    assert numbers(Path("out/reliance")) == numbers(Path("single"))

    table = pd.read_csv("out/sweep.csv").set_index(["model", "measure"])
    single = pd.read_csv("single/reliance.csv").set_index("model")
    for measure in ("accuracy", "global_shape", "color", "area_patch_shuffle"):
        for end in ("", "_low", "_high"):
            found = table[f"value{end}"]["networks:corner", measure]
            assert found == single[f"{measure}{end}"]["networks:corner"]
    assert set(table["images"]) == {6}  # one has no label
    assert "1 of 7 images" in Path("single/reliance.md").read_text()
    assert run_command("report", "out", "--output", "shown")[0] == 0

    write(folder, "colour", "corner", shard=100)
    whole = numbers(Path("out/reliance"))
    coordinator.sweep(read_study(folder / "study.toml"), folder / "other", here)
    assert numbers(Path("other/reliance")) == whole


def test_what_is_done_is_not_done_again_and_what_fails_stands_alone(
    folder: Path, run_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[str] = []
    answer = deciding.Decider.answer

    def interrupted(network: deciding.Decider, image: deciding.SuppressedImage) -> None:
        if len(answered) == 5:
            raise KeyboardInterrupt
        answered.append(image.image.name)
        answer(network, image)

    from sweep_studies import here

    from erf_tools.sweep import coordinator
    from erf_tools.sweep.study import read_study

    write(folder, "colour", "broken")
    monkeypatch.setattr(deciding.Decider, "answer", interrupted)
    study = read_study(folder / "study.toml")
    with pytest.raises(KeyboardInterrupt):
        coordinator.sweep(study, folder / "out", here)
    assert not (folder / "out/reliance/reliance.csv").exists()
    monkeypatch.setattr(deciding.Decider, "answer", answer)
    done = coordinator.sweep(study, folder / "out", here)
    assert done.reused == 2  # units of two images; the third was interrupted
    status = done.table.groupby("model")["status"].first()
    assert status.to_dict() == {"networks:colour": "done", "networks:broken": "failed"}
    found = SuppressedAnswers.load(folder / "out/reliance/decisions/networks_colour.npz")
    assert len(found.names) == len(set(found.names)) == 6


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"gray,patch-shuffle"', '"smell"', "there is no cue 'smell'"),
        ("shard = 2", "shard = 0", "reliance.shard"),
        ("shard = 2", "allow_partial = true", "allow_partial is for stimuli"),
        ('labels = "labels.csv"', "", "none of the 7 images in images has a label"),
    ],
)
def test_misuse(folder: Path, run_command: Command, old: str, new: str, why: str) -> None:
    write(folder, "colour")
    study = folder / "study.toml"
    study.write_text(study.read_text().replace(old, new))
    code, _, err = run_command("sweep", "study.toml")
    assert code == 2
    assert why in err
    assert "Traceback" not in err
