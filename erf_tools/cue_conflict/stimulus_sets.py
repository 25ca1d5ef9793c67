"""Stimuli and sets of them: what they are called, and what is said of them.

The texture-shape cue-conflict set has 1,280 images of 224x224 pixels, named
``<shape>/<shape><n>-<texture><m>.png``: each of the 16 x 16 pairs of categories has five. The
single-cue sets (edges, filled silhouettes) are named ``<category>/<category><n>.png``.

Source: Geirhos et al., ICLR 2019, repository rgeirhos/texture-vs-shape, CC BY 4.0.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from erf_tools.cue_conflict.categories import CATEGORIES, SIXTEEN, Categories
from erf_tools.decoding import decode_image
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.folders import Remark, read_file, why_unreadable
from erf_tools.text import first_few

SIDE = 224
PER_PAIR = 5
TOTAL = len(CATEGORIES) ** 2 * PER_PAIR

#: How the label of a part of a set begins.
PARTIAL = "PARTIAL"

CITATION = (
    "Stimuli: Geirhos et al., ImageNet-trained CNNs are biased towards texture; increasing shape "
    "bias improves accuracy and robustness, ICLR 2019 (github.com/rgeirhos/texture-vs-shape), "
    "licence CC BY 4.0"
)
#: Of names and pixels of the published set: see :func:`digest`.
PUBLISHED_DIGEST = "cba9bd40eccd46f5a419b951c822750b9dc65344f9695ac0c0ef7273e6fccb92"

#: Bytes of a stimulus' file.
LARGEST_FILE = 32 * 1024 * 1024


@dataclass(frozen=True)
class Stimulus:
    """One image.

    Attributes:
        name: without folder and suffix: ``cat7-elephant1``, or ``cat7``.
        shape: category of its shape (of the object, in a single-cue set).
        texture: category of its texture; the shape's in a single-cue set.
        path: the file.
        sha256: of its RGB pixels.
    """

    name: str
    shape: str
    texture: str
    path: Path
    sha256: str

    def pixels(self) -> np.ndarray:
        """Decode to uint8 ``[height, width, 3]``.

        Raises:
            ErfToolsError: the file is not what it was when the set was opened.
        """
        try:
            pixels = read_pixels(self.path)
        except Exception as error:  # Pillow's decoders raise a dozen kinds
            raise ErfToolsError(
                f"the stimulus {self.name} can no longer be read: {why_unreadable(error)}"
            ) from error
        if pixels_sha256(pixels) != self.sha256:
            raise ErfToolsError(
                f"the stimulus {self.name} was changed after the set was opened; leave it as it "
                "is, and run again"
            )
        return pixels


@dataclass(frozen=True)
class StimulusSet:
    """A checked set.

    Attributes:
        stimuli: in the order of their names.
        conflict: cue conflict, or a single cue.
        source: where it lies, for people.
        sha256: of names and pixels; see :func:`digest`.
        deviations: what is not as published; empty for a whole set.
        left_out: names of what lies beside the stimuli, with the reason why it is none.
        categories: that they are of.
    """

    stimuli: tuple[Stimulus, ...]
    conflict: bool
    source: str
    sha256: str
    deviations: tuple[str, ...] = ()
    left_out: tuple[Remark, ...] = ()
    categories: Categories = SIXTEEN

    def __len__(self) -> int:
        return len(self.stimuli)

    @property
    def label(self) -> str:
        """How much of the set there is, in words."""
        if not self.categories.as_published:
            part = f"{PARTIAL}: " if self.deviations else ""
            return f"{part}{len(self)} stimuli, {' and '.join(self.categories.cues)}"
        if not self.conflict:
            return f"{len(self)} single-cue stimuli"
        if len(self) < TOTAL:
            return f"{PARTIAL}: {len(self)} of {TOTAL} stimuli"
        published = "as published" if self.sha256 == PUBLISHED_DIGEST else "pixels not as published"
        return f"{TOTAL} stimuli, {published}"

    def of_conflict(self) -> tuple[Stimulus, ...]:
        """Return the stimuli whose cues are of different categories.

        Raises:
            UsageError: there are none.
        """
        found = tuple(each for each in self.stimuli if each.shape != each.texture)
        if not found:
            raise UsageError(
                f"{self.source} holds no stimulus whose {' and '.join(self.categories.cues)} "
                "conflict; without a conflict there is nothing to measure: add others"
            )
        return found

    def record(self) -> dict[str, Any]:
        """Return the fields but the list itself as JSON values."""
        return {
            "source": self.source,
            "kind": "cue conflict" if self.conflict else "single cue",
            "count": len(self),
            "sha256": self.sha256,
            "as_published": self.sha256 == PUBLISHED_DIGEST,
            "deviations": list(self.deviations),
            "citation": CITATION if self.categories.as_published else "",
            "categories": self.categories.record(),
            "categories_file": self.categories.file,
        }


def parse_name(name: str, categories: Categories = SIXTEEN) -> tuple[str, str] | None:
    """Return the categories of both cues in a name like ``cat7-elephant1.png``, or ``None``."""
    match = _conflict(categories.names).fullmatch(name)
    return (match[1], match[2]) if match else None


@cache
def _conflict(names: tuple[str, ...]) -> re.Pattern[str]:
    any_of = "|".join(map(re.escape, names))
    return re.compile(rf"({any_of})\d+-({any_of})\d+\.\w+")


@cache
def published_names() -> frozenset[str]:
    """Return the 1,280 published file names."""
    text = (resources.files("erf_tools.cue_conflict") / "cue_conflict_names.txt").read_text()
    return frozenset(f"{name}.png" for name in text.split())


def digest(stimuli: Iterable[Stimulus]) -> str:
    """Return the SHA-256 over names and digests of pixels, in the order of the names."""
    total = hashlib.sha256()
    for stimulus in sorted(stimuli, key=lambda stimulus: stimulus.name):
        total.update(f"{stimulus.name} {stimulus.sha256}\n".encode())
    return total.hexdigest()


def read_pixels(path: Path) -> np.ndarray:
    """Decode a file to uint8 ``[height, width, 3]``; raises what Pillow's decoders raise."""
    return np.asarray(decode_image(read_file(path, LARGEST_FILE))[0])


def pixels_sha256(pixels: np.ndarray) -> str:
    """Return the SHA-256 of an image's pixels."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def sentence(kind: str, names: list[str], one: str, many: str) -> str:
    """Return what is the matter with some names of a kind, as part of a sentence.

    Args:
        kind: as ``file``.
        names: of which the first few are said.
        one: what is said of a single one, and
        many: of several.
    """
    if len(names) == 1:
        return f"the {kind} {names[0]} {one}"
    plural = {"stimulus": "stimuli", "category": "categories"}.get(kind, f"{kind}s")
    return f"{len(names)} {plural} {many}: {first_few(names)}"
