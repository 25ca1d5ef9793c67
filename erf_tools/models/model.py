"""A network with all that has to be known to measure it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from erf_tools.errors import UsageError
from erf_tools.features.channels import taking_rgb
from erf_tools.features.taps import Tap, default_tap
from erf_tools.models.digests import state_sha256
from erf_tools.models.failures import check_network
from erf_tools.models.identity import network_sha256, packages_of
from erf_tools.models.weights import Weights
from erf_tools.preprocessing import Preprocessing, Resize
from erf_tools.provenance import library_versions
from erf_tools.text import dimensions, first_line

#: Timm's names for the sides that :class:`~erf_tools.preprocessing.Preprocessing` resizes.
CROP_MODES: dict[str, Resize] = {"center": "short", "squash": "both", "border": "long"}


@dataclass(frozen=True, eq=False)
class Model:
    """A network with all that has to be known to measure it and to trace the result.

    Attributes:
        name: what it was asked for by.
        module: the network, in evaluation mode.
        weights: what it was loaded with.
        preprocessing: how these weights want their images.
        tap: of the layer that is measured unless another is asked for.
        input_size: height and width it is tied to, or ``None`` if it takes any.
        arguments: what it was built with, beyond its name.
        classes: names of the classes of its head, where it was made for these.
        own: whether the user's own code built it.
        state_sha256: of the network's values when it was described; found then.
        default_tap: the one it was described with, whatever tap a copy has been given since.
    """

    name: str
    module: nn.Module
    weights: Weights
    preprocessing: Preprocessing
    tap: Tap
    input_size: tuple[int, int] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    own: bool = False
    state_sha256: str = ""
    default_tap: Tap | None = None

    def __post_init__(self) -> None:
        if self.default_tap is None:
            object.__setattr__(self, "default_tap", self.tap)
        if not self.state_sha256:
            object.__setattr__(self, "state_sha256", state_sha256(self.module))

    def weights_now(self) -> Weights:
        """Return which weights the network has now: others, where they were changed since."""
        now = state_sha256(self.module)
        if now == self.state_sha256:
            return self.weights
        notes = (*self.weights.notes, f"changed after they were loaded ({self.weights.source})")
        return Weights("given", "as given", now, notes, self.weights.head)

    def check_size(self, size: tuple[int, int]) -> None:
        """See that the network takes inputs of this height and width.

        Raises:
            UsageError: it was built for others.
        """
        if self.input_size and tuple(self.input_size) != size:
            raise UsageError(
                f"{self.name} was built for {dimensions(self.input_size)} inputs; build it for "
                f"these: load_model({self.name!r}, resolution={size})"
            )

    def check_head(self, measured: str) -> None:
        """See that the network has a head, for what is measured of it.

        Raises:
            UsageError: its weights are without one.
        """
        if not self.weights.head:
            raise UsageError(
                f"{self.name} has no classifier, because {self.weights.source} holds none that "
                f"fits; {measured} needs a head: give weights with theirs"
            )

    def record(self) -> dict[str, Any]:
        """Return what identifies the network in a result, as JSON values.

        It is all that decides the network's numbers: results are of one network, and are used
        again, only where it is the same.
        """
        weights = self.weights_now()
        return {
            "name": self.name,
            "arguments": dict(self.arguments),
            "parameters": sum(parameter.numel() for parameter in self.module.parameters()),
            "network_sha256": network_sha256(self.module, self.own),
            "libraries": library_versions(packages_of(self.module)),
            "weights": {
                **vars(weights),
                "notes": list(weights.notes),
                "label": weights.label,
            },
            "preprocessing": self.preprocessing.record(),
        }


def as_model(
    module: nn.Module,
    name: str | None = None,
    preprocessing: Preprocessing | None = None,
    tap: Tap | None = None,
    channels: int = 3,
) -> Model:
    """Describe a network the user has built.

    Args:
        module: the network. What ``torch.compile`` and data parallelism put around one is taken
            off: layers have the names they have without.
        name: for tables; its class name by default.
        preprocessing: by default timm's, where the network carries it, else ImageNet's.
        tap: by default :func:`erf_tools.features.taps.default_tap`.
        channels: that it takes; see :func:`erf_tools.features.channels.taking_rgb`.

    Raises:
        UsageError: it is no ``nn.Module``, has parameters without values, or no image has so many
            channels.
    """
    module = _unwrapped(check_network(module, name or "what is given as a network"))
    digest = state_sha256(module)
    return Model(
        name=name or type(module).__name__,
        module=taking_rgb(module, channels),
        weights=Weights("given", "as given", digest),
        preprocessing=preprocessing or declared_preprocessing(module),
        tap=tap or default_tap(module),
        arguments={} if channels == 3 else {"channels": channels},
        own=True,
        state_sha256=digest,
    )


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return a network without what is around it."""
    if isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):  # torch.compile
        return _unwrapped(inner)
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return _unwrapped(module.module)
    return module


def declared_preprocessing(module: nn.Module) -> Preprocessing:
    """Return how a network wants its images: what timm's say themselves, else ImageNet's usual.

    Raises:
        UsageError: it is a way that is not known here.
    """
    cfg = getattr(module, "pretrained_cfg", None)
    if not cfg:
        return Preprocessing()
    mode = cfg.get("crop_mode") or "center"
    if mode not in CROP_MODES:
        raise UsageError(
            f"the network's crop_mode is {mode!r}, which is none of {', '.join(CROP_MODES)}; give "
            "preprocessing=erf_tools.Preprocessing(...)"
        )
    resize = CROP_MODES[mode]
    try:
        height, width = map(int, cfg["input_size"][-2:])
        # One that is tied to its size says so itself where it is measured at another.
        if height != width and not cfg.get("fixed_input_size"):
            raise UsageError(
                f"the network wants images of {dimensions((height, width))} pixels, and images are "
                "made ready as squares here; give preprocessing=erf_tools.Preprocessing(...)"
            )
        red, green, blue = (round(255 * value) for value in cfg["mean"])
        return Preprocessing(
            size=width,
            mean=tuple(cfg["mean"]),
            std=tuple(cfg["std"]),
            interpolation=cfg["interpolation"],
            crop_fraction=float(cfg["crop_pct"]),
            resize=resize,
            fill=(red, green, blue) if resize == "long" else (0, 0, 0),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"the network's pretrained_cfg says not how it wants its images ({first_line(error)}); "
            "give preprocessing=erf_tools.Preprocessing(...)"
        ) from error
