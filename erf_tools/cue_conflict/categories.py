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
from itertools import takewhile
from typing import Any

from erf_tools.errors import UsageError
from erf_tools.numbers import whole_number
from erf_tools.text import visible

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


#: What a category cannot be called: how no answer is written.
_NO_NAMES = (NO_ANSWER, "None")

#: Signs of a word, and the last class of ImageNet-1K.
_LONGEST, _LAST_CLASS = 200, 999

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

    Raises:
        UsageError: a name or cue is none, or cannot be told from another in names of stimuli, or a
            class is no class of ImageNet-1K or belongs to two categories.
    """

    names: tuple[str, ...] = CATEGORIES
    classes: Mapping[str, Sequence[int]] = field(default_factory=lambda: IMAGENET_CLASSES)
    prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cues: tuple[str, ...] = CUES
    file: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("names", "cues"):
            given = getattr(self, name)
            if isinstance(given, str):
                raise UsageError(f"{name} is {given!r}; it has several words")
            object.__setattr__(self, name, tuple(given))
        _check_cues(self.cues)
        _check_names(self.names, len(self.cues) > 1)
        for name, prompts in self.prompts.items():
            for prompt in prompts:
                _check_word(prompt, f"in prompts, {name}")
        if self.classes is not IMAGENET_CLASSES:
            _check_classes(self.classes)

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


def _check_cues(cues: tuple[str, ...]) -> None:
    if not 1 <= len(cues) <= 2:
        raise UsageError(f"cues has {len(cues)} names; it has two, or one for single-cue stimuli")
    for cue in cues:
        _check_word(cue, "a cue")
        if "," in cue:
            raise UsageError(f"a cue is called {cue!r}; a comma stands between cues in tables")
    if len({cue.casefold() for cue in cues}) < len(cues):
        raise UsageError(f"both cues are called {cues[0]}; give them different names")


def _check_names(names: tuple[str, ...], in_pairs: bool) -> None:
    if len(names) < 2:
        only = f"{names[0]} is the only category" if names else "there is no category"
        raise UsageError(f"{only}; to decide takes two or more")
    seen: dict[str, str] = {}
    for name in names:
        _check_word(name, "a category")
        if name in _NO_NAMES:
            raise UsageError(f"no category can be called {name}, which is how no answer is written")
        if "/" in name or "\\" in name or name in (".", ".."):
            raise UsageError(f"the category {name} cannot be a folder; its stimuli lie in one")
        if name in seen.values():
            raise UsageError(f"the category {name} is named twice")
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise UsageError(f"the categories {other} and {name} differ in capital letters only")
        if in_pairs and "-" in name:
            raise UsageError(
                f"the category {name} has a '-', which stands between the two cues in the names of "
                "stimuli; write _ instead"
            )
    known = set(names)
    for name in names if in_pairs else ():
        digits = sum(1 for _ in takewhile(str.isdecimal, reversed(name)))
        shorter = [name[:-count] for count in range(1, digits + 1) if name[:-count] in known]
        if shorter:
            raise UsageError(
                f"the categories {shorter[0]} and {name} cannot be told apart in names of stimuli, "
                "where numbers follow; rename one"
            )


def _check_word(word: str, what: str) -> None:
    if not isinstance(word, str):
        raise UsageError(f"{what} is called {word!r}; a name is a word")
    if not word.strip() or word != word.strip():
        raise UsageError(f"{what} is called {word!r}; a name neither is empty nor ends in a space")
    if visible(word) != word or len(word) > _LONGEST:
        raise UsageError(f"{what} is called {visible(word[:_LONGEST])!r}; that is no name")


def _check_classes(classes: Mapping[str, Sequence[int]]) -> None:
    owners: dict[int, str] = {}
    for name, own in classes.items():
        for label in own:
            index = whole_number(label, f"a class of {name}", 0, _LAST_CLASS)
            if index in owners:
                raise UsageError(f"class {index} of {name} is a class of {owners[index]} already")
            owners[index] = name


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
