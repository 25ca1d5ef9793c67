"""`erf-tools reliance` end to end, on networks and images of which the answers are known."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
import torch
from conftest import Command
from PIL import Image

import erf_tools
from erf_tools.cue_conflict.categories import CATEGORIES, CUES, IMAGENET_CLASSES, Categories
from erf_tools.cue_conflict.classify import category_scores
from erf_tools.cue_conflict.stimuli import open_stimuli, published_names
from erf_tools.errors import UsageError
from erf_tools.labels import labelled
from erf_tools.models.model import as_model
from erf_tools.reliance import figures
from erf_tools.reliance.judged import JudgedImages, conflict_images
from erf_tools.reliance.measuring import feature_reliance
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.reliance.suppressions import SIDE, suppress
from erf_tools.reliance.tables import curves_table, difference_table, notes, reliance_table

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
        (None, {}, "none of the 5 given images has a label"),
        ("labels.csv", {}, "labels.csv"),
        ([0, 1, 2, 0, 2], {"cues": "smell"}, "there is no cue 'smell'"),
        ([0, 1, 2, 0, 2], {"num_images": 0}, "--num-images is 0"),
    ],
)
def test_misuse_of_the_function(labels: Any, choices: dict[str, Any], why: str) -> None:
    with pytest.raises(erf_tools.UsageError, match=why):
        erf_tools.feature_reliance(Channel(), pictures(), labels, **{"cues": "gray", **choices})


# --- what decides, and in what company ---


@pytest.fixture
def conflict(tmp_path: Path) -> JudgedImages:
    """Twelve stimuli of random blocks under published names."""
    generator = np.random.default_rng(0)
    for name in sorted(published_names())[::100]:
        path = tmp_path / "stimuli" / name.split("-")[0].rstrip("0123456789") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = generator.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(blocks.repeat(75, 0).repeat(75, 1)[:224, :224]).save(path)
    return conflict_images(open_stimuli(tmp_path / "stimuli", allow_partial=True))


class Means(torch.nn.Module):
    """Logits of the means of colours, of images together or of each, and what is made of them."""

    def __init__(self, norm: bool = False, wrap: Any = lambda logits: logits) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(1000, 3, generator=generator))
        self.norm, self.wrap = norm, wrap

    def forward(self, images: torch.Tensor) -> Any:
        means = images.mean(dim=(2, 3))
        if self.norm:
            means = means - 0.9 * means.mean(dim=0)
        return self.wrap(means @ self.weight.T)


def test_answers_do_not_depend_on_the_versions_beside(conflict: JudgedImages) -> None:
    one, four, whole = (
        erf_tools.feature_reliance(Means(norm=True), conflict, cues="gray", batch_size=size)
        for size in (1, 4, 6)
    )
    assert np.array_equal(four.answers, one.answers)
    assert np.array_equal(whole.answers, one.answers)
    assert (one.setting["refused"], four.setting["refused"]) == ("", "images see each other")
    apart = erf_tools.feature_reliance(Means(wrap=lambda it: 0.1 * it), conflict, cues="gray")
    assert np.array_equal(apart.answers, one.answers)
    assert apart.setting["refused"] == ""


def test_what_a_head_gives_is_decided_over_all_images(conflict: JudgedImages) -> None:
    """The first images' values lie in [0, 1] by chance; one that comes later tells."""
    shown = [image.pixels() for image in conflict.images]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    inputs = torch.tensor(np.array([(each / 255 - mean) / std for each in shown])).float()
    inputs = inputs.permute(0, 3, 1, 2)
    largest = Means()(inputs).detach().max(dim=1).values
    order = largest.argsort().tolist()
    ordered = replace(conflict, images=tuple(conflict.images[place] for place in order))
    middle = float(largest.sort().values[-2:].mean())
    # As probabilities, two elephants of .03 are more than a bird of 1 among 49; as logits, less.
    pattern = torch.zeros(1000)
    pattern[IMAGENET_CLASSES["bird"][0]] = 1
    pattern[IMAGENET_CLASSES["elephant"]] = 0.03

    def wrap(logits: torch.Tensor) -> torch.Tensor:
        return pattern * (1 + (logits.amax(dim=1, keepdim=True) > middle))

    network = Means(wrap=wrap)
    outputs = network(inputs[order]).detach()
    assert outputs[:-1].max() <= 1 < outputs[-1].max()
    expected = category_scores(outputs, "mean", IMAGENET_CLASSES).argmax(dim=1)
    alone = [category_scores(each[None], "mean", IMAGENET_CLASSES).argmax() for each in outputs]
    found = erf_tools.feature_reliance(network, ordered, cues="gray")
    assert found.answers[:, 0].tolist() == expected.tolist()
    assert expected.tolist() != [int(each) for each in alone]
    assert found.setting["head"] == "logits"
    softmaxed = Means(wrap=lambda logits: logits.softmax(dim=1))
    of_shares = erf_tools.feature_reliance(softmaxed, conflict, cues="gray")
    of_logits = erf_tools.feature_reliance(Means(), conflict, cues="gray")
    assert np.array_equal(of_shares.answers, of_logits.answers)
    assert of_shares.setting["head"] == "probabilities"


def test_ties_are_counted_and_said_as_with_shape_bias(
    conflict: JudgedImages, tmp_path: Path
) -> None:
    """A network that sees colour only: grey leaves it nothing, and half of the grey little."""

    def flat_without_colour(images: torch.Tensor) -> torch.Tensor:
        spread = (images.std(dim=1, correction=0).amax(dim=(1, 2)) > 1).float()
        return spread[:, None] * torch.arange(1000.0) / 1000

    class Flat(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
            std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
            return flat_without_colour(255 * (images * std + mean))

    flat = erf_tools.feature_reliance(as_model(Flat(), "flat"), conflict, cues="gray")
    assert flat.tied is not None
    *coloured, grey = flat.tied.sum(axis=0).tolist()
    assert (coloured, grey) == ([0] * len(coloured), 12)
    assert (flat.answers[flat.tied] == 0).all()
    said = [
        "flat: all categories are alike on 12 changed versions of images, which count as decided "
        "for the first."
    ]
    row = flat.to_frame().iloc[0]
    assert (row["undecided"], row["undecided_changed"]) == (0, 12)
    assert [each for each in notes(flat.to_frame(), flat.rows) if "alike" in each] == said
    always = as_model(Means(wrap=lambda logits: 0 * logits), "always")
    found = erf_tools.feature_reliance(always, conflict, cues="gray")
    assert found.to_frame()["undecided"].tolist() == [12, 12]
    below = [each for each in notes(found.to_frame(), found.rows) if "alike" in each]
    assert below[0] == (
        "always: all categories are alike on 12 unchanged images, which count as decided for the "
        "first."
    )
    assert len(below) == 2
    images = [image.pixels() for image in conflict.images[:6]]
    pictures = [Image.fromarray(each) for each in images]
    of_classes = erf_tools.feature_reliance(always, pictures, [0] * 6, cues="gray")
    assert "always: all classes are alike on 6 unchanged images" in " ".join(
        notes(of_classes.to_frame(), of_classes.rows)
    )
    flat.save(tmp_path / "flat.npz")
    read = SuppressedAnswers.load(tmp_path / "flat.npz")
    assert np.array_equal(read.tied, flat.tied)  # type: ignore[arg-type]
    unknown = SuppressedAnswers.joined([flat, replace(flat, tied=None)])
    assert unknown.to_frame()["undecided"].isna().all()
    assert not any("alike" in each for each in notes(unknown.to_frame(), unknown.rows))


def test_classes_of_ones_own_are_those_that_are_counted(tmp_path: Path) -> None:
    names = ("sea", "hill")
    generator = np.random.default_rng(0)
    for shape, texture in (names, names[::-1]):
        (tmp_path / "own" / shape).mkdir(parents=True)
        blocks = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        image = Image.fromarray(blocks.repeat(32, 0).repeat(32, 1))
        image.save(tmp_path / "own" / shape / f"{shape}1-{texture}1.png")
    for cues in (CUES, ("low", "high")):
        categories = Categories(names, {"sea": [1], "hill": [7]}, cues=cues)
        stimuli = open_stimuli(tmp_path / "own", categories=categories)
        if cues != CUES:
            with pytest.raises(UsageError, match="has the cues low and high, and reliance counts"):
                conflict_images(stimuli)
            continue
        judged = conflict_images(stimuli)
        found = erf_tools.feature_reliance(Means(), judged, cues="gray")
        made = erf_tools.shape_bias(Means(), stimuli).decisions[0].frame["response"]
        expected = [names.index(made[name]) for name in found.names]
        assert found.answers[:, 0].tolist() == expected
        assert found.chances.tolist() == [0.5, 0.5]
        assert set(np.unique(found.answers)) <= {0, 1}


def own_stimuli(folder: Path, height: int, width: int) -> JudgedImages:
    """Two stimuli of blocks of four pixels."""
    names = ("sea", "hill")
    generator = np.random.default_rng(0)
    for shape, texture in (names, names[::-1]):
        (folder / shape).mkdir(parents=True)
        blocks = generator.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
        image = Image.fromarray(blocks.repeat(4, 0).repeat(4, 1))
        image.save(folder / shape / f"{shape}1-{texture}1.png")
    categories = Categories(names, {"sea": [1], "hill": [7]})
    return conflict_images(open_stimuli(folder, categories=categories))


def test_own_stimuli_of_any_size_are_changed_at_224(tmp_path: Path) -> None:
    """Or filters had another strength, and noise other frequencies: of 60 pixels, 30 at most."""
    small, large = (own_stimuli(tmp_path / str(side), side, side) for side in (60, 224))
    for side, judged in ((60, small), (224, large)):
        for image in judged.images:
            shape = image.name.split("1-")[0]
            with Image.open(tmp_path / str(side) / shape / f"{image.name}.png") as stored:
                expected = np.asarray(stored.resize((224, 224), Image.Resampling.BICUBIC))
            assert np.array_equal(image.pixels(), expected)
    found = erf_tools.feature_reliance(Means(), small, cues="critical-band")
    assert found.example.shape == (224, 224, 3)
    assert found.setting["view"] == "whole at 224, then the network's own size"
    image = small.images[0]
    for noisy in suppress(image.pixels(), found.rows, image.sha256)[-4:]:  # of the last band
        assert noisy.mean() == pytest.approx(255 * 0.449, rel=0.1)


def test_stimuli_that_are_not_square_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the stimulus \w+-\w+ is 60x80.*cut stimuli to squares"):
        erf_tools.feature_reliance(Means(), own_stimuli(tmp_path, 60, 80), cues="gray")


def test_networks_that_are_told_of_categories_need_no_label_map(conflict: JudgedImages) -> None:
    told = as_model(Means(wrap=lambda logits: logits[:, :16].log_softmax(dim=1)))
    told = replace(told, classes=CATEGORIES)
    mapped = replace(conflict, label_map={name: [at] for at, name in enumerate(CATEGORIES)})
    found = erf_tools.feature_reliance(told, conflict, cues="gray")
    expected = erf_tools.feature_reliance(told.module, mapped, cues="gray")
    assert np.array_equal(found.answers, expected.answers)


def test_rows_that_are_not_those_of_the_versions_are_refused(conflict: JudgedImages) -> None:
    network = Means(wrap=lambda logits: logits[:-1])
    with pytest.raises(UsageError, match="gives 3 rows of logits where it is shown 4 images"):
        erf_tools.feature_reliance(network, conflict, cues="gray")


def test_figures_hold_all_values_and_nothing_that_means_nothing() -> None:
    """Of a network that is right more often on changed images, and of one that only guesses."""
    made = [synthetic.answers(name, "gray,patch-shuffle") for name in ("better", "guesses")]
    hits = np.ones((2, *made[0].answers.shape), dtype=bool)
    hits[0, 4:, 0] = False  # a third is right; changed, all are
    hits[1, 1:, 0] = False
    results = [
        replace(result, hits={"accuracy": own}) for result, own in zip(made, hits, strict=True)
    ]
    rows = results[0].rows
    curves = curves_table(results, rows)
    assert curves.groupby("model")["low_accuracy"].unique().map(list).to_dict() == {
        "better": [False],
        "guesses": [True],
    }
    drawn = figures.curves_plot(curves, rows)
    for panel in drawn.axes:
        (line,), (band,) = panel.lines, panel.collections
        assert set(line.get_ydata()) == {1.0, 3.0}
        assert panel.get_ylim()[0] < 0
        assert panel.get_ylim()[1] > max(3.0, band.get_paths()[0].vertices[:, 1].max())
    for figure in (drawn, figures.changes_plot(curves, rows)):
        (legend,) = figure.legends
        assert {text.get_text().partition(",")[0] for text in legend.get_texts()} == {
            labelled("better", trained=False)
        }
        assert all(line.get_ydata().max() == 3 for panel in figure.axes for line in panel.lines)
    low = curves_table(results[1:], rows)
    for plot in (figures.curves_plot, figures.changes_plot):
        empty = plot(low, rows)
        assert not any(panel.lines for panel in empty.axes)
        assert not empty.legends


def test_differences_say_that_one_of_the_two_is_low() -> None:
    """A network of ten classes is LOW below 0.1 + 0.1 * 0.9 of right answers."""
    found = [synthetic.answers(name, seed=seed) for seed, name in enumerate("abc")]
    shares = {"a": 0.75, "b": 2 / 12, "c": 3 / 12}
    for each in found:
        each.hits["accuracy"][:, 0] = np.arange(12) < round(12 * shares[each.name])
    table = difference_table(found, found[0].rows)
    low = {name: share < 0.19 for name, share in shares.items()}
    assert sorted(low.values()) == [False, False, True]
    assert len(table) == 3 * len(table["measure"].unique())
    for row in table.itertuples():
        assert row.low_accuracy == (low[row.model] or low[row.other])


def test_marks_of_many_networks_differ() -> None:
    results = [synthetic.answers(f"net {number}", "gray") for number in range(40)]
    rows = results[0].rows
    (axes,) = figures.profile_plot(reliance_table(results, rows), rows).axes
    marks = [line for line in axes.lines if line.get_marker() != "None"]
    assert len(marks) == len({(mark.get_marker(), mark.get_color()) for mark in marks}) == 40
