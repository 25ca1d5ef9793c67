"""Heads without training: from names of classes to decisions, by networks of open_clip."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from PIL import Image

from erf_tools.cue_conflict.categories import CATEGORIES, SIXTEEN
from erf_tools.errors import UsageError
from erf_tools.models.loading import load_model
from erf_tools.models.zero_shot import EIGHTY, ClassTexts, read_templates

open_clip = pytest.importorskip("open_clip", reason="needs the extra clip")

NAME = "open_clip:ViT-S-32-alt"


@pytest.fixture(scope="module")
def clip() -> torch.nn.Module:
    """The network as the library builds it, with the same seed as ours."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return open_clip.create_model("ViT-S-32-alt", load_weights=False).eval()


@pytest.fixture(scope="module")
def digest() -> str:
    """The SHA-256 of the weights as they are without texts."""
    return load_model(NAME, "random").weights.sha256


@pytest.mark.parametrize(
    "templates", [("{}",), ("a photo of a {}.",), ("a {}", "the {}", "many {}")]
)
def test_probabilities_are_those_of_the_librarys_own_classifier(
    templates: tuple[str, ...], clip: torch.nn.Module, digest: str
) -> None:
    names = ["airplane", "bear", "sea lion"]
    tokenizer = open_clip.get_tokenizer("ViT-S-32-alt")
    peer = open_clip.build_zero_shot_classifier(clip, tokenizer, names, templates)
    images = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        cosines = clip.encode_image(images, normalize=True) @ peer
        expected = (clip.logit_scale.exp() * cosines).softmax(dim=1)
        texts = ClassTexts({name: (name,) for name in names}, templates)
        model = load_model(NAME, "random", texts=texts)
        found = model.module(images)
    torch.testing.assert_close(found.exp(), expected, atol=1e-6, rtol=1e-5)
    assert model.classes == tuple(names)
    assert model.weights.sha256 == digest  # the same tower


def test_several_names_of_a_class_count_alike(clip: torch.nn.Module) -> None:
    texts = ClassTexts({"plane": ("airplane", "jet"), "bear": ("bear",)}, ("a {}", "{}"))
    assert texts.of("plane") == ["a airplane", "airplane", "a jet", "jet"]
    tokenizer = open_clip.get_tokenizer("ViT-S-32-alt")
    with torch.inference_mode():
        each = clip.encode_text(tokenizer(["a airplane", "airplane", "a jet", "jet"]))
        expected = (each / each.norm(dim=1, keepdim=True)).mean(dim=0)
    found = load_model(NAME, "random", texts=texts).module.features[0]
    torch.testing.assert_close(found, expected / expected.norm(), atol=1e-6, rtol=1e-5)


@pytest.fixture
def stimuli(tmp_path: Path) -> Path:
    """Two stimuli with a conflict for each category, of one colour each."""
    generator = np.random.default_rng(0)
    for number, shape in enumerate(CATEGORIES):
        (tmp_path / "stimuli" / shape).mkdir(parents=True)
        for shift in (1, 5):
            texture = CATEGORIES[(number + shift) % 16]
            image = Image.new("RGB", (224, 224), tuple(generator.integers(0, 256, 3)))
            image.save(tmp_path / "stimuli" / shape / f"{shape}1-{texture}{shift}.png")
    return tmp_path / "stimuli"


def test_from_names_to_a_table(stimuli: Path, tmp_path: Path, run_command: Command) -> None:
    declaration = tmp_path / "own.toml"
    names = "\n".join(f"[categories.{name}]" for name in CATEGORIES)
    declaration.write_text(f'cues = ["low", "high"]\n{names}\nprompts = ["lorry"]\n')
    command = ("shape-bias", "--models", NAME, "--weights", "random", "--stimuli", stimuli)
    command += ("--categories", declaration, "--output", tmp_path / "out")
    code, _, err = run_command(*command, "--prompts", "a photo of a {}.")
    assert code == 0, err
    (row,) = pd.read_csv(tmp_path / "out" / "shape_bias.csv").to_dict("records")
    assert (row["model"], row["total"], row["cues"]) == (NAME, 32, "low, high")
    assert row["prompts"] == "a photo of a {}."
    said = (tmp_path / "out" / "shape_bias.md").read_text()
    assert f"{NAME}: told of categories by the prompts 'a photo of a {{}}.'." in said
    assert row["mrr_shape"] == row["mrr_shape_classes"]  # its classes are the categories
    (made,) = (tmp_path / "out" / "decisions").glob("*.json")
    record = json.loads(made.read_text())
    head = record["model"]["arguments"]["zero_shot"]
    assert head["templates"] == ["a photo of a {}."]
    assert (head["names"]["bear"], head["names"]["truck"]) == (["bear"], ["lorry"])
    assert (record["prompts"], record["head"]) == ("a photo of a {}.", "logits")
    code, _, err = run_command(*command)
    assert code == 2
    assert "differs in" in err
    assert "prompts (a photo of a {}. there, {} now)" in err


def test_a_file_of_ones_own_has_both_towers(clip: torch.nn.Module, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        other = open_clip.create_model("ViT-S-32-alt", load_weights=False).eval()
    state = {f"module.{key}": value for key, value in other.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    texts = ClassTexts({name: (name,) for name in ("cat", "dog")})
    found = load_model(NAME, tmp_path / "a.pt", texts=texts)
    tokenizer = open_clip.get_tokenizer("ViT-S-32-alt")
    with torch.inference_mode():
        expected = other.encode_text(tokenizer(["cat", "dog"]), normalize=True)
    torch.testing.assert_close(found.module.features, expected, atol=1e-6, rtol=1e-5)


def test_the_eighty_are_those_of_the_paper() -> None:
    found = read_templates(EIGHTY)
    assert len(set(found)) == 80
    assert (found[0], found[-1]) == ("a bad photo of a {}.", "a tattoo of the {}.")
    assert read_templates("{}") == ("{}",)


def test_templates_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeffa {}.\n\n  the {} \n", encoding="utf-8")
    assert read_templates(str(path)) == ("a {}.", "the {}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is a template with {} where the category goes, eighty, or a file"),
        (b"", "is empty; it has a template on each line"),
        (b"\n\n", "is empty"),
        (b"a {}\na photo\n", "line 2: 'a photo' has no {} where the category goes"),
        (b"\xff\xfe{", "no text in UTF-8"),
    ],
)
def test_prompts_that_are_none(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"^--prompts") as caught:
        read_templates(str(path))
    assert said in str(caught.value)


def test_prompts_are_for_networks_that_read(stimuli: Path, run_command: Command) -> None:
    command = ("shape-bias", "--stimuli", stimuli, "--allow-partial", "--prompts", "a {}")
    for models in (("--models", "resnet18"), ("--models", NAME, "--head-free")):
        code, _, err = run_command(*command, *models)
        assert code == 2
        assert "--prompts is for decisions of networks that compare images with text" in err
    with pytest.raises(UsageError, match="resnet18 compares no images with text"):
        load_model("resnet18", "random", texts=ClassTexts(SIXTEEN.texts))


def test_without_the_library_it_is_said(
    stimuli: Path, monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    command = ("shape-bias", "--models", NAME, "--stimuli", stimuli, "--allow-partial")
    code, _, err = run_command(*command)
    assert code == 2
    assert 'pip install "erf-tools[clip]"' in err
    code, _, err = run_command(*command, "--prompts", "eighty")
    assert (code, "Traceback" in err) == (2, False)
