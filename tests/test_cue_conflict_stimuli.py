"""Stimulus sets: the whole set, every way to fall short of it, and fetching it once."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback import Answer, Loopback
from PIL import Image

from erf_tools.cue_conflict import stimuli
from erf_tools.cue_conflict.categories import CATEGORIES, IMAGENET_CLASSES
from erf_tools.cue_conflict.label_maps import checked_label_map, read_label_map
from erf_tools.cue_conflict.stimuli import open_stimuli, published_names
from erf_tools.cue_conflict.stimulus_sets import StimulusSet
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


def test_the_whole_set(published_stimuli: StimulusSet) -> None:
    found = published_stimuli
    assert len(found) == 1280
    assert found.conflict
    assert found.label == "1280 stimuli, as published"
    assert sum(stimulus.shape == stimulus.texture for stimulus in found.stimuli) == 80


@pytest.fixture(scope="module")
def decoded() -> dict[Path, np.ndarray]:
    """The published stimuli that were decoded already."""
    return {}


@pytest.fixture
def quick(
    decoded: dict[Path, np.ndarray], cue_conflict: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decode each of the published files once for all tests: sets are checked many times."""
    decode = stimuli.read_pixels

    def once(path: Path) -> np.ndarray:
        original = path.resolve()
        if not original.is_relative_to(cue_conflict.resolve()):
            return decode(path)
        if original not in decoded:
            decoded[original] = decode(path)
        return decoded[original]

    monkeypatch.setattr(stimuli, "read_pixels", once)


@pytest.fixture
def copy(cue_conflict: Path, tmp_path: Path, quick: None) -> Path:
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


def test_every_deviation_is_one_clear_sentence(copy: Path) -> None:
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
    assert f"the file cat/{target.name} (224x100) is not 224x224" in message()
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


def test_what_systems_leave_behind_is_not_there(copy: Path) -> None:
    for entry in (
        *(".DS_Store", "cat/.DS_Store", "cat/._cat1-dog1.png", "dog/Thumbs.db", "desktop.ini"),
        *("__MACOSX/cat/._cat1-dog1.png", ".ipynb_checkpoints/x.png", "cat/@eaDir/x"),
    ):
        (copy / entry).parent.mkdir(parents=True, exist_ok=True)
        (copy / entry).write_bytes(b"x")
    found = open_stimuli(copy)
    assert (found.label, found.deviations) == ("1280 stimuli, as published", ())
    assert found.left_out == ()


@pytest.mark.usefixtures("quick")
def test_folders_that_are_links_are_followed_and_loops_are_not(
    cue_conflict: Path, tmp_path: Path
) -> None:
    for category in CATEGORIES:
        (tmp_path / category).symlink_to(cue_conflict / category)
    assert open_stimuli(tmp_path).label == "1280 stimuli, as published"
    (tmp_path / "dog").unlink()
    (tmp_path / "dog").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="80 stimuli are missing"):
        open_stimuli(tmp_path)


def test_what_lies_beside_is_named_and_does_not_make_a_set_partial(copy: Path) -> None:
    (copy / "README.md").write_text("x")
    os.mkfifo(copy / "pipe")
    found = open_stimuli(copy)
    assert found.label == "1280 stimuli, as published"
    assert found.left_out == (("pipe", "not a regular file"), ("README.md", "no stimulus"))
    (copy / "cat" / "notes.txt").write_text("x")
    found = open_stimuli(copy, allow_partial=True)
    assert found.label == "1280 stimuli, as published"
    assert found.deviations == ("the file cat/notes.txt is no stimulus of its folder",)


@pytest.mark.parametrize("stray", ["cat/cat1.png", "notes/cat1.png", "cat1.png"])
def test_one_stray_file_is_the_only_one_blamed(stray: str, copy: Path) -> None:
    (copy / stray).parent.mkdir(exist_ok=True)
    (copy / stray).write_bytes((copy / "cat" / "cat1-dog1.png").read_bytes())
    if "/" not in stray:
        assert open_stimuli(copy).left_out == (("cat1.png", "no stimulus"),)
        return
    with pytest.raises(UsageError) as caught:
        open_stimuli(copy)
    about = {"cat": "the file cat/cat1.png is no stimulus of its folder", "notes": "folder notes"}
    assert about[stray.partition("/")[0]] in str(caught.value)
    assert str(caught.value).count(".png") <= 1


def test_stimuli_that_were_never_published_are_refused(copy: Path) -> None:
    (copy / "cat" / "cat1-dog1.png").rename(copy / "cat" / "cat99-dog99.png")
    with pytest.raises(
        UsageError,
        match=r"cat1-dog1\.png is missing; the file cat/cat99-dog99\.png is no published stimulus",
    ):
        open_stimuli(copy)
    part = open_stimuli(copy, allow_partial=True)
    assert part.label == "PARTIAL: 1279 of 1280 stimuli"
    assert "cat99-dog99" not in [stimulus.name for stimulus in part.stimuli]


@pytest.mark.parametrize("kind", ["pipe", "device", "gone"])
def test_what_is_no_file_is_never_opened(
    kind: str, copy: Path, edges: Path, tmp_path: Path
) -> None:
    def put(path: Path) -> None:
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero" if kind == "device" else "nowhere")

    put(copy / "cat" / "cat1-dog1.png")
    with pytest.raises(
        UsageError, match=r"the file cat/cat1-dog1\.png \((not a regular file|a broken link)\) cann"
    ):
        open_stimuli(copy)
    shutil.copytree(edges, tmp_path / "edges")
    put(tmp_path / "edges" / "cat" / "cat1.png")
    with pytest.raises(UsageError, match=r"the file cat/cat1\.png \(.*\) cannot be used"):
        open_stimuli(tmp_path / "edges")


def test_single_cue_sets_follow_the_same_rule(edges: Path, tmp_path: Path) -> None:
    folder = tmp_path / "edges"
    shutil.copytree(edges, folder)
    for name in (".DS_Store", "cat/._cat1.png", "Thumbs.db", "notes.txt"):
        (folder / name).write_bytes(b"x")
    found = open_stimuli(folder)
    assert (len(found), found.conflict) == (160, False)
    assert found.left_out == (("notes.txt", "no stimulus"),)


def test_a_stimulus_that_was_changed_is_refused(copy: Path) -> None:
    stimulus = open_stimuli(copy).stimuli[0]
    original = stimulus.path.resolve()
    np.testing.assert_array_equal(stimulus.pixels(), np.asarray(Image.open(original)))
    buffer = io.BytesIO()
    Image.new("RGB", (224, 224)).save(buffer, "PNG")
    for content, message in ((buffer.getvalue(), "was changed after"), (b"", "can no longer be")):
        replace(stimulus.path, content)
        with pytest.raises(ErfToolsError, match=f"the stimulus {stimulus.name} {message}"):
            stimulus.pixels()


@pytest.mark.parametrize("source", ["", " ", "x" * 5000])
def test_sources_that_cannot_be(source: str) -> None:
    with pytest.raises(UsageError, match=r"--stimuli (is empty|x+: File name too long)"):
        open_stimuli(source)


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
        ("number,category\n0,cat\n", "lacks the columns index"),
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


OWN = {category: [index] for index, category in enumerate(CATEGORIES)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"airplane": [-1]}, r"a class of airplane is -1; it has to be at least 0"),
        ({"dog": [77, 77, 78]}, "label_map: index 77 is given twice"),
        ({"dog": [77], "cat": [77]}, "label_map: index 77 is given twice"),
        ({"dog": [281.0]}, r"a class of dog is 281\.0; it is a whole number"),
        ({"dog": [True]}, "a class of dog is True; it is a whole number"),
        ({"dog": "281"}, "a class of dog is '2'; it is a whole number"),
        ({"dog": ["281"]}, "a class of dog is '281'; it is a whole number"),
        ({"dog": 281}, "label_map has 281 for dog; it has a list"),
        ({"dog": np.array(281)}, r"label_map has array\(281\) for dog"),
        ({"sofa": [281]}, "label_map: 'sofa' is no category: did you mean"),
        ({"dog": [], "cat": []}, "label_map has no class for cat, dog"),
    ],
)
def test_label_maps_from_python_are_checked_as_files_are(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        checked_label_map({**OWN, **changed})


def test_label_maps_that_are_right_are_lists_in_order() -> None:
    given = {name: np.array([index, index + 16]) for name, (index,) in reversed(OWN.items())}
    found = checked_label_map(given)
    assert list(found.items()) == [(name, [own, own + 16]) for name, (own,) in OWN.items()]
    assert {type(index) for indices in found.values() for index in indices} == {int}
    with pytest.raises(UsageError, match="label_map is a list; it maps each category"):
        checked_label_map([281])  # type: ignore[arg-type]
