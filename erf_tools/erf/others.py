"""Maps that others have made: of these nothing is known but the map, and what the user says."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from erf_tools.erf.measures import Measures, check_sign
from erf_tools.errors import UsageError
from erf_tools.files import read_archive, understood, write_archive
from erf_tools.folders import given_path, read_file, why_unreadable
from erf_tools.labels import OTHERS, labelled
from erf_tools.text import dimensions, first_line

_FORMAT = "erf-tools map of others, version 1"

#: What of such a map is not known, in words.
NOT_KNOWN = (
    "network, layer, unit, images and protocol are not known, nor whether the map was changed (as "
    "by a logarithm) before it was saved; there are no intervals"
)


@dataclass(frozen=True, eq=False)
class OthersMap:
    """A mean contribution map that was not made here.

    Attributes:
        name: what it is called.
        map: float64 ``[height, width]``, not negative, with mass; read-only.
        source: the file it was read from.
        sha256: of that file's bytes.
    """

    name: str
    map: np.ndarray
    source: str
    sha256: str

    def __post_init__(self) -> None:
        found = np.array(self.map)
        if found.ndim != 2 or not found.size:
            shape = dimensions(found.shape) or "of a number"
            raise UsageError(f"{self.source} has the shape {shape}; a map is height x width")
        if found.dtype.kind not in "fiu":
            raise UsageError(f"{self.source} holds {found.dtype}; a map holds real numbers")
        found = found.astype(np.float64)
        if not np.isfinite(found).all():
            raise UsageError(f"{self.source} has values that are not finite, so it has no measures")
        check_sign(found, self.source)
        with np.errstate(over="ignore"):
            total = found.sum()
        if not np.isfinite(total):
            raise UsageError(f"{self.source} has values too large to add up; divide it by a number")
        if not found.any():
            raise UsageError(f"{self.source} is zero everywhere, so it has no measures")
        found.setflags(write=False)
        object.__setattr__(self, "map", found)

    @classmethod
    def read(cls, path: str | Path, name: str = "") -> OthersMap:
        """Read a ``.npy`` file, as published scripts write them.

        Args:
            path: the file.
            name: what to call it; by default the file's name.

        Raises:
            UsageError: it is missing, no array, or no map.
        """
        place = given_path(path, "a map")
        try:
            data = read_file(place)
        except OSError as error:
            raise UsageError(f"{place} cannot be read: {why_unreadable(error)}") from error
        try:
            found = np.load(io.BytesIO(data), allow_pickle=False)
            if not isinstance(found, np.ndarray):
                raise ValueError("it is an archive of several arrays; save the map alone")
        except Exception as error:  # whatever NumPy makes of other bytes
            why = first_line(error)
            if "pickle" in why:  # which runs what is in the file; nobody should be told to
                why = "it holds pickled objects, or no array; save the map alone, with numpy.save"
            raise UsageError(f"{place} cannot be read as a .npy file: {why}") from error
        return cls(name or place.stem, found, str(path), hashlib.sha256(data).hexdigest())

    @property
    def label(self) -> str:
        """The name, and that the map was not made here."""
        return labelled(self.name, True, OTHERS)

    @property
    def center(self) -> None:
        """The unit's true centre, which is not known."""

    @property
    def square_center(self) -> None:
        """Where squares are centred: at the published pixel."""

    @property
    def theoretical_box(self) -> None:
        """The unit's theoretical receptive field, which is not known."""

    @cached_property
    def measures(self) -> Measures:
        """All measures; there are no intervals."""
        return Measures(self.map)

    def record(self) -> dict[str, Any]:
        """Return everything but the map, as JSON values."""
        known = {"name": self.name, "source": self.source, "sha256": self.sha256}
        return {"format": _FORMAT, **known, "not_known": NOT_KNOWN}

    def save(self, path: Path) -> None:
        """Write ``.npz``: ``erf`` and the record."""
        write_archive(path, {"erf": self.map}, self.record())

    @classmethod
    def load(cls, path: Path) -> OthersMap:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: the file is missing, damaged or something else.
        """
        arrays, record = read_archive(path)
        if record.get("format") != _FORMAT:
            raise UsageError(f"{path} is not a map that this version of erf-tools has saved")
        with understood(path):
            known: Mapping[str, str] = {key: record[key] for key in ("name", "source", "sha256")}
            return cls(map=arrays["erf"], **known)
