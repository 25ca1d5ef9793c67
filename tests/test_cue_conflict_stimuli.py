"""Stimulus sets: the whole set, every way to fall short of it, and fetching it once."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from loopback import Answer, Loopback
from PIL import Image

from erf_tools.cue_conflict import stimuli
from erf_tools.cue_conflict.categories import CATEGORIES, IMAGENET_CLASSES, read_label_map
from erf_tools.cue_conflict.stimuli import open_stimuli, published_names
from erf_tools.errors import ErfToolsError, UsageError


def test_classes_are_the_published_207() -> None:
    counts = [len(IMAGENET_CLASSES[category]) for category in CATEGORIES]
    assert counts == [1, 4, 2, 49, 5, 7, 3, 6, 4, 3, 109, 2, 2, 1, 1, 8]
    indices = [index for classes in IMAGENET_CLASSES.values() for index in classes]
    assert len(indices) == len(set(indices)) == 207
    assert IMAGENET_CLASSES["bottle"] == [440, 720, 737, 898, 899, 901, 907]
    assert not {192, 204, 227, 242, 251, 258, 260, 264} & set(IMAGENET_CLASSES["dog"])


def test_classes_mean_what_their_category_says() -> None:
    """Spot checks against timm's own names of ImageNet classes."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    for category, word in {
        "airplane": "airliner",
        "bear": "bear",
        "car": "car",
        "cat": "cat",
        "clock": "clock",
        "elephant": "elephant",
        "keyboard": "keyboard",
        "knife": "cleaver",
        "oven": "rotisserie",
        "truck": "truck",
    }.items():
        names = [info.index_to_description(index).lower() for index in IMAGENET_CLASSES[category]]
        assert any(word in name for name in names), (category, names)


def test_names_of_the_published_set() -> None:
    names = published_names()
    assert len(names) == 1280
    pairs = [stimuli.parse_name(name) for name in names]
    assert {pairs.count(pair) for pair in set(pairs)} == {5}
    assert len(set(pairs)) == 256


def test_the_whole_set(cue_conflict: Path) -> None:
    found = open_stimuli(cue_conflict)
    assert len(found) == 1280
    assert found.conflict
    assert found.label == "1280 stimuli, as published"
    assert sum(stimulus.shape == stimulus.texture for stimulus in found.stimuli) == 80


@pytest.fixture
def copy(cue_conflict: Path, tmp_path: Path) -> Path:
    """A copy whose files are links: deviations touch no reference data."""
    folder = tmp_path / "stimuli"
    for category in CATEGORIES:
        (folder / category).mkdir(parents=True)
        for path in (cue_conflict / category).iterdir():
            (folder / category / path.name).symlink_to(path)
    return folder


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_every_deviation_is_one_clear_sentence(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, decoded = stimuli._pixels, {}

    def once(path: Path) -> np.ndarray:
        """Decode what is only linked to once: the folder is checked eight times."""
        if not path.is_symlink():
            return decode(path)
        original = path.resolve()
        if original not in decoded:
            decoded[original] = decode(path)
        return decoded[original]

    monkeypatch.setattr(stimuli, "_pixels", once)

    def message() -> str:
        with pytest.raises(UsageError) as caught:
            open_stimuli(copy)
        return str(caught.value)

    target = min((copy / "cat").iterdir())
    original = target.resolve()

    target.unlink()
    assert f"the stimulus {target.name} is missing" in message()
    target.symlink_to(original)

    replace(target, original.read_bytes()[:2000])
    assert f"the file cat/{target.name} cannot be decoded" in message()
    assert "missing" not in message()

    buffer = io.BytesIO()
    Image.new("RGB", (100, 224)).save(buffer, "PNG")
    replace(target, buffer.getvalue())
    assert f"the file cat/{target.name} (100x224) is not 224x224" in message()
    target.unlink()
    target.symlink_to(original)

    (copy / "cat" / "notes.txt").write_text("x")
    assert "the file cat/notes.txt is no stimulus of its folder" in message()
    (copy / "cat" / "notes.txt").unlink()

    (copy / "dog").rename(copy / "doggy")
    text = message()
    assert "the folder dog is missing" in text
    assert "the folder doggy is none of the 16 categories: did you mean dog?" in text
    assert ".png" not in text  # its 80 stimuli are not listed on top
    (copy / "doggy").rename(copy / "dog")

    extra = copy / "cat" / "cat99-dog99.png"
    extra.symlink_to(original)
    assert "the pair cat-dog has over 5 stimuli" in message()
    extra.unlink()
    assert open_stimuli(copy).label == "1280 stimuli, as published"


def test_a_part_is_measured_only_when_asked_for(copy: Path) -> None:
    for path in sorted((copy / "cat").iterdir())[:3]:
        path.unlink()
    with pytest.raises(UsageError, match=r"3 stimuli are missing: .*--allow-partial"):
        open_stimuli(copy)
    part = open_stimuli(copy, allow_partial=True)
    assert part.label == "PARTIAL: 1277 of 1280 stimuli"
    assert len(part.deviations) == 1


def test_altered_pixels_are_noticed(copy: Path) -> None:
    target = next((copy / "bear").iterdir())
    buffer = io.BytesIO()
    Image.new("RGB", (224, 224)).save(buffer, "PNG")
    replace(target, buffer.getvalue())
    assert open_stimuli(copy).label == "1280 stimuli, pixels not as published"


def test_single_cue_sets(edges: Path, tmp_path: Path) -> None:
    found = open_stimuli(edges)
    assert (len(found), found.conflict) == (160, False)
    shutil.copytree(edges, tmp_path / "edges")
    (tmp_path / "edges" / "cat" / "cat1.png").write_bytes(b"broken")
    with pytest.raises(UsageError, match=r"the file cat/cat1\.png cannot be used"):
        open_stimuli(tmp_path / "edges")


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="published sets are cue-conflict, edges, silhouettes"):
        open_stimuli("nowhere")
    with pytest.raises(UsageError, match="holds no cue-conflict stimuli"):
        open_stimuli(tmp_path)


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for name, data in files.items():
            content.writestr(name, data)
    return buffer.getvalue()


PREFIX = "texture-vs-shape-master/stimuli"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERF_TOOLS_CACHE", str(tmp_path / "cache"))
    for name in ("ERF_TOOLS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def test_the_set_is_fetched_once_and_only_its_folder_unpacked(
    cue_conflict: Path, cache: Path
) -> None:
    folder = f"{PREFIX}/style-transfer-preprocessed-512"
    files = {
        f"{folder}/{path.parent.name}/{path.name}": path.read_bytes()
        for path in cue_conflict.glob("*/*.png")
    }
    files[f"{PREFIX}/edges/cat/cat1.png"] = b"another set"
    files["texture-vs-shape-master/code/run.py"] = b"code"
    with Loopback() as server:
        server.answers["/master.zip"] = Answer(archive(files))
        fetched = stimuli.fetch("cue-conflict", address=server.address("/master.zip"))
        assert fetched.is_relative_to(cache)
        assert open_stimuli(fetched).label == "1280 stimuli, as published"
        assert len(list(fetched.rglob("*.png"))) == 1280
        assert not list(cache.rglob("run.py"))
        before = len(server.requests)
        assert stimuli.fetch("cue-conflict", address=server.address("/master.zip")) == fetched
        assert len(server.requests) == before
    assert not list(cache.rglob(".partial-*"))


@pytest.mark.parametrize(
    "name",
    [
        f"{PREFIX}/edges/cat/../../../../../escaped.png",
        "../../escaped.png",
        "/tmp/escaped-cat1.png",
        f"{PREFIX}/edges/cat/cat1.png/../../x.png",
    ],
)
def test_archives_cannot_write_outside_their_folder(name: str, cache: Path) -> None:
    image = io.BytesIO()
    Image.new("RGB", (4, 4)).save(image, "PNG")
    with Loopback() as server:
        server.answers["/master.zip"] = Answer(archive({name: image.getvalue()}))
        with pytest.raises(ErfToolsError, match="holds 0 edges instead of 160"):
            stimuli.fetch("edges", address=server.address("/master.zip"))
    assert not list(cache.parent.rglob("*.png"))
    assert not Path("/tmp/escaped-cat1.png").exists()


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04 no archive", archive({f"{PREFIX}/style-transfer-preprocessed-512/cat/x": b""})],
)
def test_a_wrong_archive_leaves_nothing_behind(content: bytes, cache: Path) -> None:
    with Loopback() as server:
        server.answers["/master.zip"] = Answer(content)
        with pytest.raises(ErfToolsError, match=r"cannot be unpacked|published stimuli"):
            stimuli.fetch("cue-conflict", address=server.address("/master.zip"))
    assert not (cache / "stimuli" / "cue-conflict").exists()
    assert not list(cache.rglob("*.zip"))


def test_without_a_network_the_message_says_what_to_do(cache: Path) -> None:
    with pytest.raises(ErfToolsError, match=r"name its folder stimuli/style-.* with --stimuli"):
        stimuli.fetch("cue-conflict", address="http://127.0.0.1:9/master.zip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number,category\n0,cat\n", "needs the columns index and category"),
        ("index,category\n0,cot\n", "line 2: 'cot' is no category: did you mean"),
        ("index,category\nx,cat\n", "line 2: index is 'x'"),
        ("index,category\n1,cat\n1,dog\n", "line 3: index 1 is given twice"),
        ("index,category\n1,cat\n", "has no class for airplane"),
    ],
)
def test_label_maps_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_label_map(tmp_path / "map.csv")
