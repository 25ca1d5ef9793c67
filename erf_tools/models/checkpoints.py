"""Reading weight files safely: whatever form they have, nothing in them is run.

What a file is, is told by its content, not by its name. State dicts are looked for in whatever lies
around them; :mod:`erf_tools.models.fitting` chooses the one that fits.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.files import file_sha256
from erf_tools.text import first_line

#: Tensors by name, and what modules keep as extra state.
StateDict = dict[str, Any]

#: Names under which training scripts keep weights, in the order in which they are preferred.
_WRAPPERS = (
    *("model", "state_dict", "model_state_dict", "model_state", "net", "network"),
    *("module", "weights", "params", "student", "backbone", "encoder"),
)
#: A part of a name that tells averaged weights: published accuracies are of them.
_AVERAGED = {"ema", "teacher", "shadow", "averaged", "swa"}
#: Counters that averaging leaves among the weights, and what profilers leave.
_COUNTERS = re.compile(r"(steps|n_averaged|(.*\.)?total_(ops|params))")
#: Names that wrappers of torch put into the middle of others.
_WRAPPED = re.compile(r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

_DEEPEST, _MOST = 8, 10_000  # mappings inside one another, and in all

_UNPACK = "unpack it and give the file in it"
#: How files begin that are no weights, or are packed: where, with what, and what to say of them.
_FOREIGN = (
    (0, b"version https://git-lfs", "is a Git LFS pointer; fetch the file with `git lfs pull`"),
    (0, b"\x1f\x8b\x08", f"is compressed with gzip; {_UNPACK}"),
    (0, b"BZh", f"is compressed with bzip2; {_UNPACK}"),
    (0, b"\xfd7zXZ", f"is compressed with xz; {_UNPACK}"),
    (0, b"\x28\xb5\x2f\xfd", f"is compressed with zstd; {_UNPACK}"),
    (0, b"7z\xbc\xaf", f"is a 7z archive; {_UNPACK}"),
    (257, b"ustar", f"is a tar archive; {_UNPACK}"),
    (0, b"\x89HDF", "is an HDF5 file, as Keras writes; convert it to PyTorch's names first"),
    (0, b"\x93NUMPY", "is a NumPy array; save a state dict with torch.save"),
    (0, b"<", "is a web page or XML, not weights; download the file itself"),
)


@dataclass(frozen=True)
class StoredState:
    """A state dict in a file.

    Attributes:
        keys: under which it lies; none for the file's own.
        state: the tensors by name.
    """

    keys: tuple[str, ...]
    state: StateDict

    @property
    def name(self) -> str:
        """The keys in a word; empty for the file's own."""
        return ".".join(self.keys)

    @property
    def rank(self) -> tuple[bool, list[int]]:
        """Order of preference: averaged weights, then known names, then others."""
        places = {name: place for place, name in enumerate(_WRAPPERS)}
        averaged = any(is_averaged(key) for key in self.keys)
        return not averaged, [places.get(key, len(places)) for key in self.keys]


@dataclass(frozen=True)
class Checkpoint:
    """What a weight file holds.

    Attributes:
        path: the file.
        sha256: of its bytes.
        parts: the state dicts in it, the preferred first; at least one.
        dictionaries: the names of all that holds tensors or dictionaries.
    """

    path: Path
    sha256: str
    parts: tuple[StoredState, ...]
    dictionaries: tuple[str, ...]


def is_averaged(name: str) -> bool:
    """Tell whether a name is one of averaged weights."""
    return not _AVERAGED.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def read_checkpoint(path: Path, check: Callable[[str], None] = lambda digest: None) -> Checkpoint:
    """Read a safetensors file or a PyTorch file, whatever its name.

    PyTorch files are read with ``weights_only=True``: nothing in them is executed.

    Args:
        path: the file.
        check: called with the SHA-256 of the file before its content is read; raises if it is not
            the right one.

    Raises:
        UsageError: there is no such file.
        ErfToolsError: it cannot be read, is damaged, or holds no state dict.
    """
    _check_file(path)
    before = path.stat()
    digest = file_sha256(path)
    check(digest)
    content = _read(path)
    after = path.stat()
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise ErfToolsError(f"{path} was changed while it was read; run again")
    parts, dictionaries, stray = _parts(content)
    if not parts:
        if stray:
            raise ErfToolsError(f"{path} holds no state dict: {stray!r} is not a tensor")
        raise ErfToolsError(f"{path} holds no state dict; {_what(content, dictionaries)}")
    return Checkpoint(path, digest, tuple(parts), tuple(dictionaries))


def read_state_dict(path: Path) -> StateDict:
    """Return the preferred state dict of a file; see :func:`read_checkpoint`."""
    return read_checkpoint(path).parts[0].state


def _check_file(path: Path) -> None:
    if path.is_dir():
        found = sorted(
            p.name for p in path.iterdir() if p.suffix in (".pth", ".pt", ".safetensors")
        )
        inside = f"; give a file in it ({', '.join(found[:3])})" if found else "; give a file"
        raise UsageError(f"--weights {path} is a folder{inside}")
    if not path.exists():
        raise UsageError(
            f"--weights {path}: there is no such file; give a file, pretrained or random"
        )
    if not path.is_file():
        raise UsageError(f"--weights {path} is no regular file; give a file")


def _read(path: Path) -> Any:
    with path.open("rb") as stream:
        start = stream.read(512)
    if not start:
        raise ErfToolsError(f"{path} is empty; fetch or save it again")
    try:
        if start[8:9] == b"{":  # behind the length of the header
            from safetensors.torch import load_file

            return load_file(path)
        if said := _foreign(path, start):
            raise ErfToolsError(f"{path} {said}")
        if start.startswith(b"PK"):
            _check_archive(path)
        # Given a name, torch.load would judge by that.
        with torch.serialization.safe_globals(_HARMLESS), path.open("rb") as stream:
            return torch.load(stream, map_location="cpu", weights_only=True)
    except ErfToolsError:
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise ErfToolsError(
            f"{path} holds more than tensors{f' ({named[1]})' if named else ''}, or is no PyTorch "
            "file, and is not read, because unpickling can run code; save the state dict alone, "
            "with torch.save or safetensors"
        ) from error
    except Exception as error:  # zip, struct, safetensors and torch each have their own
        raise ErfToolsError(
            f"{path} cannot be read as weights ({first_line(error)}); it is cut off, damaged or of "
            "another kind"
        ) from error


def _foreign(path: Path, start: bytes) -> str:
    """Return what is to be said of a file that holds no weights; empty if it may."""
    for offset, mark, said in _FOREIGN:
        if start[offset:].lstrip(b"\xef\xbb\xbf \r\n\t").startswith(mark):
            return said
    if start[:1] not in (b"{", b"["):
        return ""
    shards: set[str] = set()
    if path.stat().st_size < 1 << 26:
        try:
            shards = set(json.loads(path.read_bytes())["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            shards = set()
    if shards:
        return (
            f"is the index of weights in {len(shards)} files; join these into one with "
            "safetensors.torch.load_file and save_file"
        )
    return "is JSON, not weights; give the file of the weights"


def _check_archive(path: Path) -> None:
    """Refuse zip files that are damaged, or hold something other than what torch.save writes.

    Raises:
        ErfToolsError: so it is.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if any("/code/" in name or name.endswith("constants.pkl") for name in names):
                raise ErfToolsError(
                    f"{path} is a TorchScript archive, which holds code; save the state dict of "
                    "the network from which it was made"
                )
            if any("archive_format" in name or name.startswith("models/") for name in names):
                raise ErfToolsError(
                    f"{path} is a torch.export program; save the state dict of the network that "
                    "was exported"
                )
            if not any(name.endswith("data.pkl") for name in names):
                kind = "NumPy" if all(name.endswith(".npy") for name in names) else "zip"
                raise ErfToolsError(f"{path} is a {kind} archive, not weights of torch.save")
            # Those of torch.save are not compressed; a bomb is.
            if sum(member.file_size for member in members) > path.stat().st_size:
                raise ErfToolsError(f"{path} was compressed after torch.save wrote it; {_UNPACK}")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ErfToolsError(
            f"{path} is cut off or damaged ({error}); fetch or save it again"
        ) from error
    if damaged:
        raise ErfToolsError(
            f"{path} is damaged: the checksum of {damaged} is wrong; fetch or save it again"
        )


def _parts(content: Any) -> tuple[list[StoredState], list[str], str]:
    """Return the state dicts in a file's content, what holds dictionaries, and what is no tensor.

    The content may be of any depth, and may contain itself.
    """
    parts: list[StoredState] = []
    dictionaries: list[str] = []
    stray = ""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST:
        keys, found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        if keys:
            dictionaries.append(".".join(keys))
        state = {
            str(key): value.tensor() if isinstance(value, _Array) else value
            for key, value in _items(found)
            if not _COUNTERS.fullmatch(str(key))
        }
        others = [
            key
            for key, value in state.items()
            if not isinstance(value, Tensor) and not key.endswith("_extra_state")
        ]
        if state and not others and isinstance(found, Mapping):
            parts.append(StoredState(keys, _unwrapped(state)))
            continue
        if len(others) < len(state) and not stray and isinstance(found, Mapping):
            stray = others[0]
        if len(keys) < _DEEPEST:
            waiting += [
                ((*keys, key), value)
                for key, value in state.items()
                if isinstance(value, (Mapping, list, tuple)) and len(value)
            ]
    return sorted(parts, key=lambda part: part.rank), dictionaries, stray


def _items(found: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(found, Mapping):
        yield from found.items()
    elif isinstance(found, (list, tuple)):
        yield from enumerate(found[:16])  # longer ones are histories


def _unwrapped(state: StateDict) -> StateDict:
    """Take out of names what torch's wrappers of modules put there."""
    state = {_WRAPPED.sub("", key): value for key, value in state.items()}
    while all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _what(content: Any, dictionaries: list[str]) -> str:
    if not isinstance(content, (Mapping, list, tuple)):
        return f"it is a {type(content).__name__}; save a state dict with torch.save"
    listed = ", ".join(dictionaries[:8]) or "none"
    return f"its keys that hold dictionaries or lists are: {listed}; save one with torch.save"


class _NumberType:
    """Stands for ``numpy.dtype`` in files, whose own unpickling changes NumPy's types."""

    def __init__(self, name: str, *_flags: Any) -> None:
        if not re.fullmatch(r"[biufc]\d{1,2}|bool", str(name)):
            raise ErfToolsError(f"it holds NumPy values of the type {str(name)[:20]!r}")
        self.name = str(name)
        self.order: Literal[">", "="] = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "="

    def read(self, data: Any) -> np.ndarray:
        """Return the values in ``data``, in this machine's order of bytes."""
        raw = data.encode("latin-1") if isinstance(data, str) else bytes(data)
        own = np.dtype(self.name)
        return np.frombuffer(raw, own.newbyteorder(self.order)).astype(own)


class _Array:
    """Stands for ``numpy.ndarray`` in files: numbers only, and as many as there are."""

    def __init__(self, *_arguments: Any) -> None:
        self._values = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, fortran, data = state
        self._values = kind.read(data).reshape(shape, order="F" if fortran else "C")

    def tensor(self) -> Tensor:
        """Return the array as a tensor."""
        return torch.from_numpy(np.ascontiguousarray(self._values))


def _scalar(kind: _NumberType, data: Any) -> Any:
    return kind.read(data)[0].item()


#: What training scripts put beside weights and what does nothing, and our own in place of NumPy's.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    *((pathlib.PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    (_NumberType, "numpy.dtype"),
    (_Array, "numpy.ndarray"),
    *(
        (stand_in, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, stand_in in (("scalar", _scalar), ("_reconstruct", _Array))
    ),
]
