"""`erf-tools reliance` end to end, on networks and images of which the answers are known."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from PIL import Image

import erf_tools
from erf_tools.errors import UsageError
from erf_tools.reliance.measuring import feature_reliance
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.reliance.suppressions import SIDE

NETWORKS = """
import torch


class Colour(torch.nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))[:, [0, 2]]


class Place(torch.nn.Module):
    def forward(self, images):
        gray = images.mean(dim=1)
        half = gray.shape[-1] // 2
        sides = gray[..., :half], gray[..., half:]
        return torch.stack([side.mean(dim=(1, 2)) for side in sides], 1)


class Broken(torch.nn.Module):
    def forward(self, images):
        raise RuntimeError("no")


def colour():
    return Colour()


def place():
    return Place()


def broken():
    return Broken()
"""


@pytest.fixture
def folder(study_folder: Path) -> Path:
    """Red images that are bright on the left, blue ones that are bright on the right."""
    (study_folder / "networks.py").write_text(NETWORKS)
    (study_folder / "map.csv").write_text("index,category\n0,red\n1,blue\n")
    generator = np.random.default_rng(0)
    for category, channel, half in (("red", 0, 0), ("blue", 2, 1)):
        (study_folder / "images" / category).mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(60, 80, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[:, half * SIDE // 2 : (half + 1) * SIDE // 2] += 60
            pixels[..., channel] += 60
            Image.fromarray(pixels).save(study_folder / "images" / category / f"{number}.png")
    return study_folder


def options(*models: str, output: str = "out", cues: str = "gray,patch-shuffle") -> list[str]:
    named = ",".join(f"networks:{model}" for model in models)
    words = ["reliance", "--models", named, "--images", "images", "--label-map", "map.csv"]
    return [*words, "--cues", cues, "--output", output]


def test_networks_lose_what_they_rely_on(folder: Path, run_command: Command) -> None:
    code, out, err = run_command(*options("colour", "place", "broken"))
    assert code == 1
    assert "networks:broken failed" in err
    table = pd.read_csv("out/reliance.csv").set_index("model")
    assert table["accuracy"].to_dict() == {"networks:colour": 1, "networks:place": 1}
    assert table["area_patch_shuffle"]["networks:colour"] == 1
    assert table["area_gray"]["networks:place"] == 1
    assert table["global_shape"]["networks:place"] > 0.2
    curves = pd.read_csv("out/reliance_curves.csv")
    grays = curves[(curves["suppression"] == "gray") & (curves["model"] == "networks:colour")]
    relative = grays["relative_accuracy"].tolist()
    assert relative[:4] == [1, 1, 1, 1]
    assert relative[-1] == 0.5  # of two classes, one answer is left
    clean = curves[curves["strength"] == 0]
    assert set(clean["accuracy"]) == {1.0}
    assert set(clean["relative_accuracy"]) == {1.0}
    pairs = pd.read_csv("out/reliance_differences.csv").set_index("measure")
    assert pairs["difference"]["area_patch_shuffle"] > 0
    assert "Reliance, 0 to 1" in out
    for name in ("profile", "curves", "changes", "strip"):
        assert (folder / f"out/reliance_{name}.png").stat().st_size > 1000
    assert (folder / "out/reliance.tex").is_file()


@pytest.mark.usefixtures("no_drawing")
def test_the_page_says_the_command_that_gives_the_same(folder: Path, run_command: Command) -> None:
    words = options("colour", cues="channels,gray")
    assert run_command(*words, "--num-images", "7", "--seed", "3")[0] == 0
    command = re.search(
        r'"command":("erf-tools reliance .*?[^\\]")', Path("out/report.html").read_text()
    )
    assert command
    _, *again = shlex.split(json.loads(command[1]))
    assert again[again.index("--cues") + 1] == "gray,channels"
    assert run_command(*again, "--output", "again")[0] == 0
    for file in ("decisions/networks_colour.npz", "reliance.csv", "reliance_versions.jpg"):
        assert Path("again", file).read_bytes() == Path("out", file).read_bytes()


@pytest.mark.usefixtures("no_drawing")
def test_grey_at_its_strongest_is_a_run_on_grey_copies(folder: Path, run_command: Command) -> None:
    run_command(*options("colour", cues="gray"))
    answers = SuppressedAnswers.load(folder / "out/decisions/networks_colour.npz")
    for path in (folder / "images").rglob("*.png"):
        Image.open(path).convert("L").convert("RGB").save(path)
    run_command(*options("colour", cues="gray", output="copies"))
    copies = SuppressedAnswers.load(folder / "copies/decisions/networks_colour.npz")
    assert copies.names == answers.names
    assert np.array_equal(copies.answers[:, 0], answers.answers[:, -1])
    assert np.array_equal(copies.answers, np.repeat(copies.answers[:, :1], 6, axis=1))


@pytest.mark.usefixtures("no_drawing")
def test_a_study_goes_on_and_gives_the_same(
    folder: Path, run_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("erf_tools.studies.reliance._KEPT_FOR", 0.0)
    assert run_command(*options("place"))[0] == 0
    whole = (folder / "out/decisions/networks_place.npz").read_bytes()
    tables = {path.name: path.read_bytes() for path in (folder / "out").glob("*.csv")}

    from erf_tools.reliance import deciding

    answered: list[str] = []
    answer = deciding.Decider.answer

    def interrupted(network: deciding.Decider, image: deciding.SuppressedImage) -> None:
        if len(answered) == 5:
            raise KeyboardInterrupt
        answered.append(image.image.name)
        answer(network, image)

    monkeypatch.setattr(deciding.Decider, "answer", interrupted)
    assert run_command(*options("place", output="again"))[0] == 130
    assert len(SuppressedAnswers.load(folder / "again/decisions/networks_place.npz").names) == 5
    answered.clear()
    monkeypatch.setattr("erf_tools.images._WORKERS", 1)
    assert run_command(*options("place", output="again"))[0] == 0
    assert len(answered) == 3
    assert (folder / "again/decisions/networks_place.npz").read_bytes() == whole
    for name, content in tables.items():
        assert (folder / "again" / name).read_bytes() == content

    monkeypatch.setattr(deciding.Decider, "answer", answer)
    code, _, err = run_command(*options("place", cues="gray"))
    assert code == 2
    assert "holds another result of networks:place, which differs in suppressions" in err
    assert run_command(*options("place", cues="gray"), "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--images", "images"], "none of the 8 images in images has a label"),
        (["--images", "images", "--stimuli", "images"], "give either --images"),
        (["--images", "images", "--cues", "smell"], "there is no cue 'smell'"),
        ([], "give either --images"),
    ],
)
def test_misuse(folder: Path, run_command: Command, words: list[str], why: str) -> None:
    code, _, err = run_command("reliance", "--models", "networks:colour", *words)
    assert code == 2
    assert why in err
    assert not (folder / "results").exists()


@pytest.mark.parametrize("row", ["0,red", "1,red"])
def test_a_class_belongs_to_one_folder_and_counts_once(
    row: str, folder: Path, run_command: Command
) -> None:
    """Chances of guessing are the number of right classes over all classes."""
    with (folder / "map.csv").open("a") as file:
        file.write(f"{row}\n")
    code, _, err = run_command(*options("colour"))
    assert (code, f"map.csv, line 4: index {row[0]} is given twice" in err) == (2, True)


@pytest.mark.usefixtures("no_drawing")
def test_shape_and_texture_are_counted_apart(
    cue_conflict: Path, tmp_path: Path, run_command: Command
) -> None:
    """At strength 0 they are the counts of `erf-tools shape-bias`."""
    for category, names in (("cat", ("cat1-dog1", "cat2-bear1")), ("dog", ("dog1-cat1",))):
        (tmp_path / "few" / category).mkdir(parents=True)
        for name in names:
            found = next(cue_conflict.glob(f"{category}/{name.partition('-')[0]}-*.png"))
            (tmp_path / "few" / category / found.name).symlink_to(found)
    common = ("--models", "resnet18", "--weights", "random", "--stimuli", tmp_path / "few")
    common += ("--allow-partial", "--output")
    code, out, err = run_command("reliance", *common, tmp_path / "out", "--cues", "channels")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "out" / "reliance.csv").set_index("counted")
    assert set(table.index) == {"shape", "texture"}
    assert "LOW" in out
    run_command("shape-bias", *common, tmp_path / "bias", "--no-reference")
    row = pd.read_csv(tmp_path / "bias" / "shape_bias.csv").iloc[0]
    for counted in ("shape", "texture"):
        assert table["accuracy"][counted] * row["total"] == pytest.approx(row[counted])


class Background(torch.nn.Module):
    """Has 1001 classes, of which the last is the answer."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.eye(1001)[[1000] * len(images)]


def test_labels_are_checked_against_the_head(folder: Path) -> None:
    for first in (1000, 1001):
        rows = (f"red/{number}.png,{first}\nblue/{number}.png,3\n" for number in range(4))
        Path("labels.csv").write_text("image,label\n" + "".join(rows))
        if first == 1000:
            found = feature_reliance(Background(), "images", "labels.csv", cues="gray")
            assert found.hits["accuracy"].mean() == 0.5
            continue
        with pytest.raises(UsageError, match="of class 1001, but Background has 1001 classes"):
            feature_reliance(Background(), "images", "labels.csv", cues="gray")


class Channel(torch.nn.Module):
    """Names the brightest channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


def pictures() -> list[Image.Image]:
    return [
        Image.fromarray(
            np.full((32, 32, 3), (90, 20, 20), np.uint8)[..., [*range(n, 3), *range(n)]]
        )
        for n in (0, 2, 1, 0, 1)
    ]


def test_a_function_gives_the_answers_of_a_network(tmp_path: Path) -> None:
    found = erf_tools.feature_reliance(Channel(), pictures(), [0, 1, 2, 0, 2], cues="gray")
    assert found.answers[:, 0].tolist() == [0, 1, 2, 0, 2]
    (row,) = found.to_frame().to_dict("records")
    assert row["accuracy"] == 1
    # Of grey the last channel is the brightest, since ImageNet's mean of it is the smallest.
    assert found.curves()["relative_accuracy"].tolist() == [1, 1, 1, 1, 3 / 5, 2 / 5]
    assert row["area_gray"] == pytest.approx(4 / 5)
    assert "Colour" in found._repr_html_()
    found.save(tmp_path / "answers.npz")
    again = erf_tools.SuppressedAnswers.load(tmp_path / "answers.npz")
    pd.testing.assert_frame_equal(again.to_frame(), found.to_frame())


@pytest.mark.parametrize(
    ("labels", "choices", "why"),
    [
        ([0, 1], {}, "there are 2 labels for 5 images"),
        ([0, 1, 2, 0, -1], {}, "a label is -1"),
        (5, {}, "labels are 5; give the index of a class for each image"),
        ([0, 1, 2, 0, 2], {"batch_size": 0}, "--batch-size is 0"),
        ([0, 1, 2, 0, "cat"], {}, "a label is 'cat'; it is a whole number"),
        ([0, 1, 2, 0, 3], {}, "image-4 is of class 3, but Channel has 3 classes"),
        (None, {}, "none of the 5 images in 5 given images has a label"),
        ("labels.csv", {}, "labels.csv"),
        ([0, 1, 2, 0, 2], {"cues": "smell"}, "there is no cue 'smell'"),
        ([0, 1, 2, 0, 2], {"num_images": 0}, "--num-images is 0"),
    ],
)
def test_misuse_of_the_function(labels: Any, choices: dict[str, Any], why: str) -> None:
    with pytest.raises(erf_tools.UsageError, match=why):
        erf_tools.feature_reliance(Channel(), pictures(), labels, **{"cues": "gray", **choices})
