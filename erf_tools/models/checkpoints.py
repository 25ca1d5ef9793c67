"""The state dicts in a weight file, whatever lies around them.

They are looked for in what :mod:`erf_tools.models.safe_reading` reads, of one file or of several
with an index; :mod:`erf_tools.models.fitting` chooses the one that fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.models.safe_reading import CONSOLIDATE, StoredArray, read_content
from erf_tools.models.shards import INDEX_SUFFIX, Index, check_whole, read_index, weights_sha256

#: Tensors by name, and what modules keep as extra state.
StateDict = dict[str, Any]

#: Names under which training scripts keep weights, in the order in which they are preferred.
_WRAPPERS = (
    *("model", "state_dict", "model_state_dict", "model_state", "net", "network"),
    *("module", "weights", "params", "student", "backbone", "encoder"),
)
#: A part of a name that tells averaged weights: published accuracies are of them.
_AVERAGED = {"ema", "teacher", "shadow", "average", "averaged", "swa"}
#: That tells them beside names of weights only: optimisers have their own (``exp_avg``).
_AVG = "avg"
_OF_WEIGHTS = {_AVG, *(word for name in _WRAPPERS for word in name.split("_"))}
#: Counters that averaging leaves among the weights, and what profilers leave.
_COUNTERS = re.compile(r"(steps|n_averaged|(.*\.)?total_(ops|params))")
#: Names that wrappers of torch put into the middle of others, and data parallelism before all.
_DATA_PARALLEL = "module."
_WRAPPED = re.compile(r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

_DEEPEST, _MOST = 8, 10_000  # mappings inside one another, and in all

_JOIN = (
    "join it into one file: python -m torch.distributed.checkpoint.format_utils dcp_to_torch "
    "FOLDER FILE"
)
#: What to give of a folder, by what lies in it.
_FOLDERS = {
    f"*{INDEX_SUFFIX}": "give the index in it ({found})",
    "*.distcp": f"written by torch.distributed.checkpoint; {_JOIN}",
    "zero_to_fp32.py": f"written by DeepSpeed; {CONSOLIDATE}",
}
_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".safetensors")


@dataclass(frozen=True)
class StoredState:
    """A state dict in a file.

    Attributes:
        keys: under which it lies; none for the file's own.
        state: the tensors by name.
        wrappers: what wrappers of torch had put into the names, and was taken out.
        others: the same by other names, with wrappers, counters or both as they are stored: a
            network may have parts that are called so.
    """

    keys: tuple[str, ...]
    state: StateDict
    wrappers: tuple[str, ...]
    others: tuple[StateDict, ...]

    @property
    def name(self) -> str:
        """The keys in a word; empty for the file's own."""
        return ".".join(self.keys)

    @property
    def averaged(self) -> bool:
        """Whether a key is one of averaged weights."""
        return any(map(is_averaged, self.keys))

    @property
    def rank(self) -> tuple[bool, list[int]]:
        """Order of preference: averaged weights, then known names, then others."""
        places = {name: place for place, name in enumerate(_WRAPPERS)}
        return not self.averaged, [places.get(key, len(places)) for key in self.keys]


@dataclass(frozen=True)
class Checkpoint:
    """What a weight file holds.

    Attributes:
        path: the file, or the index of several.
        sha256: of its bytes; see :func:`~erf_tools.models.shards.weights_sha256`.
        parts: the state dicts in it, the preferred first; at least one.
        dictionaries: the names of all that holds tensors or dictionaries.
        nameless: those of averaged weights that have no names, and are not used.
    """

    path: Path
    sha256: str
    parts: tuple[StoredState, ...]
    dictionaries: tuple[str, ...]
    nameless: tuple[str, ...] = ()


def is_counter(key: str) -> bool:
    """Tell whether a key is one that averaging and profilers leave among the weights."""
    return _COUNTERS.fullmatch(key) is not None


def is_averaged(name: str) -> bool:
    """Tell whether a name is one of averaged weights."""
    words = set(re.findall(r"[a-z]+", name.lower()))
    return not _AVERAGED.isdisjoint(words) or (_AVG in words and words <= _OF_WEIGHTS)


def read_checkpoint(path: Path, check: Callable[[str], None] = lambda digest: None) -> Checkpoint:
    """Read a safetensors file, a PyTorch file, or the index of several, whatever its name.

    Nothing in them is executed; see :func:`~erf_tools.models.safe_reading.read_content`.

    Args:
        path: the file.
        check: called with the SHA-256 of the file before its content is read; raises if it is not
            the right one.

    Raises:
        UsageError: there is no such file.
        ErfToolsError: it cannot be read, is damaged, or holds no state dict.
    """
    _check_place(path)
    index = read_index(path)
    files = [path, *index.files] if index else [path]
    before = [file.stat() for file in files]
    digest = weights_sha256(path)
    check(digest)
    content = _joined(index) if index else read_content(path)
    for file, was, now in zip(files, before, [file.stat() for file in files], strict=True):
        if (was.st_mtime_ns, was.st_size) != (now.st_mtime_ns, now.st_size):
            raise ErfToolsError(f"{file} was changed while it was read; run again")
    _check_divided(path, content)
    parts, dictionaries, stray = _parts(content)
    if not parts:
        if stray:
            raise ErfToolsError(f"{path} holds no state dict: {stray!r} is not a tensor")
        raise ErfToolsError(f"{path} holds no state dict; {_what(content, dictionaries)}")
    nameless = [name for name in dictionaries if _is_nameless(content, name)]
    return Checkpoint(path, digest, tuple(parts), tuple(dictionaries), tuple(nameless))


def _check_place(path: Path) -> None:
    if path.is_dir():
        for pattern, said in _FOLDERS.items():
            if found := sorted(file.name for file in path.glob(pattern)):
                listed = said.format(found=", ".join(found[:3]))
                raise UsageError(f"--weights {path} is a folder; {listed}")
        found = sorted(file.name for file in path.iterdir() if file.suffix in _SUFFIXES)
        inside = f" in it ({', '.join(found[:3])})" if found else ""
        raise UsageError(f"--weights {path} is a folder; give a file{inside}")
    if not path.exists():
        raise UsageError(
            f"--weights {path}: there is no such file; give a file, pretrained or random"
        )
    if not path.is_file():
        raise UsageError(f"--weights {path} is no regular file; give a file")
    if path.suffix == ".distcp":
        raise UsageError(f"--weights {path} is a part of a checkpoint in a folder; {_JOIN}")
    check_whole(path)


def _joined(index: Index) -> StateDict:
    """Return the tensors of several files.

    Raises:
        ErfToolsError: a file holds others than the index says, as after another saving.
    """
    state: StateDict = {}
    for file in index.files:
        content = read_content(file)
        said = {key for key, name in index.places.items() if name == file.name}
        found = set(content) if isinstance(content, Mapping) else set()
        if said != found:
            raise ErfToolsError(
                f"{file} holds other tensors than {index.path.name} says "
                f"({sorted(map(str, said ^ found))[0]}, for one); fetch or save all files again"
            )
        state |= content
    return state


def _check_divided(path: Path, content: Any) -> None:
    """Refuse what DeepSpeed saves of networks that are divided among processes.

    Raises:
        ErfToolsError: the file holds a part of the network, or none of its values.
    """
    if not isinstance(content, Mapping) or "ds_version" not in content:
        return
    if content.get("mp_world_size", 1) != 1:
        raise ErfToolsError(
            f"{path} holds one of {content['mp_world_size']} parts of a network (DeepSpeed, model "
            "parallelism); gather them, and save one state dict"
        )
    found = content.get("module")
    tensors = list(found.values()) if isinstance(found, Mapping) else []
    if not any(isinstance(value, Tensor) and value.numel() for value in tensors):
        raise ErfToolsError(
            f"{path} holds no values: DeepSpeed (ZeRO) has divided them among files; {CONSOLIDATE}"
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
        stored = {
            str(key): value.tensor() if isinstance(value, StoredArray) else value
            for key, value in _items(found)
        }
        state = {key: value for key, value in stored.items() if not is_counter(key)}
        others = [
            key
            for key, value in state.items()
            if not isinstance(value, Tensor) and not key.endswith("_extra_state")
        ]
        if state and not others and isinstance(found, Mapping):
            parts.append(_part(keys, stored, state))
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


def _part(keys: tuple[str, ...], stored: StateDict, counted_out: StateDict) -> StoredState:
    """Return a state dict, as it is stored, with counters taken out, by all names it may be of."""
    state, wrappers = _unwrapped(counted_out)
    others: dict[frozenset[str], StateDict] = {}
    for other in (counted_out, _unwrapped(stored)[0], stored):
        if other.keys() != state.keys():
            others.setdefault(frozenset(other), other)
    return StoredState(keys, state, wrappers, tuple(others.values()))


def _items(found: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(found, Mapping):
        yield from found.items()
    elif isinstance(found, (list, tuple)):
        yield from enumerate(found[:16])  # longer ones are histories


def _unwrapped(state: StateDict) -> tuple[StateDict, tuple[str, ...]]:
    """Take out of names what torch's wrappers of modules put there, and say what it was."""
    wrappers = {found[2]: None for key in state for found in _WRAPPED.finditer(key)}
    state = {_WRAPPED.sub("", key): value for key, value in state.items()}
    while all(key.startswith(_DATA_PARALLEL) for key in state):
        wrappers[_DATA_PARALLEL.rstrip(".")] = None
        state = {key.removeprefix(_DATA_PARALLEL): value for key, value in state.items()}
    return state, tuple(wrappers)


def _is_nameless(content: Any, name: str) -> bool:
    """Tell whether something in a file is averaged weights without names, as ``torch_ema`` has."""
    for key in name.split("."):
        content = content.get(key) if isinstance(content, Mapping) else None
    is_list = isinstance(content, (list, tuple)) and len(content) > 0
    return is_list and is_averaged(name) and all(isinstance(value, Tensor) for value in content)


def _what(content: Any, dictionaries: list[str]) -> str:
    if not isinstance(content, (Mapping, list, tuple)):
        return f"it is a {type(content).__name__}; save a state dict with torch.save"
    listed = ", ".join(dictionaries[:8]) or "none"
    return f"its keys that hold dictionaries or lists are: {listed}; save one with torch.save"
