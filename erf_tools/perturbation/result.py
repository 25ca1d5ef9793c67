"""The result: what replacing each cell of each image does to a unit, beside the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from erf_tools.erf.maps import ERF, MeasuredImage, UnitResult
from erf_tools.errors import UsageError
from erf_tools.files import read_archive, understood, write_archive
from erf_tools.perturbation.cells import Grid

#: The file of a check, beside the ERF's.
ARCHIVE = "perturbation.npz"

#: ``change``: of the protocol's scalar; ``norm``: of the unit's channels, L2; ``predicted``: of
#: the scalar, by the gradient, for the very same replacement.
Quantity = Literal["change", "norm", "predicted"]

#: Steps of the check of linearity, of the pixels' range.
STEPS = tuple(step / 255 for step in (1, 2, 4, 8, 16, 32))


@dataclass(frozen=True, eq=False)
class ImageCheck:
    """What was found on N images, with R replacements.

    Attributes:
        gradient: sums over cells of the image's contribution map, ``[N, rows, columns]``.
        change: size of the change of the protocol's scalar, ``[N, R, rows, columns]``.
        norm: L2 norm over channels of the change of the unit, ``[N, R, rows, columns]``.
        predicted: size of the change of the scalar that the gradient predicts, ``[N, R, rows,
            columns]``.
        actual: changes of the scalar by steps in random directions, ``[N, steps, directions]``.
        expected: what the gradient predicts of them, ``[N, steps, directions]``.
    """

    gradient: np.ndarray
    change: np.ndarray
    norm: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray
    expected: np.ndarray

    @classmethod
    def joined(cls, checks: list[ImageCheck]) -> ImageCheck:
        """Return several as one, in their order."""
        arrays = {
            name: np.concatenate([vars(check)[name] for check in checks])
            for name in cls.__dataclass_fields__
        }
        return cls(**arrays)

    def of(self, chosen: np.ndarray) -> ImageCheck:
        """Return what was found on some of the images."""
        return ImageCheck(**{name: array[chosen] for name, array in vars(self).items()})


@dataclass(frozen=True, eq=False)
class PerturbationERF(UnitResult):
    """A perturbation (occlusion) ERF beside the gradient's, over cells of the same images.

    All maps are per pixel of a cell, so that cells of different sizes compare.

    Attributes:
        found: of each image.
        images: the images, in order; ``nan`` are left out of everything.
        setting: what was checked: as of :class:`~erf_tools.erf.maps.ERF`, and ``check``: cells,
            replacements, seed, and the number of images when it is done.
        runs: how it was computed: versions, device, image source.
    """

    found: ImageCheck
    images: tuple[MeasuredImage, ...]
    setting: Mapping[str, Any]
    runs: tuple[Mapping[str, Any], ...]

    FORMAT: ClassVar[str] = "erf-tools perturbation ERF, version 1"

    def __post_init__(self) -> None:
        self._settle()
        for array in vars(self.found).values():
            array.setflags(write=False)

    @property
    def grid(self) -> Grid:
        """The cells."""
        height, width = self.setting["resolution"]
        return Grid.of((height, width), self.setting["check"]["cells"])

    @property
    def replacements(self) -> tuple[str, ...]:
        """What cells were replaced by."""
        return tuple(self.setting["check"]["replacement"])

    @property
    def reached(self) -> np.ndarray:
        """Which cells have a pixel in the unit's theoretical field, booleans ``[rows, columns]``.

        In the others every change is zero.
        """
        row, column = self.setting["units"][0]
        return self.grid.reached(self.receptive_field.box((row, column)))

    @property
    def counted(self) -> ImageCheck:
        """What was found on the images that count."""
        return self.found.of(np.array([image.outcome != "nan" for image in self.images], bool))

    @property
    def done(self) -> bool:
        """Whether all images have been checked."""
        return len(self.images) == self.setting["check"]["images"]

    def is_of(self, result: ERF) -> bool:
        """Tell whether an ERF is of the same network, layer, unit, protocol and images."""
        # The place follows from the layer, and results of before do not have it.
        own = self.setting.items()
        setting = {name: value for name, value in own if name not in ("check", "place")}
        same = setting == {name: result.setting.get(name) for name in setting}
        return same and [each.sha256 for each in self.images] == [
            each.sha256 for each in result.images[: len(self.images)]
        ]

    def each(self, quantity: Quantity, replacement: str) -> np.ndarray:
        """Return a quantity of each image that counts, per pixel, ``[images, rows, columns]``."""
        place = self.replacements.index(replacement)
        values: np.ndarray = getattr(self.counted, quantity)[:, place]
        return values / self.grid.areas

    def each_gradient(self) -> np.ndarray:
        """Return the contribution maps' means over cells, ``[images, rows, columns]``."""
        return self.counted.gradient / self.grid.areas

    def map(self, quantity: Quantity, replacement: str) -> np.ndarray:
        """Return the mean over images of a quantity, per pixel, ``[rows, columns]``."""
        return self.each(quantity, replacement).mean(axis=0)

    @property
    def gradient_map(self) -> np.ndarray:
        """The ERF by gradients, its means over cells, ``[rows, columns]``."""
        return self.each_gradient().mean(axis=0)

    def followed_by(self, more: PerturbationERF) -> PerturbationERF:
        """Return the check with that of further images of the same setting behind it."""
        return replace(
            more,
            found=ImageCheck.joined([self.found, more.found]),
            images=(*self.images, *more.images),
            runs=(*self.runs, *(run for run in more.runs if dict(run) not in self.runs)),
        )

    def save(self, path: str | Path) -> None:
        """Write ``.npz``: the arrays of ``found``, and the record."""
        write_archive(Path(path), vars(self.found), self.record())

    @classmethod
    def load(cls, path: str | Path) -> PerturbationERF:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: the file is missing, damaged or something else.
        """
        arrays, record = read_archive(Path(path))
        if record.get("format") != cls.FORMAT:
            raise UsageError(f"{path} is not a perturbation ERF of this version of erf-tools")
        with understood(Path(path)):
            images = tuple(MeasuredImage(**image) for image in record["images"])
            found = cls(ImageCheck(**arrays), images, record["setting"], tuple(record["runs"]))
            shape = (len(images), len(found.replacements), *found.grid.shape)
            if found.found.change.shape != shape:
                raise ValueError("its arrays are none of its setting")
            return found
