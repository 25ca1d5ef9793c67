"""The theoretical receptive field and the true centre of the units of a feature map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from erf_tools.text import dimensions

Basis = Literal["dependency", "local dependency", "grid"]


@dataclass(frozen=True)
class ReceptiveField:
    """The input pixels that the units of a feature map depend on.

    Unit ``u`` reaches from pixel ``first + stride * u`` to ``last + stride * u`` along each axis,
    both included and not cut off at the image's rim. All pairs are (y, x), in input pixels; pixel
    centres lie at integers.

    Attributes:
        stride: from unit to unit.
        first: of unit (0, 0); negative where padding is.
        last: of unit (0, 0).
        unbounded: every pixel reaches every unit, or every pixel along one axis does, by a global
            operation or because the field is too large to be told from that (more than 16,000
            pixels). For networks that are built for one input size, or have windows: the first and
            the last pixel that reach any unit reach the central one. ``None`` where it is not
            known.
        basis: what ``first`` and ``last`` are. ``dependency``: exactly what units depend on.
            ``local dependency``: the same with values that were pooled over the whole image, as in
            squeeze-and-excitation, held fixed, and without norms over positions, attention and
            whatever else is seen to mix all positions; it gives the true centre of an unbounded
            field. ``grid``: the equal tiles that units make
            of what they cover of the image, where neither can be had: for networks that cannot be
            probed or run on another size, for attention in windows, and for maps whose units differ
            by more than a shift (upsampled or adaptively pooled ones). Their centres are exact
            where patches do not overlap and what they cover is known: not of networks that cannot
            be probed, whose tiles are of all of the image.
    """

    stride: tuple[float, float]
    first: tuple[float, float]
    last: tuple[float, float]
    unbounded: bool | None
    basis: Basis

    @classmethod
    def tiles(
        cls,
        shape: tuple[int, int],
        size: tuple[int, int],
        unbounded: bool | None = None,
        covered: tuple[range, range] | None = None,
    ) -> ReceptiveField:
        """Return what is left where no dependency is known: equal tiles of the image.

        Args:
            shape: rows and columns of the map.
            size: height and width of the image.
            unbounded: see the class.
            covered: rows and columns that reach any unit, all by default. Patches that do not
                divide the image leave a rim that is narrower than one. Tiles are of what they
                cover where it is like that, and of all where it is not: other layers leave pixels
                out between two units, too.
        """
        whole = tuple(map(range, size))
        rows, columns = (
            part if _are_patches(len(part), len(pixels), units) else pixels
            for pixels, part, units in zip(whole, covered or whole, shape, strict=True)
        )
        height, width = len(rows) / shape[0], len(columns) / shape[1]
        first = rows.start, columns.start
        last = rows.start + height - 1, columns.start + width - 1
        return cls((height, width), first, last, unbounded, "grid")

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, or ``None`` where unbounded, not known, or different between units."""
        if self.basis != "dependency":
            return None
        height, width = (
            int(end - start) + 1 for start, end in zip(self.first, self.last, strict=True)
        )
        return height, width

    @property
    def in_words(self) -> str:
        """The size in pixels, or why there is none."""
        if self.unbounded:
            return "unbounded"
        if self.unbounded is None:
            return "not known"
        return dimensions(self.size, short=True) if self.size else "bounded"

    def center(self, unit: tuple[int, int]) -> tuple[float, float]:
        """Return row and column of the centre of the unit in this row and column of the map."""
        y, x = (
            (start + end) / 2 + step * index
            for start, end, step, index in zip(
                self.first, self.last, self.stride, unit, strict=True
            )
        )
        return y, x

    def box(self, unit: tuple[int, int]) -> tuple[int, int, int, int] | None:
        """Return top, bottom, left and right, half-open; ``None`` where there is no ``size``."""
        if self.size is None:
            return None
        top, left = (
            int(start + step * index)
            for start, step, index in zip(self.first, self.stride, unit, strict=True)
        )
        return top, top + self.size[0], left, left + self.size[1]

    def record(self) -> dict[str, Any]:
        """Return the fields, and the size, as JSON values."""
        return {
            "stride": list(self.stride),
            "first": list(self.first),
            "last": list(self.last),
            "unbounded": self.unbounded,
            "basis": self.basis,
            "size": list(self.size) if self.size else None,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ReceptiveField:
        """Return what :meth:`record` came from."""
        pairs = {name: tuple(record[name]) for name in ("stride", "first", "last")}
        return cls(**pairs, unbounded=record["unbounded"], basis=record["basis"])


def _are_patches(covered: int, side: int, units: int) -> bool:
    """Tell whether so many units cover as much of a side as patches next to each other do."""
    patch, rest = divmod(covered, units)
    return not rest and patch > 0 and side // patch == units
