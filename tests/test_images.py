"""Image sources: which images are taken, and what happens to bad ones."""

from __future__ import annotations

import os
import re
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.images import (
    BUILTIN,
    PixelStore,
    SourceImage,
    ahead,
    are_given,
    counted,
    decode,
    select,
)
from erf_tools.preprocessing import Preprocessing, evaluation_view, warped


def names(selection: object) -> list[str]:
    return [image.name for image in selection.images]  # type: ignore[attr-defined]


def test_sequential_order_takes_one_class_as_the_published_script(image_folder: Path) -> None:
    selection = select(image_folder, 4, "sequential")
    assert names(selection) == ["ant/0.png", "ant/1.png", "ant/2.png", "ant/3.png"]


@pytest.mark.parametrize("seed", range(5))
def test_spread_order_takes_every_class_before_a_second_image(
    image_folder: Path, seed: int
) -> None:
    taken = names(select(image_folder, 6, "spread", seed))
    assert {name[:3] for name in taken[:3]} == {name[:3] for name in taken[3:]}
    assert len({name[:3] for name in taken[:3]}) == 3
    assert len(set(taken)) == 6


def test_spread_order_follows_the_seed(image_folder: Path) -> None:
    assert names(select(image_folder, 12, seed=1)) == names(select(image_folder, 12, seed=1))
    assert names(select(image_folder, 12, seed=1)) != names(select(image_folder, 12, seed=2))


def test_exactly_as_many_as_there_are_and_more(image_folder: Path) -> None:
    assert len(select(image_folder, 12)) == 12
    assert len(select(image_folder, 50)) == 12


def test_counts_of_images_in_words(tmp_path: Path) -> None:
    assert counted(5, "photos", "in") == "5 images in photos"
    assert counted(1, "photo.jpg") == "1 image of photo.jpg"
    pixels = Image.new("RGB", (8, 8))
    for count, said in ((1, "1 given image"), (3, "3 given images")):
        source = select([pixels] * count).source
        assert (source, are_given(source), counted(count, source)) == (said, True, said)
    assert counted(2, "3 given images", "in") == "2 of 3 given images"
    assert counted(6, "3 given images") == "6 given images"  # of two such lists
    broken = [tmp_path / "one.png", tmp_path / "two.png"]
    for path in broken:
        path.write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"none of the 2 given images can be read \(the first, "):
        select(broken)
    with pytest.raises(UsageError, match=f"none of the 2 images in {re.escape(str(tmp_path))} can"):
        select(tmp_path)


def test_flat_folder_single_file_and_sequences(image_folder: Path) -> None:
    assert len(select(image_folder / "bee", 50)) == 4
    assert names(select(image_folder / "bee" / "2.png")) == ["2.png"]
    picture = Image.new("RGB", (5, 4), "red")
    assert names(select([picture, image_folder / "bee" / "2.png"], order="sequential"))[0] == (
        "image-0"
    )


def test_unreadable_files_are_passed_over_and_named(image_folder: Path) -> None:
    whole = (image_folder / "ant" / "0.png").read_bytes()
    (image_folder / "ant" / "0.png").write_bytes(whole[: len(whole) // 2])
    (image_folder / "ant" / "1.png").write_text("<html>not an image</html>")
    (image_folder / "ant" / "2.png").write_bytes(b"")
    selection = select(image_folder, 50, "sequential")
    assert len(selection) == 9
    assert [name for name, _ in selection.unreadable] == ["ant/0.png", "ant/1.png", "ant/2.png"]
    assert all(reason and "BytesIO" not in reason for _, reason in selection.unreadable)
    # Bad files do not use up the number asked for.
    assert len(select(image_folder, 9, "sequential")) == 9


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no images in the folder"):
        select(tmp_path)
    with pytest.raises(UsageError, match="no such folder or file"):
        select(tmp_path / "nowhere")
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    with pytest.raises(UsageError, match=r"^the only image, bad\.jpg, cannot be read: "):
        select(tmp_path)
    with pytest.raises(UsageError, match="at least 1"):
        select("builtin", 0)


def test_builtin_photographs_are_colour_and_distinct() -> None:
    selection = select("builtin", 50, "sequential")
    assert tuple(names(selection)) == BUILTIN
    assert len({image.sha256 for image in selection.images}) == len(BUILTIN)
    for pixels in decode(selection.images, partial(warped, size=(48, 32))):
        assert pixels.shape == (32, 48, 3)
        assert np.ptp(pixels.astype(int).mean(axis=(0, 1))) > 1  # not grey


def test_modes_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "CMYK", "1"):
        Image.new(mode, (6, 6)).save(tmp_path / f"{mode}.tif")
    selection = select(tmp_path, 50)
    assert len(selection) == 5
    assert all(
        pixels.shape == (8, 8, 3)
        for pixels in decode(selection.images, partial(warped, size=(8, 8)))
    )


def test_digest_is_of_the_content(image_folder: Path) -> None:
    before = select(image_folder, 1, "sequential").images[0].sha256
    Image.new("RGB", (9, 9)).save(image_folder / "ant" / "0.png")
    assert select(image_folder, 1, "sequential").images[0].sha256 != before


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that are decoded, as they are."""
    names: list[str] = []
    original = SourceImage.open

    def counting(image: SourceImage) -> Image.Image:
        names.append(image.name)
        return original(image)

    monkeypatch.setattr(SourceImage, "open", counting)
    return names


def test_store_makes_each_view_of_an_image_once(image_folder: Path, opened: list[str]) -> None:
    images = select(image_folder, 3).images
    expected = list(decode(images, partial(warped, size=(9, 7))))
    opened.clear()
    store = PixelStore()
    for _ in range(2):  # an equal view, not the same one
        found = list(store.decode(images, partial(warped, size=(9, 7))))
        assert all(map(np.array_equal, found, expected))
    assert len(opened) == 3
    other = list(store.decode(images, partial(warped, size=(5, 5))))
    assert [pixels.shape for pixels in other] == [(5, 5, 3)] * 3
    assert len(opened) == 6


def test_store_keeps_no_more_than_its_limit(image_folder: Path, opened: list[str]) -> None:
    images, view = select(image_folder, 3).images, partial(warped, size=(10, 10))
    store = PixelStore(limit=2 * 300)
    for _ in range(2):
        assert len(list(store.decode(images, view))) == 3
    assert len(opened) == 4


def test_work_ahead_keeps_its_order_and_its_errors() -> None:
    assert list(ahead(lambda number: number**2, range(50))) == [n**2 for n in range(50)]

    def failing(number: int) -> int:
        if number == 7:
            raise ValueError("seven")
        return number

    made: list[int] = []
    with pytest.raises(ValueError, match="seven"):
        made.extend(ahead(failing, range(20)))
    assert made == list(range(7))


GREY = np.array([[0, 25_700, 65_535, 30_000]], dtype=np.uint16)


def written(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def grey_of_each_kind(folder: Path) -> list[Path]:
    """The same four values of grey in 16 bits, in every way that Pillow has of saying so."""
    big = GREY.astype(">u2")
    (folder / "raw.pgm").write_bytes(b"P5 4 1 65535\n" + big.tobytes())
    (folder / "plain.pgm").write_text("P2 4 1 65535\n0 25700 65535 30000\n")
    written(folder / "inverted.tif", 65_535 - GREY, tiffinfo={262: 0})
    return [
        folder / "raw.pgm",
        folder / "plain.pgm",
        folder / "inverted.tif",
        written(folder / "grey.png", GREY),
        written(folder / "little.tif", GREY),
        written(folder / "big.tif", big),
        written(folder / "grey.jp2", GREY, irreversible=False),
    ]


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    paths = grey_of_each_kind(tmp_path)
    for image in select(paths, order="sequential").images:
        # 257 a step: 65535 is 255, and 30000 / 257 is 116.7.
        assert np.asarray(image.open())[0].tolist() == [[v] * 3 for v in (0, 100, 255, 117)]
    (given,) = select([Image.fromarray(GREY)]).images
    assert np.asarray(given.open())[0, :, 0].tolist() == [0, 100, 255, 117]


def test_twelve_bit_grey_is_scaled(tmp_path: Path) -> None:
    """A TIFF with 12 bits a sample, written by hand: Pillow reads such, and writes none."""
    packed = bytes.fromhex("000fff800001")  # 0, 4095, 2048, 1
    tags = [(256, 4, 4), (257, 4, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 200)]
    tags += [(277, 3, 1), (278, 4, 1), (279, 4, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    (tmp_path / "x.tif").write_bytes(head.ljust(200, b"\0") + packed)
    (image,) = select(tmp_path).images
    assert np.asarray(image.open())[0, :, 0].tolist() == [0, 255, 128, 0]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_without_black_and_white_are_refused_by_name(kind: type, tmp_path: Path) -> None:
    written(tmp_path / "a.png", np.zeros((4, 4), dtype=np.uint8))
    path = written(tmp_path / "b.tif", GREY.astype(kind))
    selection = select(tmp_path)
    assert names(selection) == ["a.png"]
    ((name, reason),) = selection.unreadable
    assert name == "b.tif"
    assert "numbers, whose black and white are not known; save it with 8 or 16 bits" in reason
    for source in ([path], [Image.open(path)], path):
        with pytest.raises(UsageError, match="whose black and white are not known"):
            select(source)


def test_modes_keep_their_colours(tmp_path: Path) -> None:
    """Against values written out: what transparency hides shows its own colour, as is published."""
    red = (255, 0, 0)
    palette = Image.new("P", (2, 1))
    palette.putpalette([*red, 0, 0, 255])
    palette.putdata([0, 1])
    palette.save(tmp_path / "palette.png", transparency=0)
    Image.new("RGBA", (1, 1), (*red, 0)).save(tmp_path / "alpha.png")
    Image.new("LA", (1, 1), (200, 0)).save(tmp_path / "grey.png")
    Image.new("1", (1, 1), 1).save(tmp_path / "bit.png")
    Image.new("CMYK", (1, 1), (0, 255, 255, 0)).save(tmp_path / "cmyk.tif")
    assert {
        image.name: np.asarray(image.open())[0].tolist() for image in select(tmp_path).images
    } == {
        "palette.png": [list(red), [0, 0, 255]],
        "alpha.png": [list(red)],
        "grey.png": [[200] * 3],
        "bit.png": [[255] * 3],
        "cmyk.tif": [list(red)],
    }


def test_orientation_tags_are_left_alone(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6  # lies on its side
    Image.new("RGB", (8, 4)).save(tmp_path / "x.jpg", exif=tags)
    assert select(tmp_path).images[0].open().size == (8, 4)


def test_of_several_images_in_a_file_the_first_is_used_and_that_is_said(tmp_path: Path) -> None:
    shades = [Image.new("RGB", (4, 4), (shade,) * 3) for shade in (40, 200)]
    for suffix in ("gif", "tif", "mpo", "png", "webp"):
        options = {"lossless": True} if suffix == "webp" else {}
        shades[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=shades[1:], **options)
    shades[0].save(tmp_path / "one.gif")
    selection = select(tmp_path, order="sequential")
    assert len(selection) == 6
    assert all(np.asarray(image.open()).mean() == 40 for image in selection.images)
    said = "holds several images; the first is used"
    assert selection.remarks == tuple(
        (f"x.{suffix}", said) for suffix in ("gif", "mpo", "png", "tif", "webp")
    )
    assert selection.record()["remarks"][0] == ["x.gif", said]


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        *(("gif", "GIF"), ("GIF", "GIF"), ("jfif", "JPEG"), ("jpe", "JPEG"), ("JPEG", "JPEG")),
        *(("pgm", "PPM"), ("pbm", "PPM"), ("pnm", "PPM"), ("jp2", "JPEG2000"), ("Tiff", "TIFF")),
    ],
)
def test_formats_that_people_have(suffix: str, kind: str, tmp_path: Path) -> None:
    Image.new("1" if suffix == "pbm" else "L", (8, 8)).save(tmp_path / f"x.{suffix}", kind)
    assert names(select(tmp_path)) == [f"x.{suffix}"]


def test_what_is_no_image_is_named_and_counted(image_folder: Path) -> None:
    for name in ("notes.txt", "ant/0", "ant/0.xml", "bee/.DS_Store", "Thumbs.db", "x.psd"):
        (image_folder / name).write_bytes(b"x")
    (image_folder / "cat" / "gone.png").symlink_to(image_folder / "nowhere")
    selection = select(image_folder)
    assert len(selection) == 12
    assert [name for name, _ in selection.left_out] == [
        *("cat/gone.png", "ant/0", "ant/0.xml", "notes.txt", "x.psd"),
    ]
    assert selection.unreadable == ()
    assert selection.record()["left_out"]["count"] == 5
    shutil.rmtree(image_folder / "ant")
    for path in image_folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(UsageError, match=r"no images in the folder .*; left out: notes.txt \(its"):
        select(image_folder)


def test_pictures_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    """338 bytes that become 16,640,000 x 256 pixels when the short side is resized first."""
    Image.new("RGB", (1, 65_000)).save(tmp_path / "narrow.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    selection = select(tmp_path)
    assert names(selection) == ["narrow.png"]
    assert selection.unreadable[0][0] == "bomb.png"
    view = partial(evaluation_view, preprocessing=Preprocessing())
    with pytest.raises(
        ErfToolsError, match=r"narrow\.png \(65000x1 pixels\).*16640000x256 pixels are too many"
    ):
        list(decode(selection.images, view))
    # Warped, it is small.
    (pixels,) = decode(selection.images, partial(warped, size=(8, 8)))
    assert pixels.shape == (8, 8, 3)


def overwritten(path: Path) -> None:
    Image.new("RGB", (9, 9)).save(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (overwritten, r"^ant/0\.png was changed after the images were chosen"),
        (cut, r"^ant/0\.png was changed after the images were chosen"),
        (Path.unlink, r"^ant/0\.png can no longer be read: No such file"),
        (pipe, r"^ant/0\.png can no longer be read: not a regular file"),
    ],
)
def test_the_bytes_that_are_decoded_are_those_of_the_digest(
    change: Callable[[Path], None], message: str, image_folder: Path
) -> None:
    images = select(image_folder, 2, "sequential").images
    change(image_folder / "ant" / "0.png")
    for decoded in (decode(images, partial(warped, size=(8, 8))), map(SourceImage.open, images)):
        with pytest.raises(ErfToolsError, match=message):
            list(decoded)


def test_images_in_memory_are_measured_as_they_were_given() -> None:
    picture = Image.new("RGB", (4, 4), "red")
    (image,) = select([picture]).images
    picture.paste("blue", (0, 0, 4, 4))
    assert image.open().getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "--images is empty"),
        ("x" * 5000, "File name too long"),
        ("pipe", "--images pipe is not a regular file"),
        (["pipe"], "the only image, .*pipe, cannot be read: .*not a regular file"),
        ([""], "an image is empty"),
    ],
)
def test_sources_that_cannot_be(
    source: str | list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with pytest.raises(UsageError, match=message):
        select(source)
