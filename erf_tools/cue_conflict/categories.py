"""Categories among which is decided, and the two cues that can speak for one: a declaration.

By default they are the sixteen of Geirhos et al., with shape and texture. Everywhere in the package
the first cue is called shape and the second texture, as columns and measures are, whatever they are
called where they are shown.

Source: Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019, and the
repository rgeirhos/texture-vs-shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CATEGORIES = (
    "airplane",
    "bear",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "car",
    "cat",
    "chair",
    "clock",
    "dog",
    "elephant",
    "keyboard",
    "knife",
    "oven",
    "truck",
)

#: The answer of an observer who gave none in time.
NO_ANSWER = "na"


def _indices(*ranges: int | tuple[int, int], without: frozenset[int] = frozenset()) -> list[int]:
    found: list[int] = []
    for item in ranges:
        first, last = item if isinstance(item, tuple) else (item, item)
        found += [index for index in range(first, last + 1) if index not in without]
    return found


#: Category -> 0-based ImageNet-1K class indices; 207 in all, none twice.
IMAGENET_CLASSES: Mapping[str, list[int]] = {
    "airplane": _indices(404),
    "bear": _indices((294, 297)),
    "bicycle": _indices(444, 671),
    "bird": _indices(
        *(8, (10, 16), (18, 20), (22, 24), (80, 83), (87, 96), (98, 100), (127, 133), (135, 145))
    ),
    "boat": _indices(472, 554, 625, 814, 914),
    "bottle": _indices(440, 720, 737, (898, 899), 901, 907),
    "car": _indices(436, 511, 817),
    "cat": _indices((281, 286)),
    "chair": _indices(423, 559, 765, 857),
    "clock": _indices(409, 530, 892),
    "dog": _indices((152, 268), without=frozenset({192, 204, 227, 242, 251, 258, 260, 264})),
    "elephant": _indices((385, 386)),
    "keyboard": _indices(508, 878),
    "knife": _indices(499),
    "oven": _indices(766),
    "truck": _indices(555, 569, 656, 675, 717, 734, 864, 867),
}


#: What the cues are called by default.
CUES = ("shape", "texture")

_OF_CUES = re.compile(r"S / \(S \+ T\)|\(S \+ T\)|\b(?:shape|texture)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Categories:
    """What can be decided for, and by which cues.

    Attributes:
        names: in the order in which they are shown; of equal scores the first one wins.
        classes: of each category, among ImageNet-1K's; without those that have none.
        prompts: what each category is called in words, for networks that compare images with text;
            of those left out the name.
        cues: what the cue whose category comes first in a stimulus' name is called, and the other;
            one where each stimulus has one cue only.
        file: that declares them; empty for what comes with the package.
    """

    names: tuple[str, ...] = CATEGORIES
    classes: Mapping[str, Sequence[int]] = field(default_factory=lambda: IMAGENET_CLASSES)
    prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cues: tuple[str, ...] = CUES
    file: str = field(default="", compare=False)

    @property
    def as_published(self) -> bool:
        """Whether the published stimuli and decisions are about these."""
        return set(self.names) == set(CATEGORIES) and self.cues == CUES

    @property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """What each category is called in words."""
        plain = {name: (name.replace("_", " "),) for name in self.names}
        return {name: tuple(self.prompts.get(name, own)) for name, own in plain.items()}

    def record(self) -> dict[str, Any] | None:
        """Return the declaration as JSON values, but for its file; ``None`` for the default."""
        if self == SIXTEEN:
            return None
        return {
            "names": list(self.names),
            "classes": {name: list(own) for name, own in self.classes.items()},
            "prompts": {name: list(own) for name, own in self.prompts.items()},
            "cues": list(self.cues),
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any] | None) -> Categories:
        """Return what :meth:`record` gave.

        Raises:
            KeyError: it lacks something.
        """
        if record is None:
            return SIXTEEN
        names, cues = tuple(record["names"]), tuple(record["cues"])
        prompts = {name: tuple(own) for name, own in record["prompts"].items()}
        return cls(names, record["classes"], prompts, cues)


SIXTEEN = Categories()


def guessing_mrr(count: int) -> float:
    """Return the mean reciprocal rank that blind guessing gives among so many categories."""
    return sum(1 / rank for rank in range(1, count + 1)) / count


def low_coverage(count: int) -> float:
    """Return below which coverage a ratio of cues rests on hits that guessing could explain.

    Twice what guessing among so many categories gives, .25 for sixteen; where these are so few that
    this is no bound, half way from guessing to 1.
    """
    by_chance = min(2 / count, 1.0)
    return min(2 * by_chance, (1 + by_chance) / 2)


def worded(text: str, cues: Sequence[str]) -> str:
    """Return a text about shape and texture in the words for other cues, with large letters kept.

    Args:
        text: of this package, not one with names of others.
        cues: what the first one is called, and the second if there is one.
    """
    if tuple(cues) == CUES:
        return text
    first, second = cues[0], cues[-1]
    sums = {"S / (S + T)": f"{first} / ({first} + {second})", "(S + T)": f"({first} + {second})"}

    def replaced(found: re.Match[str]) -> str:
        if (sign := found[0]) in sums:
            return sums[sign]
        word = first if sign.lower() == CUES[0] else second
        return word[:1].upper() + word[1:] if sign[0].isupper() else word

    return _OF_CUES.sub(replaced, text)
