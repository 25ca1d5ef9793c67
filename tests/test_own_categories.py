"""Categories and cues of one's own: from a declaration to tables, figures and the page."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from PIL import Image

from erf_tools.computing import Computing
from erf_tools.cue_conflict.categories import (
    SIXTEEN,
    Categories,
    guessing_mrr,
    low_coverage,
    worded,
)
from erf_tools.cue_conflict.category_files import read_categories
from erf_tools.cue_conflict.decisions import Decisions, decision_frame, read_decisions
from erf_tools.cue_conflict.stimuli import open_stimuli, parse_name
from erf_tools.errors import UsageError
from erf_tools.report.commands import shape_bias_command

#: Logits by the image's mean colour: classes 0 to 9 of ImageNet are the more likely, the redder.
NETWORK = """
import torch
from torch import nn

class Colours(nn.Module):
    def forward(self, images):
        level = images.mean(dim=(2, 3)).sum(dim=1, keepdim=True)
        return torch.cos(level * 3 + torch.arange(1000.0) / 11) * 6

def build():
    return nn.Sequential(nn.Identity(), Colours())
"""
CONFLICT = """
cues = ["low", "high"]
[categories.cat]
classes = [281, 282]
[categories.sea_lion]
classes = ["n02077923"]
[categories.tree9house]
classes = [3, 4]
prompts = ["a tree house"]
"""
CLASSES = {"cat": [281, 282], "sea_lion": [150], "tree9house": [3, 4]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stimuli of three categories, of two cues and of one, and a network; the current folder."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)

    def draw(path: Path, size: tuple[int, int] = (40, 40)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = generator.integers(0, 256, 3, dtype=np.uint8)
        Image.fromarray(np.full((*size, 3), colour)).save(path)

    names = list(CLASSES)
    for low, high, number in product(names, names, range(1, 7)):
        suffix = ("png", "jpg", "webp")[number % 3]
        draw(tmp_path / "own" / low / f"{low}{number}-{high}{number % 3 + 1}.{suffix}")
    for name, number in product(names, range(8)):
        draw(tmp_path / "single" / name / f"ILSVRC-val_{number}.JPEG", (30, 50))
    (tmp_path / "network.py").write_text(NETWORK)
    (tmp_path / "own.toml").write_text(CONFLICT)
    return tmp_path


@pytest.mark.usefixtures("no_drawing")
def test_a_set_of_ones_own_goes_through(folder: Path, run_command: Command) -> None:
    command = ("shape-bias", "--models", "network.py:build", "--stimuli", "own")
    command += ("--categories", "own.toml", "--output", "out")
    code, out, err = run_command(*command)
    assert code == 0, err
    assert "Low bias: low / (low + high) over the stimuli whose low and high conflict" in out
    assert "The low bias says which cue wins" in out
    for text in ("shape", "texture", "CC BY 4.0", "arXiv"):  # neither the words nor the claims
        assert text not in out.replace("shape_bias", "") + err
    (row,) = pd.read_csv("out/shape_bias.csv").to_dict("records")  # no published row beside it
    scores = pd.read_parquet("out/decisions/network.py_build.scores.parquet")
    decided = pd.read_csv("out/decisions/network.py_build.csv").set_index("imagename")
    answers = {name: decided.loc[f"{name}.png", "object_response"] for name in scores.index}
    counts = {"shape": 0, "texture": 0, "total": 0}
    ranks = []
    for name, answer in answers.items():
        low, high = (part.rstrip("0123456789") for part in name.split("-"))
        own = scores.loc[name, list(CLASSES)]
        assert answer == max(CLASSES, key=lambda category: own[category])
        if low != high:
            ranks.append(1 / (1 + sum(own[other] > own[low] for other in CLASSES)))
            counts["total"] += 1
            counts["shape"] += answer == low
            counts["texture"] += answer == high
    assert len(answers) == 54
    assert {key: row[key] for key in counts} == counts
    assert min(counts.values()) > 0
    assert row["mrr_shape"] == pytest.approx(np.mean(ranks))
    assert (row["cues"], row["categories"]) == ("low, high", 3)
    assert row["stimuli"] == "54 stimuli, low and high"
    assert list(pd.read_csv("out/shape_bias_by_category.csv")["category"]) == list(CLASSES)
    assert "Low bias" in Path("out/shape_bias.md").read_text()

    record = json.loads(Path("out/decisions/network.py_build.json").read_text())
    assert record["stimuli"]["categories"]["classes"] == CLASSES
    assert Categories.of_record(record["stimuli"]["categories"]) == read_categories("own.toml")
    assert shlex.split(shape_bias_command(record) or "")[-8:-4] == [
        *("--stimuli", "own", "--categories", "own.toml")
    ]
    page = Path("out/report.html").read_text()
    assert '"cues":["low","high"]' in page
    code, _, err = run_command(*command)
    assert (code, "decided before" in err) == (0, True)
    (folder / "own.toml").write_text(CONFLICT.replace("281, 282", "281"))
    code, _, err = run_command(*command)
    assert (code, "differs in stimuli categories classes cat" in err) == (2, True)

    decisions = ("--decisions", "out/decisions", "--categories", "own.toml", "--output", "again")
    (folder / "own.toml").write_text(CONFLICT)
    code, _, err = run_command("shape-bias", *decisions)
    assert code == 0, err
    (again,) = pd.read_csv("again/shape_bias.csv").to_dict("records")
    assert {key: again[key] for key in counts} == counts


def test_head_free_says_the_same_words(folder: Path, run_command: Command) -> None:
    command = ("shape-bias", "--models", "resnet10t", "--weights", "random", "--head-free")
    code, out, err = run_command(
        *(*command, "--stimuli", "own", "--categories", "own.toml", "--output", "out")
    )
    assert code == 0, err
    assert "Triplets won by low" in out
    assert "texture" not in out
    assert set(pd.read_csv("out/head_free.csv")["cues"]) == {"low, high"}


SINGLE = 'cues = ["shape"]' + CONFLICT.partition("]")[2]


def test_stimuli_of_two_cues_are_not_measured_as_of_one(folder: Path) -> None:
    Path("single.toml").write_text(SINGLE)
    one = read_categories("single.toml")
    with pytest.raises(UsageError, match=r"names of two cues, as cat1-cat2\.\w+, and single\.toml"):
        open_stimuli("own", categories=one)
    assert len(open_stimuli("single", categories=one)) == 24


def test_single_cue_folders_have_mean_reciprocal_ranks(folder: Path, run_command: Command) -> None:
    (folder / "single.toml").write_text(SINGLE)
    command = ("shape-bias", "--models", "network.py:build", "--stimuli", "single")
    command += ("--categories", "single.toml", "--output", "out")
    code, _, err = run_command(*command)
    assert (code, "which the preset direct would distort; --preset model crops" in err) == (2, True)
    code, out, err = run_command(*command, "--preset", "model")
    assert code == 0, err
    assert "guessing gives 0.611" in out
    assert Path("out/accuracy.png").stat().st_size > 1000
    assert '"single_cue":[{"label":"network.py:build"' in Path("out/report.html").read_text()
    code, _, err = run_command("report", "out", "--output", "page")
    assert code == 0, err
    (row,) = pd.read_csv("out/accuracy.csv").to_dict("records")
    scores = pd.read_parquet("out/decisions/network.py_build.scores.parquet")
    ranks = [
        1 / (1 + sum(own[other] > own[name.partition("/")[0]] for other in CLASSES))
        for name, own in scores.iterrows()
    ]
    assert len(ranks) == row["total"] == 24
    assert row["mrr"] == pytest.approx(np.mean(ranks))
    softened = [*ranks, 0, 1]  # Agresti and Caffo: one more at each end
    half = 2.0687 * np.std(softened) / np.sqrt(26) * np.sqrt(24 / 23)  # Student's t of 23 degrees
    assert row["mrr_high"] == pytest.approx(min(np.mean(softened) + half, 1), rel=1e-4)
    assert row["mrr_low"] == pytest.approx(max(np.mean(softened) - half, 0), rel=1e-4)
    assert row["mrr_classes"] == pytest.approx(np.mean(1 / scores["rank of shape"]))
    assert row["accuracy"] == pytest.approx(np.mean([rank == 1 for rank in ranks]))
    assert row["accuracy of sea_lion"] == pytest.approx(
        np.mean([rank == 1 for rank in ranks[8:16]])
    )


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("first", ["single", "own"])
def test_stimuli_of_one_cue_and_of_two_share_a_folder(
    first: str, folder: Path, run_command: Command
) -> None:
    """Whichever is measured last, each table keeps the provenance of its own."""
    (folder / "single.toml").write_text(SINGLE)
    (folder / "other.py").write_text(NETWORK)
    sources = {"single": "network.py:build", "own": "other.py:build"}
    for name in sorted(sources, key=lambda name: name != first):
        command = ("shape-bias", "--models", sources[name], "--stimuli", name, "--output", "out")
        options = ("--categories", f"{name}.toml", "--preset", "model")
        code, _, err = run_command(*command, *options)
        assert code == 0, err
    code, _, err = run_command("report", "out", "--output", "page")
    assert code == 0, err
    page = Path("page/report.html").read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    for name, (row,) in (("single", data["single_cue"]), ("own", data["makers"])):
        assert row["label"] == sources[name]
        assert row["command"]
        assert shlex.split(row["command"])[3] == sources[name]
        own = [value for term, value in row["provenance"] if term == "Stimuli"]
        assert [value.rpartition(" from ")[2] for value in own] == [name]


def test_a_ranking_by_classes_sorts_all_of_them(folder: Path) -> None:
    from erf_tools.cue_conflict.choices import Deciding
    from erf_tools.cue_conflict.classify import decide
    from erf_tools.models.loading import load_model

    (folder / "single.toml").write_text(SINGLE)
    stimuli = open_stimuli("single", categories=read_categories("single.toml"))
    given = []
    model = load_model("network.py:build")
    model.module.register_forward_hook(lambda module, inputs, output: given.append(output))
    made = decide(model, stimuli, Deciding("model"), computing=Computing(batch_size=24))
    assert made.scores
    logits = next(each for each in given if len(each) == 24).tolist()
    for row, name in zip(logits, made.frame.index, strict=True):
        order = sorted(range(1000), key=lambda index: -row[index])
        own = CLASSES[name.partition("/")[0]]
        assert made.scores.ranks.loc[name, "shape"] == 1 + min(map(order.index, own))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; it names cues, categories or both"),
        ("cues = [", "is no declaration of categories"),
        ("cue = ['a', 'b']", "unknown field `cue`"),
        ("cues = []", "cues has 0 names; it has two, or one"),
        ("cues = ['a', 'b', 'c']", "cues has 3 names"),
        ("cues = ['a', 'A']", "both cues are called a"),
        ("cues = ['', 'b']", "a cue is called ''"),
        ("cues = ['a, b', 'c']", "a cue is called 'a, b'; a comma"),
        ("[categories.cat]", "cat is the only category"),
        ("[categories.cat]\n[categories.cat]", "is no declaration of categories"),
        ("[categories.cat]\n[categories.Cat]", "cat and Cat differ in capital letters only"),
        ("[categories.cat]\n[categories.na]", "no category can be called na"),
        ("[categories.cat]\n[categories.'a/b']", "a/b cannot be a folder"),
        ("[categories.cat]\n[categories.a-b]", "a-b has a '-'"),
        ("[categories.cat]\n[categories.cat2]", "cat and cat2 cannot be told apart"),
        ("[categories.level10]\n[categories.level1]", "level1 and level10 cannot be told apart"),
        ("[categories.a3]\n[categories.'a3\u0661']", "a3 and a3\u0661 cannot be told apart"),
        (
            "[categories.a]\nclasses=[1]\n[categories.b]\nclasses=[1]",
            "class 1 of b is a class",
        ),
        (
            "[categories.a]\nclasses=[1]\n[categories.b]",
            "no classes are given of b, while others have some",
        ),
        ("[categories.a]\nclasses=[1000]\n[categories.b]", "1000 of a is no class of ImageNet-1K"),
        ("[categories.a]\nclasses=['n1']\n[categories.b]", "'n1' of a is no class of ImageNet-1K"),
        ("[categories.a]\nprompts=['']\n[categories.b]", "in prompts, a is called ''"),
        ("categories = 3", "Expected `object`"),
    ],
)
def test_declarations_that_make_no_sense(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"^--categories .*own\.toml") as caught:
        read_categories(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"names": ("level1", "level10")}, "level1 and level10 cannot be told apart"),
        ({"names": ("cat", "Cat")}, "cat and Cat differ in capital letters only"),
        ({"names": ("cat", "cat")}, "the category cat is named twice"),
        ({"names": ("cat", "na")}, "no category can be called na"),
        ({"names": ("a-b", "c")}, "a-b has a '-'"),
        ({"names": ("cat",)}, "cat is the only category"),
        ({"names": ()}, "there is no category"),
        ({"names": ("cat", 3)}, "a category is called 3; a name is a word"),
        ({"names": "cat"}, "names is 'cat'; it has several words"),
        ({"cues": ("a", "A")}, "both cues are called a"),
        ({"cues": ("a, b", "c")}, "a comma"),
        ({"prompts": {"cat": ("\n",)}}, "in prompts, cat is called"),
        ({"classes": {"cat": [1000]}}, "a class of cat is 1000; it is from 0 to 999"),
        ({"classes": {"cat": [1], "dog": [1]}}, "class 1 of dog is a class of cat already"),
        ({"classes": {"cat": [7, 7]}}, "class 7 of cat is a class of cat already"),
        ({"classes": {"cat": [1.5]}}, "a class of cat is 1.5; it is a whole number"),
    ],
)
def test_categories_from_python_are_checked_as_files_are(
    choices: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Categories(**choices)
    assert said in str(caught.value)
    single = Categories(names=("level1", "level10", "a-b"), cues=("shape",))  # no pairs in names
    assert Categories.of_record(single.record()) == single


def test_names_that_end_in_digits_are_told_apart(tmp_path: Path) -> None:
    """Of all splits into two categories and two numbers, one is possible, and it is found."""
    names = ["level1", "level2", "10level", "a", "a1b"]
    path = tmp_path / "own.toml"
    path.write_text("".join(f"[categories.{name}]\n" for name in names))
    own = read_categories(path)
    for first, second, number in product(names, names, ("1", "12", "012")):
        name = f"{first}{number}-{second}{number}"
        splits = {
            pair
            for pair in product(names, names)
            for one, other in product(("1", "12", "012", "2", "0"), repeat=2)
            if f"{pair[0]}{one}-{pair[1]}{other}" == name
        }
        assert splits == {(first, second)}
        assert parse_name(f"{name}.png", own) == (first, second)


@pytest.mark.parametrize(("name", "said"), [("nowhere.toml", "No such file"), (".", "regular")])
def test_declarations_that_are_no_files(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        read_categories(name)


def test_a_declaration_of_cues_alone_has_the_sixteen(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('cues = ["low", "high"]')
    found = read_categories(path)
    assert found == replace(SIXTEEN, cues=("low", "high"))
    path.write_text("[categories.dog]\n[categories.cat]\n[categories.unicorn]\nclasses = [3]")
    found = read_categories(path)
    assert found.classes["dog"] == SIXTEEN.classes["dog"]
    assert (found.names, found.classes["unicorn"]) == (("dog", "cat", "unicorn"), [3])
    assert found.texts == {"dog": ("dog",), "cat": ("cat",), "unicorn": ("unicorn",)}


def test_what_lies_in_a_folder_is_said(folder: Path) -> None:
    own = read_categories("own.toml")
    assert len(open_stimuli("own", categories=own)) == 54
    (folder / "own" / "cat" / "cat1-dog1.png").write_bytes(b"")
    (folder / "own" / "cat" / "cat1-cat3.png").write_bytes(b"x")
    (folder / "own" / "cats").mkdir()
    (folder / "own" / "cats" / "cat1-cat1.png").write_bytes(b"")
    (folder / "own" / "sea_lion").rename(folder / "elsewhere")
    with pytest.raises(UsageError) as caught:
        open_stimuli("own", categories=own)
    for said in (
        "the category sea_lion has no folder",
        "the folder cats is no category",
        "the file cat/cat1-dog1.png is no stimulus of its folder",
        "the file cat/cat1-cat3.png (cannot identify image file) cannot be used",
        "--allow-partial",
    ):
        assert said in str(caught.value)
    part = open_stimuli("own", True, categories=own)
    assert (len(part), part.label) == (36, "PARTIAL: 36 stimuli, low and high")
    with pytest.raises(UsageError, match=r"holds no stimuli of cat, .*<first>/<first><n>-<second>"):
        open_stimuli("elsewhere", categories=own)


def test_published_stimuli_have_their_own_cues(cue_conflict: Path) -> None:
    others = Categories(cues=("low", "high"))
    with pytest.raises(UsageError, match="the published stimuli are not of the cues"):
        open_stimuli("cue-conflict", categories=others)


@pytest.mark.parametrize("option", [("--preset", "mvh"), ("--stimuli", "nowhere")])
def test_misuse_of_own_stimuli(option: tuple[str, str], folder: Path, run_command: Command) -> None:
    command = ["shape-bias", "--models", "network.py:build", "--categories", "own.toml"]
    command += ["--stimuli", "own", *option]
    code, _, err = run_command(*command)
    said = {"mvh": "is 40x40, and the preset mvh shows 224x224", "nowhere": "no such folder"}
    assert said[option[1]] in err
    assert code in (1, 2)


def test_networks_need_classes(folder: Path, run_command: Command) -> None:
    names = "".join(f"[categories.{name}]\n" for name in ("bus", "sea_lion", "tree9house"))
    (folder / "own.toml").write_text(f'cues = ["low", "high"]\n{names}')
    (folder / "own" / "cat").rename(folder / "own" / "bus")
    for path in [*(folder / "own").rglob("*cat*.*")]:
        path.rename(path.with_name(path.name.replace("cat", "bus")))
    command = ("shape-bias", "--models", "network.py:build", "--stimuli", "own")
    code, _, err = run_command(*command, "--categories", "own.toml")
    assert code == 2
    assert "which classes belong to bus, sea_lion, tree9house is not known" in err


@pytest.mark.parametrize("name", ["=x", "'=x", "@sea", "x'=y", "'x"])
def test_categories_that_look_like_formulas_come_back(name: str, tmp_path: Path) -> None:
    """What the tool has written it reads, and spreadsheets compute nothing of it."""
    path = tmp_path / "own.toml"
    path.write_text(f'[categories."{name}"]\n[categories.hill]\n')
    own = read_categories(path)
    pairs = {f"{name}1-hill1": (name, "hill", name), f"hill1-{name}1": ("hill", name, "na")}
    frame = decision_frame(list(pairs), *zip(*pairs.values(), strict=True))
    Decisions("net", frame, categories=own).save(tmp_path / "net.csv")
    cells = (tmp_path / "net.csv").read_text().replace("\n", ",").split(",")
    assert not any(cell.startswith(("=", "@", "+", "-")) for cell in cells)
    (made,) = read_decisions([tmp_path / "net.csv"], own)
    pd.testing.assert_frame_equal(made.frame, frame)


def test_decisions_of_stimuli_with_other_categories(folder: Path) -> None:
    (folder / "net.csv").write_text(
        "image,pred_label\ntrial_3_sea_lion1-cat2,cat\ncat1-sea_lion2,na\n"
    )
    (made,) = read_decisions(["net.csv"], read_categories("own.toml"))
    assert made.frame.loc["sea_lion1-cat2"].tolist() == ["sea_lion", "cat", "cat"]
    assert made.frame.loc["cat1-sea_lion2"].tolist() == ["cat", "sea_lion", "na"]
    with pytest.raises(UsageError, match="is not the name of a cue-conflict stimulus"):
        read_decisions(["net.csv"])


@pytest.mark.parametrize(
    ("text", "cues", "expected"),
    [
        ("Shape bias: S / (S + T)", ("shape", "texture"), "Shape bias: S / (S + T)"),
        ("Shape bias: S / (S + T)", ("low", "high"), "Low bias: low / (low + high)"),
        ("shaped textures, texture", ("low", "high"), "shaped textures, high"),
        ("a shape, a Texture", ("iOS", "old style"), "a iOS, a Old style"),
    ],
)
def test_texts_in_other_words(text: str, cues: tuple[str, str], expected: str) -> None:
    assert worded(text, cues) == expected


def test_what_guessing_gives() -> None:
    assert guessing_mrr(16) == pytest.approx(np.mean([1 / rank for rank in range(1, 17)]))
    assert [low_coverage(count) for count in (2, 4, 16, 100)] == [1, 0.75, 0.25, 0.04]
