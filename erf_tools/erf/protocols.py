"""Protocols: the choices in which published ERF procedures differ, as immutable records.

A feature map is ``F`` ``[C, H, W]``, the gradient of a scalar of it with respect to the input ``g``
``[3, height, width]``.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, replace
from typing import Any, Literal

from erf_tools.choices import Choice, choice, declared
from erf_tools.errors import UsageError, suggestion
from erf_tools.text import listed

Scalar = Literal["relu-sum", "sum", "mean"]
Gradient = Literal["relu", "abs", "signed"]
RGB = Literal["sum", "mean"]
Transform = Literal["warp", "crop", "model", "noise"]
Display = Literal["log", "linear", "power", "fourth-root"]


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
            checkpoint's own evaluation transform; ``noise`` puts uniform noise in [0, 1] in each
            image's place, which is not normalised.
        display: how the mean map ``A`` is drawn: ``log`` is log10(A + 1), ``linear`` is A itself,
            ``power`` is A ** 0.2, ``fourth-root`` A ** 0.25; each divided by its maximum.
        upper_token: of the four central tokens of an even grid the upper left one is the central
            unit, not the lower right one (``H // 2``); for networks with a patch embedding only.
        of_output: it is for networks that give an image, and reads that image.
        ratio_side: side of the square that the script takes ratios of, whatever the map's size;
            ``None`` where it is the map.
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
        "evaluation transform; noise: uniform noise in each image's place.",
    )
    display: Display = choice(
        MISSING, "How heatmaps show the map A: log10(A + 1), A, A ** 0.2, or A ** 0.25."
    )
    upper_token: bool = False
    of_output: bool = False
    ratio_side: int | None = None

    @property
    def defines(self) -> tuple[str | bool, ...]:
        """All that a map depends on: protocols that are equal in it differ in what is shown."""
        seen = (self.transform, self.upper_token, self.of_output)
        return (*seen, self.scalar, self.gradient, self.rgb)

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


#: As published, by name.
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
        Protocol(
            name="slak2023",
            source="Liu et al., SLaK (More ConvNets in the 2020s), ICLR 2023, script, whose "
            "ratios are of 1024 x 1024 pixels whatever the map's size",
            scalar="relu-sum",
            gradient="relu",
            rgb="sum",
            transform="warp",
            display="linear",
            ratio_side=1024,
        ),
        Protocol(
            name="wtconv2024",
            source="Finder et al., WTConv (Wavelet Convolutions for Large Receptive Fields), ECCV "
            "2024, published script, which draws images at random",
            scalar="relu-sum",
            gradient="relu",
            rgb="sum",
            transform="warp",
            display="log",
        ),
        Protocol(
            name="cvpods",
            source="Megvii-BaseDetection/cvpods, its script after Ding et al.: noise for images",
            scalar="relu-sum",
            gradient="relu",
            rgb="sum",
            transform="noise",
            display="log",
        ),
        Protocol(
            name="mambair2024",
            source="Guo et al., MambaIR, ECCV 2024, published script: images of Urban100 at "
            "120 x 120, resized to it by nearest neighbours there and bicubically here",
            scalar="sum",
            gradient="relu",
            rgb="sum",
            transform="warp",
            display="fourth-root",
            of_output=True,
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
        accepted=str | Protocol,
    ),
    *(
        replace(each, default=None, type=each.type | None, accepted=each.accepted | None)
        for each in declared(Protocol)
    ),
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
