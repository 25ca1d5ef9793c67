"""What is measured, apart from network, layer and images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from erf_tools.choices import Choice, check, choice, declared, popped, values_of
from erf_tools.erf.protocols import PROTOCOLS, VARIED, Protocol, find_protocol, variation
from erf_tools.erf.units import check_unit
from erf_tools.errors import UsageError
from erf_tools.numbers import LARGEST_RESOLUTION, side_or_sides

if TYPE_CHECKING:
    from erf_tools.preprocessing import Preprocessing, View

Square = Literal["center", "unit"]
Precision = Literal["fp32", "tf32", "bf16"]

DEFAULT_RESOLUTION = 1024


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
            map; see docs/guide/layers.md for how much.
    """

    protocol: Protocol = PROTOCOLS["ding2022"]
    unit: str = choice(
        "center",
        "Which unit is looked from; grid:N averages over N x N, aligned at their centres.",
        metavar="center|Y,X|grid:N",
    )
    square: Square = choice(
        "center", "Centre of the squares (but legacy ones): of the image, or the unit's."
    )
    resolution: int | tuple[int, int] | None = choice(
        None,
        "Side of the input, in pixels.",
        shown_default=f"{DEFAULT_RESOLUTION}, or as the protocol says",
        lowest=1,
    )
    precision: Precision = choice(
        "fp32", "Of the arithmetic; tf32 (CUDA only) and bf16 are faster and coarser."
    )

    def __post_init__(self) -> None:
        check_unit(self.unit)
        check(self)
        if self.resolution is None:
            return
        resolution = side_or_sides(self.resolution, "--resolution", LARGEST_RESOLUTION)
        object.__setattr__(self, "resolution", resolution)
        sides = resolution if isinstance(resolution, tuple) else (resolution,)
        if len(set(sides)) > 1 and self.protocol.transform in ("crop", "model"):
            raise UsageError(
                f"--resolution is {self.resolution}, but {self.protocol.transform} cuts out a "
                "square; give one side, or use --transform warp"
            )

    def varied(self, **choices: Any) -> Procedure:
        """Return the procedure with some of :data:`PROCEDURE` chosen otherwise.

        Raises:
            UsageError: there is no such protocol, or choices exclude each other.
            TypeError: there is no such choice.
        """
        protocol = choices.pop("protocol", self.protocol)
        changes = popped(declared(Protocol), choices)
        return replace(self, protocol=find_protocol(protocol, **changes), **choices)

    @property
    def chosen(self) -> dict[str, Any]:
        """The values of :data:`PROCEDURE` that :meth:`varied` makes it of.

        Raises:
            UsageError: its protocol is a variation of none that has a name.
        """
        return {**variation(self.protocol), **values_of(declared(Procedure), self)}

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
        # The command line declares its options by this module, and is to answer at once.
        from erf_tools.preprocessing import Preprocessing, evaluation_view, noise, warped

        height, width = self.size(preprocessing)
        if self.protocol.transform == "noise":
            return partial(noise, size=(width, height))
        if self.protocol.transform == "warp":
            return partial(warped, size=(width, height))
        if self.protocol.transform == "crop":
            own = Preprocessing(size=height, crop_fraction=1.0)
        else:
            own = preprocessing.resized(height)
        return partial(evaluation_view, preprocessing=own)

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values; the resolution is that of the result."""
        own = values_of(declared(Procedure), self)
        del own["resolution"]
        return {"protocol": self.protocol.record(), **own}

    @classmethod
    def recorded(cls, setting: Mapping[str, Any]) -> Procedure:
        """Return the procedure of a result, from its setting."""
        own = {each.name: setting.get(each.name, each.default) for each in declared(Procedure)}
        height, width = setting["resolution"]
        own["resolution"] = height if height == width else (height, width)
        return cls(Protocol(**setting["protocol"]), **own)


#: What can be chosen of a procedure: as keywords, options and keys of study files.
PROCEDURE: tuple[Choice, ...] = (*VARIED, *declared(Procedure))
