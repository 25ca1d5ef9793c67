"""Files that say what is decided for: categories of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

import msgspec
from msgspec import Struct

from erf_tools.cue_conflict.categories import (
    CUES,
    IMAGENET_CLASSES,
    NO_ANSWER,
    Categories,
)
from erf_tools.errors import UsageError
from erf_tools.folders import given_path, read_file, why_unreadable
from erf_tools.text import first_few, visible

#: Bytes of a file of categories, and signs of a word in it.
_MOST_BYTES, _LONGEST = 2**22, 200

#: What a category cannot be called: how no answer is written.
_TAKEN = (NO_ANSWER, "None")


class _Category(Struct, frozen=True, forbid_unknown_fields=True):
    """A table ``[categories.NAME]``."""

    classes: tuple[int | str, ...] = ()
    prompts: tuple[str, ...] = ()


class _Declaration(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of categories."""

    cues: tuple[str, ...] = CUES
    categories: dict[str, _Category] = {}


def read_categories(path: Path | str) -> Categories:
    """Read a declaration of categories, in TOML.

    ``cues`` says what the two cues are called, or the only one. A table ``[categories.NAME]`` for
    each category may have ``classes`` (indices or synsets of ImageNet-1K) and ``prompts`` (what it
    is called in words, for networks that compare images with text). A category of a published name
    has the published classes, where it says none; without such tables there are the sixteen.

    Raises:
        UsageError: the file is missing, malformed, or says what makes no sense; it is said what.
    """
    place = f"--categories {path}"
    try:
        text = read_file(given_path(path, "--categories"), _MOST_BYTES).decode("utf-8-sig")
        found = msgspec.toml.decode(text, type=_Declaration)
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {why_unreadable(error)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{place} is not in TOML: it is no text in UTF-8") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(
            f"{place} is no declaration of categories: {visible(str(error))}"
        ) from error
    if not text.strip():
        raise UsageError(f"{place} is empty; it names cues, categories or both")
    try:
        _check_cues(found.cues)
        if not found.categories:
            return Categories(cues=found.cues, file=str(path))
        _check_names(tuple(found.categories), len(found.cues) > 1)
        return Categories(
            tuple(found.categories),
            _classes(found.categories),
            {name: _prompts(name, own) for name, own in found.categories.items() if own.prompts},
            found.cues,
            str(path),
        )
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error


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
        raise UsageError(f"{names[0]} is the only category; to decide takes two or more")
    seen: dict[str, str] = {}
    for name in names:
        _check_word(name, "a category")
        if name in _TAKEN:
            raise UsageError(f"no category can be called {name}, which is how no answer is written")
        if "/" in name or "\\" in name or name in (".", ".."):
            raise UsageError(f"the category {name} cannot be a folder; its stimuli lie in one")
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
    if not word.strip() or word != word.strip():
        raise UsageError(f"{what} is called {word!r}; a name neither is empty nor ends in a space")
    if visible(word) != word or len(word) > _LONGEST:
        raise UsageError(f"{what} is called {visible(word[:_LONGEST])!r}; that is no name")


def _prompts(name: str, own: _Category) -> tuple[str, ...]:
    for prompt in own.prompts:
        _check_word(prompt, f"in prompts, {name}")
    return own.prompts


def _classes(categories: Mapping[str, _Category]) -> dict[str, list[int]]:
    """Return the classes of the categories that say them, by index."""
    # These take seconds, and few commands need them.
    from timm.data import ImageNetInfo

    from erf_tools.models.heads import IMAGENET_HEAD

    synsets = {synset: index for index, synset in enumerate(ImageNetInfo().label_names())}
    owners: dict[int, str] = {}
    found: dict[str, list[int]] = {}
    for name, own in categories.items():
        for label in own.classes:
            index = synsets.get(label) if isinstance(label, str) else label
            if index is None or not 0 <= index < IMAGENET_HEAD:
                raise UsageError(
                    f"{label!r} of {name} is no class of ImageNet-1K: neither an index from 0 to "
                    f"{IMAGENET_HEAD - 1} nor a synset"
                )
            if index in owners:
                raise UsageError(f"class {label} of {name} is a class of {owners[index]} already")
            owners[index] = name
            found.setdefault(name, []).append(index)
    for name in categories:
        if name not in found and not owners.keys() & (known := IMAGENET_CLASSES.get(name, [])):
            found |= {name: list(known)} if known else {}
    without = [name for name in categories if name not in found]
    if found and without:
        raise UsageError(f"no classes are given of {first_few(without)}, while others have some")
    return found
