"""Taps: which feature maps of a network there are, and what they are called."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from torch import nn

from erf_tools.errors import UsageError, suggestion

Layout = Literal["NCHW", "NHWC", "NLC", "NCL", "LNC"]

#: Paths that stand for methods of timm's networks rather than for modules.
LAST_STAGE, LAST_MAP = "forward_intermediates", "forward_features"

#: What erf-tools asks of ``forward_intermediates``; networks of others have one that takes less.
_ASKED = {"indices", "norm", "output_fmt", "intermediates_only", "stop_early"}


@dataclass(frozen=True)
class Reading:
    """How a layer's output has been found to be laid out; see :mod:`erf_tools.features.proof`."""

    layout: Layout
    prefix_tokens: int | None = None


@dataclass(frozen=True)
class Tap:
    """A feature map of a network.

    Attributes:
        path: dotted name of the module whose output is read (``""`` is the network itself), or a
            method of timm's: ``forward_intermediates`` for a stage before the final norm,
            ``forward_features`` for the last map where convolutions follow the last stage.
        layout: of that output: ``NCHW`` or ``NHWC``; for tokens ``NLC``, ``NCL``, or ``LNC`` where
            the batch comes second. ``None`` resolves it: :mod:`erf_tools.features.layout`.
        prefix_tokens: tokens before the first position (class, distillation, registers); ``None``
            takes the network's own number.
        grid: rows and columns of the tokens; ``None`` asks the network's ``patch_embed``, or gives
            them the proportions of the image.
        output_key: which part of a tuple, list or dictionary: an index or a key, with dots where
            they are nested. ``None`` takes the only map in it, or what transformers calls its
            ``last_hidden_state``.
        stage: which of timm's stages; ``None`` is the last.
        run: which run of a module that runs several times in a pass, from 1; ``None`` is for one
            that runs once.
        reading: what was found of the two that ``layout`` and ``prefix_tokens`` may leave open. It
            is no part of what a tap is, and taps are equal without it.
    """

    path: str
    layout: Layout | None = None
    prefix_tokens: int | None = None
    grid: tuple[int, int] | None = None
    output_key: str | None = None
    stage: int | None = None
    run: int | None = None
    reading: Reading | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.layout not in (None, *get_args(Layout)):
            raise UsageError(
                f"layout is {self.layout!r}; it is NCHW or NHWC, or of tokens NLC, NCL or LNC"
            )
        if self.run is not None and self.run < 1:
            raise UsageError(f"run is {self.run}; runs are counted from 1")

    @property
    def name(self) -> str:
        """The tap in words."""
        if self.path == LAST_STAGE and self.stage is not None:
            return f"stage {self.stage}"
        words = {
            LAST_STAGE: "last stage before the final norm (timm forward_intermediates)",
            LAST_MAP: "last map before pooling (timm forward_features)",
            "": "output of the network",
        }.get(self.path, self.path)
        if self.run is not None:
            words += f"#{self.run}"
        return words if self.output_key is None else f"{words}, output {self.output_key}"

    @property
    def code(self) -> str:
        """The tap as it is written in Python."""
        said = [
            f"{name}={value!r}"
            for name, value in list(self._declared().items())[1:]
            if value is not None
        ]
        return f"Tap({', '.join([repr(self.path), *said])})"

    @property
    def is_method(self) -> bool:
        """Whether it stands for a method of timm's networks rather than for a module."""
        return self.path in (LAST_STAGE, LAST_MAP)

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        grid = list(self.grid) if self.grid else None
        return {**self._declared(), "grid": grid, "name": self.name}

    def _declared(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self) if part.compare}


def has_stages(module: nn.Module) -> bool:
    """Tell whether a network says what its stages are, as timm's do."""
    method = getattr(module, "forward_intermediates", None)
    if method is None or not hasattr(module, "feature_info") or not hasattr(module, "num_features"):
        return False
    return set(inspect.signature(method).parameters) >= _ASKED


def has_timms_stages(module: nn.Module) -> bool:
    """Tell whether a network's stages are handed out by timm's own code, or by that of RepLKNet."""
    method = getattr(type(module), "forward_intermediates", None)
    return has_stages(module) and method.__module__.split(".")[0] in ("timm", "erf_tools")


def default_tap(module: nn.Module) -> Tap:
    """Return the last spatial map before pooling and before the final norm.

    timm and RepLKNet: the last stage, or ``forward_features`` where the network declares other
    channels for it than its last stage has, as EfficientNet does for the 1x1 convolution behind it.
    Any other network: its own output, which then has to be a map.
    """
    if not has_stages(module):
        return Tap("")
    declared: Any = module
    widened = declared.num_features != declared.feature_info[-1]["num_chs"]
    return Tap(LAST_MAP if widened and not hasattr(module, "norm") else LAST_STAGE)


def stage_taps(module: nn.Module) -> list[Tap]:
    """Return a tap for each stage, from the input to the output.

    timm says itself what its networks' stages are (in a plain transformer every block). The
    default tap comes last where it lies behind the last stage.

    Raises:
        UsageError: the network does not say what its stages are.
    """
    if not has_stages(module):
        raise UsageError(
            f"{type(module).__name__} does not say what its stages are; name layers with --layer"
        )
    declared: Any = module
    stages = [Tap(LAST_STAGE, stage=stage) for stage in range(len(declared.feature_info))]
    last = default_tap(module)
    return [*stages, last] if last.path == LAST_MAP else stages


def find_taps(
    module: nn.Module, patterns: Sequence[str], output_key: str | None = None
) -> list[Tap]:
    """Return a tap for each module whose dotted name fits a pattern, in the order of definition.

    Args:
        module: the network.
        patterns: names, or shell patterns in which ``*`` stays within one level. ``NAME#2`` is the
            second run of a module that runs several times.
        output_key: see :class:`Tap`.

    Raises:
        UsageError: a pattern fits nothing.
    """
    names = [name for name, _ in module.named_modules() if name]
    found: set[tuple[str, int | None]] = set()
    for pattern in patterns:
        path, marked, number = pattern.partition("#")
        if marked and not number.isdecimal():
            raise UsageError(f"--layer {pattern}: after # comes the number of a run, as in NAME#2")
        run = int(number) if marked else None
        wanted = path.split(".")
        fitting = {
            (name, run)
            for name in names
            if len(parts := name.split(".")) == len(wanted)
            and all(fnmatchcase(part, want) for part, want in zip(parts, wanted, strict=True))
        }
        if not names:
            raise UsageError(f"--layer {pattern}: the network has no layers; leave --layer out")
        if not fitting:
            raise UsageError(
                f"--layer {pattern}: the network has no such layer; {suggestion(path, names)} "
                "`erf-tools layers MODEL` lists them"
            )
        found |= fitting
    ordered = sorted(found, key=lambda layer: (names.index(layer[0]), layer[1] or 0))
    return [Tap(name, output_key=output_key, run=run) for name, run in ordered]
