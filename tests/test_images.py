"""Image sources: which images are taken, and what happens to bad ones."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from erf_tools.errors import UsageError
from erf_tools.images import BUILTIN, PixelStore, SourceImage, ahead, decode, select, warped


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
    with pytest.raises(UsageError, match=r"none of the 1 images .* bad\.jpg"):
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
