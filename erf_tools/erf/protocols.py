"""Protocols: the choices in which published ERF procedures differ, as immutable records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from erf_tools.errors import UsageError, suggestion


@dataclass(frozen=True)
class Protocol:
    """How a contribution map is made of one image, and how it is shown.

    The attributes say in words what :mod:`erf_tools.erf.gradients` computes; every result carries
    them.

    Attributes:
        name: what the protocol is called here: first author and year.
        source: the publication.
        scalar: what is differentiated, of the feature map ``F`` ``[C, H, W]``.
        reduction: how the gradient ``g`` ``[3, height, width]`` becomes one map.
        unit: which position is looked from.
        resize: how images get to the analysis resolution.
        display: how the mean map ``A`` is shown.
    """

    name: str
    source: str
    scalar: str
    reduction: str
    unit: str
    resize: str
    display: str

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


PROTOCOLS: dict[str, Protocol] = {
    "ding2022": Protocol(
        name="ding2022",
        source="Ding et al., Scaling Up Your Kernels to 31x31, CVPR 2022, and its published script",
        scalar="sum over c of relu(F[c, H//2, W//2])",
        reduction="sum over RGB of relu(g)",
        unit="(H//2, W//2): lower right of the central 2x2 on even grids",
        resize="warp to the analysis resolution, bicubic",
        display="log10(A + 1) / max",
    ),
}


def find_protocol(name: str) -> Protocol:
    """Return a protocol by name.

    Raises:
        UsageError: there is none of that name.
    """
    try:
        return PROTOCOLS[name]
    except KeyError:
        raise UsageError(f"there is no protocol {name!r}: {suggestion(name, PROTOCOLS)}") from None
