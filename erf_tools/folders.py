"""Files: which of a folder there are, and reading them within bounds. One rule for all input.

Hidden entries and those that systems leave behind are not there. Links are followed, but no folder
is searched twice, so that loops end. Only regular files are read: a pipe waits for ever, a device
has no end. Whatever else is left out is named, with its reason.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from erf_tools.errors import UsageError
from erf_tools.text import first_line

#: Larger files are not read: no photograph and no table is.
MOST_BYTES = 2**29

#: What macOS, Windows and storage systems put into folders, in lower case.
_SYSTEM = frozenset(
    {
        *("__macosx", "icon\r"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
        *("@eadir", "#recycle", "lost+found"),
    }
)

#: A name, and why it is left out or what has to be known of it.
Remark = tuple[str, str]


@dataclass(frozen=True)
class Found:
    """The files of a folder.

    Attributes:
        files: names relative to the folder, with ``/``, and where they are; sorted folder by
            folder.
        left_out: names of what is there but cannot be used, with the reason, in the same order.
    """

    files: tuple[tuple[str, Path], ...]
    left_out: tuple[Remark, ...] = ()


def find_files(folder: Path, nested: bool = True) -> Found:
    """Return the regular files of a folder.

    Args:
        folder: where to look. It may be hidden itself.
        nested: look into its folders too; else they are left out.

    Raises:
        UsageError: the folder cannot be searched.
    """
    files: list[tuple[str, Path]] = []
    left_out: list[Remark] = []
    searched: dict[tuple[int, int], str] = {}
    waiting = deque([("", folder)])
    while waiting:
        name, place = waiting.popleft()
        try:
            status = place.stat()
            if stat.S_ISREG(status.st_mode):  # behind a link
                files.append((name, place))
                continue
            if not stat.S_ISDIR(status.st_mode):
                left_out.append((name, "not a regular file"))
                continue
            if name and not nested:
                left_out.append((name, "a folder"))
                continue
            same = searched.setdefault((status.st_dev, status.st_ino), name)
            if same != name:
                left_out.append((name, f"the same folder as {same or folder}"))
                continue
            with os.scandir(place) as entries:
                inside = sorted(
                    (entry for entry in entries if not is_hidden(entry.name)),
                    key=lambda entry: entry.name,
                )
        except OSError as error:
            if not name:
                raise UsageError(
                    f"the folder {folder} cannot be searched: {why_unreadable(error)}"
                ) from error
            broken = isinstance(error, FileNotFoundError) and place.is_symlink()
            left_out.append((name, "a broken link" if broken else why_unreadable(error)))
            continue
        for entry in inside:
            found = f"{name}/{shown(entry.name)}".lstrip("/"), place / entry.name
            if entry.is_file(follow_symlinks=False):
                files.append(found)
            elif entry.is_symlink():  # last, so that a folder goes by its own name
                waiting.append(found)
            else:
                waiting.appendleft(found)
    files.sort(key=lambda file: file[0].split("/"))
    left_out.sort(key=lambda entry: entry[0].split("/"))
    return Found(tuple(files), tuple(left_out))


def is_hidden(entry: str) -> bool:
    """Tell whether an entry of a folder is one that no user has put there."""
    return entry.startswith(".") or entry.lower() in _SYSTEM


def shown(name: str) -> str:
    """Return a file's name as text, with escapes for bytes that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def given_path(path: str | Path, option: str) -> Path:
    """Return the path that a user names, which need not exist.

    Raises:
        UsageError: it is empty, names an unknown user's folder, or cannot be looked at.
    """
    if not str(path).strip():
        raise UsageError(f"{option} is empty; give a path, or . for the current folder")
    try:
        found = Path(path).expanduser()
        found.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, a NUL
        raise UsageError(f"{option} {shown(str(path))[:100]}: {why_unreadable(error)}") from error
    return found


def read_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: the file.
        most: how many bytes it may have.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger.
    """
    _check_regular(path.stat(), most)
    # Where a pipe has come in its place, opening it does not wait.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as stream:
        _check_regular(os.fstat(stream.fileno()), most)
        return stream.read(most)


def _check_regular(status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"{status.st_size} bytes; at most {most} are read")


def why_unreadable(error: Exception) -> str:
    """Return in a few words why something could not be read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # Pillow names its in-memory buffer, which tells the user nothing.
    return first_line(error).partition(" <_io")[0]
