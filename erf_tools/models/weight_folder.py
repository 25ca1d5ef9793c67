"""The folder of weight files, and its index: the digest of each file as it was first seen.

Published names carry eight digits of a digest, or none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from erf_tools.downloads import cache_folder
from erf_tools.errors import ErfToolsError
from erf_tools.files import write_json

#: The name of the index; locks lie beside it and beside files that are fetched.
INDEX, LOCK = "index.json", ".lock"


def weights_folder() -> Path:
    """Return the folder where weight files are looked for.

    It is ``weights`` in :func:`erf_tools.downloads.cache_folder`.
    """
    return cache_folder() / "weights"


def first_seen() -> dict[str, Any]:
    """Return the address and the digest (``sha256``) of each file as it was first seen."""
    try:
        index = json.loads((weights_folder() / INDEX).read_text(encoding="utf-8"))
        return index if isinstance(index, dict) else {}
    except (OSError, ValueError):
        return {}  # digests are then those of the files as they are seen next


def check_first_seen(name: str, address: str, digest: str) -> None:
    """Note a file's digest on first sight; later ones have to be the same.

    Raises:
        ErfToolsError: the file is not the one first seen.
    """
    known = first_seen().get(name)
    if known is None:
        try:
            with changed_index() as index:
                known = index.setdefault(name, {"address": address, "sha256": digest})
        except OSError:  # a shared cache that is kept by somebody else
            return
    if known["sha256"] != digest:
        raise ErfToolsError(
            f"{weights_folder() / name} is not the file first seen (its SHA-256 was "
            f"{known['sha256'][:8]}... and is {digest[:8]}...); {to_remove(name)}"
        )


def to_remove(name: str) -> str:
    """Return what is to be done with a file that is not what it should be."""
    return f"remove it with `erf-tools weights remove {name}` to have it fetched"


@contextmanager
def changed_index() -> Iterator[dict[str, Any]]:
    """Give the index to change, alone among processes; written when the block succeeds."""
    folder = weights_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{INDEX}{LOCK}"):
        index = first_seen()
        before = json.dumps(index)
        yield index
        if json.dumps(index) != before:
            write_json(folder / INDEX, index)
