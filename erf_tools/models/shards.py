"""Weights in several files, and the index that says which tensor lies in which of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.files import file_sha256

#: How the index of several files is called, and how these are: ``model-00001-of-00003``.
INDEX_SUFFIX = ".index.json"
_SHARD = re.compile(r"(.+)-\d+-of-0*(\d+)\.\w+")

#: An index has a line per tensor; what is larger is none.
_LARGEST_INDEX = 1 << 26


@dataclass(frozen=True)
class Index:
    """The index of weights in several files, as transformers, diffusers and accelerate write it.

    Attributes:
        path: of the index.
        places: the name of the file in which each tensor lies.
    """

    path: Path
    places: Mapping[str, str]

    @property
    def files(self) -> list[Path]:
        """The files of the weights, beside the index, in the order of their names."""
        return [self.path.parent / name for name in sorted(set(self.places.values()))]


def read_index(path: Path) -> Index | None:
    """Read an index, whose files have to lie beside it.

    Args:
        path: a file of weights of any kind.

    Returns:
        ``None`` for a file that is no index.

    Raises:
        ErfToolsError: files are missing, or are said to lie elsewhere.
    """
    if not (places := _places(path)):
        return None
    index = Index(path, places)
    for name in set(places.values()):
        # An index that comes from somewhere must not choose what is read on this machine.
        if name != Path(name).name or name in ("", ".", ".."):
            raise ErfToolsError(
                f"{path} names {name!r}, which does not lie beside it; save the weights again"
            )
    if missing := [file.name for file in index.files if not file.is_file()]:
        raise ErfToolsError(
            f"{path} is the index of weights in {len(index.files)} files, of which "
            f"{len(missing)} are not beside it ({missing[0]}"
            f"{', ...' if missing[1:] else ''}); fetch them into {path.parent}"
        )
    return index


def weights_sha256(path: Path) -> str:
    """Return the SHA-256 of a file of weights.

    Of an index it is that of what ``sha256sum`` prints of it and its files, by their names.
    """
    index = read_index(path)
    if index is None:
        return file_sha256(path)
    lines = [f"{file_sha256(file)}  {file.name}\n" for file in (path, *index.files)]
    return sha256("".join(lines).encode()).hexdigest()


def check_whole(path: Path) -> None:
    """Refuse one of several files of weights, which may fit but for a head.

    Raises:
        UsageError: so its name says.
    """
    named = _SHARD.fullmatch(path.name)
    if named and int(named[2]) > 1:
        found = sorted(path.parent.glob(f"*{INDEX_SUFFIX}"))
        index = found[0].name if len(found) == 1 else f"*{INDEX_SUFFIX}"
        raise UsageError(
            f"--weights {path} is one of {int(named[2])} files of weights; give the index of all "
            f"of them, {index}"
        )


def _places(path: Path) -> dict[str, str]:
    """Return where an index says that each tensor lies; nothing for another file."""
    if path.stat().st_size > _LARGEST_INDEX:
        return {}
    with path.open("rb") as stream:
        if stream.read(64).lstrip()[:1] != b"{":
            return {}
    try:
        found: Any = json.loads(path.read_bytes())["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    places = dict(found) if isinstance(found, Mapping) else {}
    return places if all(isinstance(name, str) for name in places.values()) else {}
