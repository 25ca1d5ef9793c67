"""Weight files on this machine: fetched beforehand, listed, verified, removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.files import file_sha256
from erf_tools.models.catalogue import ENTRIES
from erf_tools.models.names import source_of
from erf_tools.models.requests import Request
from erf_tools.models.weight_folder import (
    INDEX,
    LOCK,
    changed_index,
    check_first_seen,
    first_seen,
    weights_folder,
)


def prefetch(wanted: Sequence[Request], progress: bool = False) -> None:
    """Fetch the weights that models need, before anything heavy is loaded.

    Args:
        wanted: models and weights, as given on the command line.
        progress: show progress bars.

    Raises:
        ErfToolsError: nothing is left to measure; the first failure. Otherwise a model whose
            weights cannot be fetched fails when its turn comes, and the others are measured.
    """
    failures: list[ErfToolsError] = []
    for request in wanted:
        try:
            if source := source_of(request.model, request.weights):
                source.prefetch(request.model, progress)
        except ErfToolsError as error:
            failures.append(error)
    if failures and len(failures) == len(wanted):
        raise failures[0]


@dataclass(frozen=True)
class WeightFile:
    """One file of the cache.

    Attributes:
        path: where it lies.
        size: in bytes.
        models: names of the catalogue that it is of; empty for addresses of the user's.
        address: where it came from; empty for one put there by hand.
        sha256: as first seen; empty if it was not verified yet.
    """

    path: Path
    size: int
    models: tuple[str, ...]
    address: str
    sha256: str


def cached_files() -> list[WeightFile]:
    """Return the files of the cache, by name."""
    index, found = first_seen(), {name: entry.weights.find() for name, entry in ENTRIES.items()}
    files = []
    for path in sorted(weights_folder().glob("[!.]*")):
        if not path.is_file() or path.name == INDEX or path.suffix == LOCK:
            continue
        models = tuple(name for name, place in found.items() if place == path)
        known = index.get(path.name, {})
        address = known.get("address", "")
        sha256_seen = known.get("sha256", "")
        files.append(WeightFile(path, path.stat().st_size, models, address, sha256_seen))
    return files


def verify(file: WeightFile) -> str:
    """Check a file against its published digest and the one first seen; return its digest.

    Raises:
        ErfToolsError: it is another.
    """
    digest = file_sha256(file.path)
    for name in file.models:
        ENTRIES[name].weights.check(digest)
    check_first_seen(file.path.name, file.address, digest)
    return digest


def find_file(name: str) -> WeightFile:
    """Return a file of the cache by its own name or by a model's.

    Raises:
        UsageError: there is none.
    """
    for file in cached_files():
        if name == file.path.name or name in file.models:
            return file
    raise UsageError(f"there is no weight file of {name!r} in {weights_folder()}")


def remove(file: WeightFile) -> None:
    """Delete a file and what the index knows of it."""
    with changed_index() as index:
        index.pop(file.path.name, None)
    file.path.unlink()
