"""Which models a command is asked for, with which weights, and which layers of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from erf_tools.addresses import is_address
from erf_tools.choices import choice
from erf_tools.errors import UsageError
from erf_tools.labels import ASKED, weights_label
from erf_tools.models.prefixes import is_factory

#: What may be a folder as it is; and how much of another name is kept for people.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_KEPT = 40

#: What a :class:`~erf_tools.features.taps.Tap` may have that no option gives.
_BY_PYTHON = ("layout", "prefix_tokens", "grid")


@dataclass(frozen=True)
class Request:
    """One model of a study: its name and which weights it shall have.

    Attributes:
        model: its name.
        weights: ``pretrained``, ``random``, a file or an address.
        in_series: one of several checkpoints of one model.
        channels: that it takes.
        against: it is there to be compared with the same model of other weights.
    """

    model: str
    weights: str = "pretrained"
    in_series: bool = False
    channels: int = 3
    against: bool = False

    @property
    def folder(self) -> str:
        """Where its results go, below the study's folder."""
        folder = _folder_against(self.model) if self.against else folder_name(self.model)
        return f"{folder}/{folder_name(Path(self.weights).stem)}" if self.in_series else folder

    @property
    def label(self) -> str:
        """The model, and which of several weights."""
        several = self.in_series or self.against
        return f"{self.model} {self.weights_label}" if several else self.model

    @property
    def weights_label(self) -> str:
        """Which weights are asked for in a word or two, as results say it."""
        kind = self.weights if self.weights in ASKED else "file"
        given = kind == "pretrained" and is_factory(self.model)
        return weights_label("given" if given else kind, self.weights)


def requests(models: Sequence[str], weights: Sequence[str], channels: int = 3) -> list[Request]:
    """Pair models with weights: one choice for all of them, or one each.

    A choice with ``*``, ``?`` or ``[...]`` is a series: all files it fits, in the order of the
    numbers in their names.

    Raises:
        UsageError: a model is named twice, the numbers do not fit, or there is no such file.
    """
    if not models:
        raise UsageError("--model is missing; `erf-tools models` lists what there is")
    for name in models:
        if models.count(name) > 1:
            raise UsageError(f"{name} is named twice")
    check_folders(models, "--model")
    if len(weights) == 1 and len(models) > 1 and weights[0] not in ASKED:
        raise UsageError(
            f"--weights {weights[0]}: one file is for one model; give --weights once per model"
        )
    if len(weights) not in (1, len(models)):
        raise UsageError(
            f"--weights is given {len(weights)} times for {len(models)} models; "
            "give it once, or once per model in the same order"
        )
    chosen = list(weights) * len(models) if len(weights) == 1 else weights
    wanted: list[Request] = []
    for name, own in zip(models, chosen, strict=True):
        if has_magic(own) and not is_address(own) and not Path(own).exists():
            wanted += [Request(name, file, True, channels) for file in _series(own)]
        else:
            wanted.append(Request(name, own, channels=channels))
    return wanted


def with_untrained(wanted: Sequence[Request]) -> list[Request]:
    """Return requests with each model untrained too, after what it is trained to.

    Raises:
        UsageError: all are untrained, a model decides its own initialisation, or two would share a
            folder.
    """
    trained = list(dict.fromkeys(each.model for each in wanted if each.weights != "random"))
    if not trained:
        raise UsageError("--against random is for trained weights, and all are random")
    if own := [name for name in trained if is_factory(name)]:
        raise UsageError(
            f"--against random is for models that erf-tools builds; {own[0]} decides its own "
            "initialisation: leave --against out"
        )
    folders = [_folder_against(name) for name in trained]
    check_folders([*dict.fromkeys(each.model for each in wanted), *folders], "--against random")
    found = list(wanted)
    for name in trained:
        last = max(place for place, each in enumerate(found) if each.model == name)
        untrained = Request(name, "random", channels=found[last].channels, against=True)
        found.insert(last + 1, untrained)
    return found


def _folder_against(model: str) -> str:
    return folder_name(f"{model} untrained")


def _series(pattern: str) -> list[str]:
    files = glob(str(Path(pattern).expanduser()))
    if not files:
        raise UsageError(f"--weights {pattern}: there is no such file")
    check_folders([Path(file).stem for file in files], f"--weights {pattern}")
    return sorted(files, key=by_numbers)


def by_numbers(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts epoch_9 before epoch_10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def folder_name(name: str) -> str:
    """Return the name of a folder for a model, a checkpoint, a layer or a protocol.

    ``:``, ``/`` and spaces become ``_``. A name that would lose more than that, or is too long,
    keeps its letters and gets eight digits of its SHA-256, so that no two share a folder.
    """
    plain = re.sub(r"[:/ ]", "_", name)
    if _PLAIN.fullmatch(plain):
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    kept = re.sub(r"[^\w-]+", "_", name)[:_KEPT]
    return f"{kept}-{digest}"


def check_folders(names: Sequence[str], option: str) -> None:
    """See that each of several names has a folder of its own, on every file system.

    Raises:
        UsageError: two would share one, if only where capital letters do not count.
    """
    named: dict[str, str] = {}
    for name in names:
        folder = folder_name(name).casefold()
        if folder in named:
            raise UsageError(
                f"{option}: {named[folder]} and {name} would be written to the same folder; "
                "rename one, or measure them apart, with an --output folder for each"
            )
        named[folder] = name


@dataclass(frozen=True)
class Layers:
    """Which layers of each model a study measures.

    Attributes:
        layers: names or patterns; see :func:`erf_tools.features.taps.find_taps`. Without any, the
            last map before pooling.
        output_key: which part of a layer's output, where it has several.
        stages: each stage instead.
    """

    layers: tuple[str, ...] = choice(
        (),
        "A layer, or a pattern as in 'layer*'; repeatable. `erf-tools layers MODEL` lists them. "
        "Without it: the last map before pooling.",
        option="--layer",
        metavar="NAME",
    )
    output_key: str | None = choice(
        None, "Which part of a layer's tuple, list or dictionary.", metavar="KEY"
    )
    stages: bool = choice(False, "Measure each stage, and draw how the ERF grows.")

    def __post_init__(self) -> None:
        if self.stages and self.layers:
            raise UsageError("--stages and --layer exclude each other; leave one out")
        if self.output_key and not self.layers:
            raise UsageError("--output-key is for a layer; name it with --layer")

    def folder(self, tap: str) -> str:
        """Return where the results of a tap go, below the model's folder; empty for that folder."""
        return folder_name(tap) if self.stages or self.layers else ""

    def folders(self, place: Path, taps: Sequence[str]) -> list[Path]:
        """Return where the results of several taps go.

        Args:
            place: the model's folder.
            taps: their names.

        Raises:
            UsageError: two would share a folder.
        """
        check_folders(taps, "--layer")
        return [place / self.folder(tap) for tap in taps]

    @classmethod
    def recorded(cls, tap: Mapping[str, Any]) -> Layers | None:
        """Return what measures a result's layer, from its record of the tap.

        ``None`` for one that only Python gives: with a layout, prefix tokens or a grid of one's
        own, or of no module that has a name.
        """
        if tap["default"]:
            return cls()
        if any(tap.get(name) is not None for name in _BY_PYTHON):
            return None
        if tap["stage"] is not None:
            return cls(stages=True)
        if not tap["path"] or tap["path"].startswith("forward_"):  # a method of timm's, no module
            return None
        run = tap.get("run")
        return cls((f"{tap['path']}#{run}" if run else tap["path"],), tap["output_key"])
