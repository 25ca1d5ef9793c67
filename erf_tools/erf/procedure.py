"""What is measured, apart from network, layer and images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from erf_tools.erf.protocols import PROTOCOLS, Protocol
from erf_tools.erf.units import check_unit
from erf_tools.errors import UsageError
from erf_tools.images import Preprocessing, View, evaluation_view, warped

Square = Literal["center", "unit"]
Precision = Literal["fp32", "tf32", "bf16"]

DEFAULT_RESOLUTION = 1024
#: A single image of a larger one takes 3 GB before the network has done anything.
LARGEST_RESOLUTION = 16_384


@dataclass(frozen=True)
class Procedure:
    """All that decides what is measured, apart from network, layer and images.

    Attributes:
        protocol: how the contribution map is defined.
        unit: ``center``, ``ROW,COLUMN`` or ``grid:N``: the mean over N x N units, each map shifted
            so that the units' centres coincide.
        square: where the squares of the scale-invariant measures are centred: ``center`` is the
            image's pixel (height // 2, width // 2), ``unit`` the unit's true centre. The squares of
            the legacy ratios stay as published.
        resolution: of the input, a side or height and width; ``None`` is 1024, or the network's own
            with a protocol that uses its evaluation transform.
        precision: of the arithmetic. ``fp32`` is that of the weights; ``tf32`` lets CUDA round the
            factors of products to 10 bits, ``bf16`` is automatic mixed precision. Both change the
            map; see the README for how much.
    """

    protocol: Protocol = PROTOCOLS["ding2022"]
    unit: str = "center"
    square: Square = "center"
    resolution: int | tuple[int, int] | None = None
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if self.square not in ("center", "unit"):
            raise UsageError(f"--square is {self.square!r}; it is center or unit")
        if self.precision not in get_args(Precision):
            raise UsageError(f"--precision is {self.precision!r}; it is fp32, tf32 or bf16")
        sides = self.resolution if isinstance(self.resolution, tuple) else (self.resolution,)
        if any(side is not None and not 1 <= side <= LARGEST_RESOLUTION for side in sides):
            raise UsageError(
                f"--resolution is {self.resolution}; it is from 1 to {LARGEST_RESOLUTION}"
            )
        if len(set(sides)) > 1 and self.protocol.transform != "warp":
            raise UsageError(
                f"--resolution is {self.resolution}, but {self.protocol.transform} cuts out a "
                "square; give one side, or use --transform warp"
            )

    def size(self, preprocessing: Preprocessing) -> tuple[int, int]:
        """Return height and width of the input for a network with this preprocessing."""
        if self.resolution is None:
            own = self.protocol.transform == "model"
            side = preprocessing.size if own else DEFAULT_RESOLUTION
            return side, side
        if isinstance(self.resolution, int):
            return self.resolution, self.resolution
        return self.resolution

    def view(self, preprocessing: Preprocessing) -> View:
        """Return what makes an image ready for a network with this preprocessing."""
        height, width = self.size(preprocessing)
        if self.protocol.transform == "warp":
            return partial(warped, size=(width, height))
        if self.protocol.transform == "crop":
            own = Preprocessing(size=height, crop_fraction=1.0)
        else:
            own = preprocessing.resized(height)
        return partial(evaluation_view, preprocessing=own)

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values; the resolution is that of the result."""
        return {
            "protocol": self.protocol.record(),
            "unit": self.unit,
            "square": self.square,
            "precision": self.precision,
        }
