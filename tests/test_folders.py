"""Which files of a folder there are: hidden entries, links, loops, and what is no file at all."""

from __future__ import annotations

import os
import socket
from itertools import pairwise
from pathlib import Path

import pytest

from erf_tools.errors import UsageError
from erf_tools.folders import find_files, given_path, read_file


def names(folder: Path, nested: bool = True) -> list[str]:
    return [name for name, _ in find_files(folder, nested).files]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.mark.parametrize(
    "entry",
    [
        *(".DS_Store", "._x.png", ".ipynb_checkpoints/x.png", "__MACOSX/._x.png", "Icon\r"),
        *("Thumbs.db", "THUMBS.DB", "ehthumbs.db", "desktop.ini", "Desktop.ini"),
        *("$RECYCLE.BIN/x.png", "System Volume Information/x.png", "lost+found/x.png"),
        *("@eaDir/x.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/x.png"),
    ],
)
def test_hidden_and_system_entries_are_not_there(entry: str, tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x.png", tmp_path / entry, tmp_path / "a" / entry)
    found = find_files(tmp_path)
    assert [name for name, _ in found.files] == ["a/x.png"]
    assert found.left_out == ()


def test_a_hidden_folder_that_is_asked_for_is_searched(tmp_path: Path) -> None:
    touch(tmp_path / ".cache" / "x.png")
    assert names(tmp_path / ".cache") == ["x.png"]


def test_files_are_sorted_as_paths_are(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a/2", "a-b/1", "a/1", "B/3", "a.c/1", "b")]
    touch(*paths)
    assert [path for _, path in find_files(tmp_path).files] == sorted(paths)


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(root / "real" / "1.png", elsewhere / "2.png", elsewhere / "deep" / "3.png")
    (root / "class").symlink_to(elsewhere)
    (root / "4.png").symlink_to(elsewhere / "2.png")
    (root / "real" / "up").symlink_to(root)
    (elsewhere / "deep" / "back").symlink_to(elsewhere)
    (root / "a_second_name").symlink_to(root / "real")
    found = find_files(root)
    assert [name for name, _ in found.files] == [
        "4.png",
        "class/2.png",
        "class/deep/3.png",
        "real/1.png",
    ]
    assert found.left_out == (
        ("a_second_name", "the same folder as real"),
        ("class/deep/back", "the same folder as class"),
        ("real/up", f"the same folder as {root}"),
    )


def test_doubling_links_end(tmp_path: Path) -> None:
    """Each of forty folders has two links to the next: 2 ** 40 paths, and 41 folders."""
    folders = [tmp_path / f"{number}" for number in range(41)]
    for folder, following in pairwise(folders):
        folder.mkdir()
        (folder / "a").symlink_to(following)
        (folder / "b").symlink_to(following)
    touch(folders[-1] / "x.png")
    assert len(names(folders[0])) == 1


def test_folders_deeper_than_paths_can_be(tmp_path: Path) -> None:
    inside = os.open(tmp_path, os.O_RDONLY)
    for _ in range(25):  # 5,000 characters: more than a path may have
        os.mkdir("a" * 200, dir_fd=inside)
        deeper = os.open("a" * 200, os.O_RDONLY, dir_fd=inside)
        os.close(inside)
        inside = deeper
    os.close(inside)
    found = find_files(tmp_path)
    assert found.files == ()
    assert [why for _, why in found.left_out] == ["File name too long"]


def test_what_is_no_file_is_named_and_never_opened(tmp_path: Path) -> None:
    touch(tmp_path / "1.png", tmp_path / "2.png" / "inside.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.png"))
        found = find_files(tmp_path)
    assert [name for name, _ in found.files] == ["1.png", "2.png/inside.png"]
    assert dict(found.left_out) == {
        "gone.png": "a broken link",
        "pipe.png": "not a regular file",
        "self.png": "Too many levels of symbolic links",
        "socket.png": "not a regular file",
        "zero.png": "not a regular file",
    }


@pytest.mark.parametrize("name", ["pipe", "zero", "folder", "large"])
def test_only_regular_files_within_bounds_are_read(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(2**40)  # takes no room
    with pytest.raises(OSError, match=r"not a regular file|1099511627776 bytes; at most"):
        read_file(tmp_path / name)


def test_folders_that_cannot_be_searched_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "open" / "1.png", tmp_path / "closed" / "2.png")
    scan = os.scandir

    def closed(place: Path) -> object:
        if Path(place).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(place)

    monkeypatch.setattr(os, "scandir", closed)
    found = find_files(tmp_path)
    assert [name for name, _ in found.files] == ["open/1.png"]
    assert found.left_out == (("closed", "Permission denied"),)
    with pytest.raises(UsageError, match="closed cannot be searched: Permission denied"):
        find_files(tmp_path / "closed")


def test_names_that_are_not_utf8_are_shown_with_escapes(tmp_path: Path) -> None:
    (Path(os.fsdecode(bytes(tmp_path) + b"/\xe4.png"))).write_bytes(b"x")
    ((name, path),) = find_files(tmp_path).files
    assert name == r"\xe4.png"
    assert path.read_bytes() == b"x"


def test_folders_that_are_not_searched_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.csv", tmp_path / "more" / "b.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "more" / "b.csv")
    assert names(tmp_path, nested=False) == ["a.csv", "link.csv"]
    assert find_files(tmp_path, nested=False).left_out == (("more", "a folder"),)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "--images is empty; give a path, or . for the current folder"),
        ("  ", "--images is empty"),
        ("x" * 5000, "--images x+: File name too long"),
        ("~nobody-of-this-name/x", "--images ~nobody-of-this-name/x: "),
    ],
)
def test_paths_that_cannot_be(path: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        given_path(path, "--images")
