"""Files: digests, atomic writing, JSON, and archives without pickle."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from erf_tools.errors import OutputError, UsageError

#: How the names of files begin that are still being written.
PARTIAL = ".partial-"

_RECORD = "record"


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

    A reader never sees half a file, and a failed write leaves the earlier file as it was.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    try:
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
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; choose another --output folder"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically; NaN becomes ``null``."""
    write_text(path, json.dumps(without_nan(value), indent=2) + "\n")


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
    path: Path, wanted: Sequence[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what :func:`write_archive` wrote.

    Args:
        path: the file.
        wanted: names of the arrays to read; all of them by default.

    Raises:
        UsageError: the file is missing or is not such an archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = set(archive.files) - {_RECORD}
            record = json.loads(str(archive[_RECORD]))
            arrays = {name: archive[name] for name in (names if wanted is None else wanted)}
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except Exception as error:  # zip, zlib, json and numpy each have their own
        raise UsageError(f"{path} is not a result of erf-tools, or is damaged ({error})") from error
    return arrays, record
