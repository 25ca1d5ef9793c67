"""Files: one writer a folder, whole or not at all; digests, JSON, archives without pickle."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from erf_tools.errors import ErfToolsError, OutputError, UsageError
from erf_tools.failures import reason
from erf_tools.folders import read_file

#: How the names of files begin that are still being written.
PARTIAL = ".partial-"

_RECORD = "record"

#: Bytes that an archive may unpack to: so many, or so many times those of the file.
_UNPACKED, _RATIO = 2**30, 20


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make an output folder, see that it can be written, and keep other processes out of it.

    Raises:
        OutputError: it cannot be written.
        ErfToolsError: another process is at work in it.
    """
    lock_file = folder / ".lock"
    lock = FileLock(lock_file)
    try:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout as error:
        raise ErfToolsError(
            f"another erf-tools is at work in {folder}; wait for its end, or name another folder "
            "with --output"
        ) from error
    try:
        with _writing(folder):
            tempfile.TemporaryFile(dir=folder).close()
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            lock_file.unlink()  # while it is held: who waits for it sees that it is gone
        lock.release()


def remove_partial_files(folders: Iterable[Path]) -> None:
    """Remove what writers that were killed have left in folders; nobody else may be at work."""
    for folder in folders:
        for file in folder.glob(f"{PARTIAL}*"):
            remove(file)


def remove(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        OutputError: it cannot be removed.
    """
    with _writing(path):
        path.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, Timeout):  # it is an OSError as well
            raise
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; choose another --output folder"
        ) from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """Return JSON that is equal for equal values: sorted keys, no NaN, tuples as lists."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place when the block succeeds.

    A reader never sees half a file, and a failed write leaves the earlier file as it was. A link
    stays, and what it leads to is written.

    Raises:
        OutputError: the folder cannot be made or written, or there is a device or a folder.
    """
    with _writing(path):
        path = _replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last: writers choose their format by it.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL, suffix=path.suffix)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes private files; results are as readable as the user's other files.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """See beforehand that a file can be written.

    Raises:
        OutputError: it cannot.
    """
    with _writing(path):
        target = _replaceable(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=target.parent).close()


def _replaceable(path: Path) -> Path:
    """Return what a path leads to, through links: a regular file, or nothing yet."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if target.is_dir():
        raise OSError(errno.EISDIR, "it is a folder")
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    return target


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; bytes of file names that are no UTF-8 become escapes."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically; NaN becomes ``null``."""
    write_text(path, json.dumps(without_nan(value), indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UsageError: the file is missing, or holds something else.
    """
    try:
        found = json.loads(read_file(path))
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a JSON file, or is damaged ({reason(error)})") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not what erf-tools writes there; remove it")
    return found


def without_nan(value: Any) -> Any:
    """Return JSON values with ``None`` in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value


def write_archive(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    record: Mapping[str, Any],
    compressed: bool = True,
) -> None:
    """Write arrays and a JSON record into one ``.npz``, atomically and without pickle."""
    save = np.savez_compressed if compressed else np.savez
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        contents: dict[str, Any] = {_RECORD: np.array(canonical_json(record)), **arrays}
        save(stream, **contents)


def read_archive(
    path: Path, beginning: str | None = ""
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what :func:`write_archive` wrote.

    Args:
        path: the file.
        beginning: of the names of the arrays to read: all of them by default, ``None`` of them.

    Raises:
        UsageError: the file is missing, is not such an archive, or unpacks to far more than it is.
    """
    with understood(path):
        _check_size(path)
        with np.load(path, allow_pickle=False) as archive:
            names = set(archive.files) - {_RECORD}
            record = json.loads(str(archive[_RECORD]))
            arrays = {
                name: archive[name]
                for name in names
                if beginning is not None and name.startswith(beginning)
            }
        if not isinstance(record, dict):
            raise ValueError("its record is none")
    return arrays, record


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn what is raised by files that are not what they should be into one sentence.

    Raises:
        UsageError: instead of what zip, zlib, JSON, NumPy and missing keys raise.
    """
    try:
        yield
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except Exception as error:
        raise UsageError(
            f"{path} is not a result of erf-tools, or is damaged ({reason(error)})"
        ) from error


def _check_size(path: Path) -> None:
    """Refuse an archive before it is unpacked, if that would take far more room than the file.

    What it says of its members is what can be read of them at most.
    """
    if not path.is_file():
        raise FileNotFoundError(path) if not path.exists() else ValueError("it is no file")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(_UNPACKED, _RATIO * path.stat().st_size):
        raise ValueError(f"it would unpack to {unpacked / 2**30:.1f} GiB")
