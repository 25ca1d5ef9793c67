"""Protocols: the choices in which published ERF procedures differ, as immutable records.

A feature map is ``F`` ``[C, H, W]``, the gradient of a scalar of it with respect to the input ``g``
``[3, height, width]``.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, replace
from typing import Any, Literal

from erf_tools.choices import Choice, choice, declared, listed
from erf_tools.errors import UsageError, suggestion

Scalar = Literal["relu-sum", "sum", "mean"]
Gradient = Literal["relu", "abs", "signed"]
RGB = Literal["sum", "mean"]
Transform = Literal["warp", "crop", "model"]
Display = Literal["log", "linear", "power"]


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
    scalar: Scalar = choice(MISSING, "What is differentiated: over the unit's channels.")
    gradient: Gradient = choice(
        MISSING, "Positive parts, sizes, or (signed) the size of the mean over images."
    )
    rgb: RGB = choice(
        MISSING, "sum: colour channels one by one; mean: averaged first, so they cancel."
    )
    transform: Transform = choice(
        MISSING,
        "warp: to the resolution; crop: short side and centre crop; model: the checkpoint's own "
        "evaluation transform.",
    )
    display: Display = choice(MISSING, "How heatmaps show the map A: log10(A + 1), A, or A ** 0.2.")
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


_OPTIONS = [each.option for each in declared(Protocol)]

#: A protocol by name, and its choices, which can be varied; ``None`` is the protocol's own.
VARIED: tuple[Choice, ...] = (
    Choice(
        "ding2022",
        f"{listed(PROTOCOLS, 'or')}. Each of {listed(_OPTIONS, 'and')} varies one choice of it.",
        option="--protocol",
        metavar="NAME",
        name="protocol",
        type=str,
    ),
    *(replace(each, default=None, type=each.type | None) for each in declared(Protocol)),
)


def find_protocol(protocol: str | Protocol, **changes: str | None) -> Protocol:
    """Return a protocol with choices varied.

    Args:
        protocol: name of one of :data:`PROTOCOLS`, or a protocol.
        changes: other values of its choices, those of :data:`VARIED`; ``None`` keeps the protocol's
            own. What differs becomes part of the name.

    Raises:
        UsageError: there is no such protocol or choice.
    """
    if isinstance(protocol, str) and protocol not in PROTOCOLS:
        raise UsageError(f"there is no protocol {protocol!r}: {suggestion(protocol, PROTOCOLS)}")
    base = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
    known = {each.name: each for each in declared(Protocol)}
    varied: dict[str, Any] = {}
    for field, value in changes.items():
        if field not in known:
            raise UsageError(f"a protocol has no choice {field!r}: {suggestion(field, known)}")
        if value is None or value == getattr(base, field):
            continue
        known[field].check(value)
        varied[field] = value
    label = "".join(f"+{field}={value}" for field, value in varied.items())
    return replace(base, name=base.name + label, **varied)


def variation(protocol: Protocol) -> dict[str, str | None]:
    """Return the values of :data:`VARIED` that :func:`find_protocol` makes a protocol of.

    Raises:
        UsageError: it is none of :data:`PROTOCOLS`, varied.
    """
    name = protocol.name.partition("+")[0]
    base = find_protocol(name)
    pairs = {
        each.name: (getattr(base, each.name), getattr(protocol, each.name))
        for each in declared(Protocol)
    }
    return {
        "protocol": name,
        **{field: None if own == value else value for field, (own, value) in pairs.items()},
    }
