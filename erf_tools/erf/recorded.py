"""Results that are a few arrays of one network, with all that is needed to trace them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from erf_tools.errors import UsageError
from erf_tools.files import read_archive, understood, write_archive
from erf_tools.labels import network_label
from erf_tools.tables import Subject
from erf_tools.text import dimensions

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class Recorded:
    """What was measured of one network on some images.

    Attributes:
        arrays: by name; which there are is for the kind of result to say.
        images: name and SHA-256 of each.
        setting: what was measured, as in :class:`~erf_tools.erf.maps.ERF`.
        run: how: versions, device, image source.
    """

    arrays: Mapping[str, np.ndarray]
    images: Sequence[Sequence[str]]
    setting: Mapping[str, Any]
    run: Mapping[str, Any]

    #: What it is called in a sentence, its file, and the arrays it has.
    KIND: ClassVar[str]
    ARCHIVE: ClassVar[str]
    NAMES: ClassVar[tuple[str, ...]]

    @property
    def label(self) -> str:
        """The model, with what sets its weights apart."""
        return network_label(self.setting["model"])

    def about(self, layer: str) -> dict[str, Any]:
        """Return what a number of a layer is of, as columns of a table."""
        model = self.setting["model"]
        return {
            **Subject(model["name"], model["weights"]["label"], layer)._asdict(),
            "resolution": dimensions(self.setting["resolution"]),
            "images": len(self.images),
        }

    def record(self) -> dict[str, Any]:
        """Return everything but the arrays, as JSON values."""
        own = {"setting": dict(self.setting), "run": dict(self.run)}
        return {"format": self._format(), "images": [list(image) for image in self.images], **own}

    def save(self, folder: Path) -> None:
        """Write the arrays and the record as ``ARCHIVE``."""
        write_archive(folder / self.ARCHIVE, self.arrays, self.record())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: the file is missing, damaged or something else.
        """
        arrays, record = read_archive(path)
        if record.get("format") != cls._format():
            raise UsageError(f"{path} holds no {cls.KIND} of this version of erf-tools")
        with understood(path):
            own = {name: arrays[name] for name in cls.NAMES}
            return cls(own, record["images"], record["setting"], record["run"])

    @classmethod
    def _format(cls) -> str:
        return f"erf-tools {cls.KIND}, version 2"
