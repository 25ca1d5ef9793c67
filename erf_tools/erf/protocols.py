"""Protocols: the choices in which published ERF procedures differ, as immutable records.

A feature map is ``F`` ``[C, H, W]``, the gradient of a scalar of it with respect to the input ``g``
``[3, height, width]``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from erf_tools.errors import UsageError, suggestion

Scalar = Literal["relu-sum", "sum", "mean"]
Gradient = Literal["relu", "abs", "signed"]
RGB = Literal["sum", "mean"]
Transform = Literal["warp", "crop", "model"]
Display = Literal["log", "linear", "power"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "scalar": get_args(Scalar),
    "gradient": get_args(Gradient),
    "rgb": get_args(RGB),
    "transform": get_args(Transform),
    "display": get_args(Display),
}


@dataclass(frozen=True)
class Protocol:
    """How a contribution map is made of one image, and how it is shown.

    Attributes:
        name: first author and year, and what was varied.
        source: the publication.
        scalar: what is differentiated at the unit: ``relu-sum``, ``sum`` or ``mean`` over channels.
        gradient: how contributions of either sign are counted: ``relu`` keeps the positive ones,
            ``abs`` takes their size, both image by image; ``signed`` averages over images with the
            sign and takes the size of the mean.
        rgb: ``sum`` applies ``gradient`` to each colour channel and adds them up; ``mean`` averages
            the channels first, so that they can cancel.
        transform: ``warp`` resizes images to the analysis resolution regardless of their shape,
            ``crop`` resizes the short side and cuts out the centre, both bicubic; ``model`` is the
            checkpoint's own evaluation transform.
        display: how the mean map ``A`` is drawn: ``log`` is log10(A + 1), ``linear`` is A itself,
            ``power`` is A ** 0.2; each divided by its maximum.
        upper_token: of the four central tokens of an even grid the upper left one is the central
            unit, not the lower right one (``H // 2``); for networks with a patch embedding only.
    """

    name: str
    source: str
    scalar: Scalar
    gradient: Gradient
    rgb: RGB
    transform: Transform
    display: Display
    upper_token: bool = False

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="ding2022",
            source="Ding et al., Scaling Up Your Kernels to 31x31, CVPR 2022, published script",
            scalar="relu-sum",
            gradient="relu",
            rgb="sum",
            transform="warp",
            display="log",
        ),
        Protocol(
            name="kim2023",
            source="Kim et al., Understanding Gaussian Attention Bias, BMVC 2023 (OpenERF)",
            scalar="mean",
            gradient="relu",
            rgb="mean",
            transform="model",
            display="linear",
            upper_token=True,
        ),
        Protocol(
            name="vmamba2024",
            source="Liu et al., VMamba, NeurIPS 2024, published script",
            scalar="relu-sum",
            gradient="relu",
            rgb="sum",
            transform="crop",
            display="power",
        ),
        Protocol(
            name="luo2016",
            source="Luo et al., Understanding the Effective Receptive Field, NeurIPS 2016",
            scalar="sum",
            gradient="signed",
            rgb="mean",
            transform="warp",
            display="linear",
        ),
    )
}


def find_protocol(name: str, **changes: str | None) -> Protocol:
    """Return a protocol by name, with choices varied.

    Args:
        name: one of :data:`PROTOCOLS`.
        changes: another ``scalar``, ``gradient``, ``rgb``, ``transform`` or ``display``; ``None``
            keeps the protocol's own. What differs becomes part of the name.

    Raises:
        UsageError: there is no such protocol or choice.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"there is no protocol {name!r}: {suggestion(name, PROTOCOLS)}")
    base = PROTOCOLS[name]
    varied: dict[str, Any] = {}
    for field, choice in changes.items():
        if field not in _CHOICES:
            raise UsageError(f"a protocol has no choice {field!r}: {suggestion(field, _CHOICES)}")
        if choice is None or choice == getattr(base, field):
            continue
        if choice not in _CHOICES[field]:
            raise UsageError(f"--{field} is {choice!r}; it is {', '.join(_CHOICES[field])}")
        varied[field] = choice
    label = "".join(f"+{field}={choice}" for field, choice in varied.items())
    return replace(base, name=base.name + label, **varied)
