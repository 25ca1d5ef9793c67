"""Files that say what is decided for: categories of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
from msgspec import Struct

from erf_tools.cue_conflict.categories import CUES, IMAGENET_CLASSES, Categories
from erf_tools.errors import UsageError
from erf_tools.folders import given_path, read_file, why_unreadable
from erf_tools.text import first_few, visible

#: Bytes of a file of categories.
_MOST_BYTES = 2**22


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
        if not found.categories:
            return Categories(cues=found.cues, file=str(path))
        prompts = {name: own.prompts for name, own in found.categories.items() if own.prompts}
        named = Categories(tuple(found.categories), {}, prompts, found.cues, str(path))
        return replace(named, classes=_classes(found.categories))
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error


def _classes(categories: Mapping[str, _Category]) -> dict[str, list[int]]:
    """Return the classes of the categories that say them, by index."""
    # These take seconds, and few commands need them.
    from timm.data import ImageNetInfo

    from erf_tools.models.heads import IMAGENET_HEAD

    synsets = {synset: index for index, synset in enumerate(ImageNetInfo().label_names())}
    found: dict[str, list[int]] = {}
    for name, own in categories.items():
        for label in own.classes:
            index = synsets.get(label) if isinstance(label, str) else label
            if index is None or not 0 <= index < IMAGENET_HEAD:
                raise UsageError(
                    f"{label!r} of {name} is no class of ImageNet-1K: neither an index from 0 to "
                    f"{IMAGENET_HEAD - 1} nor a synset"
                )
            found.setdefault(name, []).append(index)
    taken = {index for own in found.values() for index in own}
    for name in categories:
        if name not in found and not taken & {*(known := IMAGENET_CLASSES.get(name, []))}:
            found |= {name: list(known)} if known else {}
    without = [name for name in categories if name not in found]
    if found and without:
        raise UsageError(f"no classes are given of {first_few(without)}, while others have some")
    return found
