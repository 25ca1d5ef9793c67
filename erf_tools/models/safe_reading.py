"""Reading one weight file safely, of whatever form: nothing in it is run.

What a file is, is told by its content, not by its name.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from erf_tools.errors import ErfToolsError
from erf_tools.text import first_line

#: How weights of which every process has a part are brought together.
FULL_STATE = (
    "save the full state dict (get_model_state_dict of torch.distributed.checkpoint.state_dict, "
    "with StateDictOptions(full_state_dict=True, cpu_offload=True))"
)
CONSOLIDATE = (
    "run the zero_to_fp32.py that DeepSpeed has put into the folder of the checkpoint, and give "
    "the file it writes"
)

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

#: What to say of files with objects of these libraries, of which each process has saved its part.
_OBJECTS = {
    "torch.distributed.": (
        "holds parts of tensors, as each process of a sharded training has them; " + FULL_STATE
    ),
    "deepspeed.": f"holds the states of DeepSpeed's optimiser; {CONSOLIDATE}",
}


def read_content(path: Path) -> Any:
    """Return what lies in a safetensors file or a PyTorch file, whatever its name.

    PyTorch files are read with ``weights_only=True``: nothing in them is executed. NumPy arrays
    come as :class:`StoredArray`.

    Raises:
        ErfToolsError: it cannot be read, is damaged, or is of another kind.
    """
    with path.open("rb") as stream:
        start = stream.read(512)
    if not start:
        raise ErfToolsError(f"{path} is empty; fetch or save it again")
    try:
        if start[8:9] == b"{":  # behind the length of the header
            from safetensors.torch import load_file

            return load_file(path)
        if said := _foreign(start):
            raise ErfToolsError(f"{path} {said}")
        if start.startswith(b"PK"):
            _check_archive(path)
        # Given a name, torch.load would judge by that.
        with torch.serialization.safe_globals(_HARMLESS), path.open("rb") as stream:
            return torch.load(stream, map_location="cpu", weights_only=True)
    except ErfToolsError:
        raise
    except pickle.UnpicklingError as error:
        raise ErfToolsError(f"{path} {_of_objects(str(error))}") from error
    except Exception as error:  # zip, struct, safetensors and torch each have their own
        # Of a reader that stumbled, the words are about its own lists.
        said = "" if isinstance(error, LookupError) else f" ({first_line(error)})"
        raise ErfToolsError(
            f"{path} cannot be read as weights{said}; it is cut off, damaged or of another kind"
        ) from error


def _foreign(start: bytes) -> str:
    """Return what is to be said of a file that holds no weights; empty if it may."""
    for offset, mark, said in _FOREIGN:
        if start[offset:].lstrip(b"\xef\xbb\xbf \r\n\t").startswith(mark):
            return said
    return "is JSON, not weights; give the file of the weights" if start[:1] in (b"{", b"[") else ""


def _of_objects(refusal: str) -> str:
    """Return what is to be said of a file that holds objects other than tensors.

    Args:
        refusal: torch's.
    """
    named = re.search(r"GLOBAL ([\w.]+)", refusal)
    for beginning, said in _OBJECTS.items():
        if named and named[1].startswith(beginning):
            return said
    return (
        f"holds more than tensors{f' ({named[1]})' if named else ''}, or is no PyTorch file, and "
        "is not read, because unpickling can run code; save the state dict alone, with "
        "torch.save or safetensors"
    )


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


class StoredArray:
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


class _Setting:
    """Stands for objects of settings, which are not looked into."""

    def __setstate__(self, state: Any) -> None:
        pass


def _default_dictionary(*_arguments: Any) -> collections.OrderedDict[Any, Any]:
    return collections.OrderedDict()


_OMEGACONF = (
    *("dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata", "base.Metadata"),
    *(f"nodes.{kind}Node" for kind in ("Any", "Boolean", "Bytes", "Enum", "Float", "Integer")),
    *(f"nodes.{kind}Node" for kind in ("Path", "String")),
)
#: Stand-ins for classes of settings that training scripts save beside weights.
_SETTINGS = {
    "typing.Any": _Setting,
    **{f"omegaconf.{name}": _Setting for name in _OMEGACONF},
    "mmengine.logging.history_buffer.HistoryBuffer": _Setting,
    # Dictionaries of a kind of their own.
    "lightning.fabric.utilities.data.AttributeDict": collections.OrderedDict,
    "lightning_fabric.utilities.data.AttributeDict": collections.OrderedDict,
    "yacs.config.CfgNode": collections.OrderedDict,
    "collections.defaultdict": _default_dictionary,
}

#: What training scripts put beside weights and what does nothing, and our own in place of NumPy's.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    *(bool, dict, float, int, list, str),
    *((stand_in, name) for name, stand_in in _SETTINGS.items()),
    *((pathlib.PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    (_NumberType, "numpy.dtype"),
    (StoredArray, "numpy.ndarray"),
    *(
        (stand_in, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, stand_in in (("scalar", _scalar), ("_reconstruct", StoredArray))
    ),
]
