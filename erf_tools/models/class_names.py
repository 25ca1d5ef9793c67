"""What a network calls its thousand classes, and whether they are ImageNet-1K's in their order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from timm.data import ImageNetInfo
from torch import nn

from erf_tools.models.heads import IMAGENET_HEAD
from erf_tools.text import visible

#: Names that say nothing: LABEL_7, class 7, 7.
_GENERIC = re.compile(r"(?:label|class|category)?[ _-]?\d+", re.IGNORECASE)
_SYNSET = re.compile(r"n\d{8}")

#: Libraries spell classes in their own ways: of a thousand names of OpenAI's 171 are no words of
#: ImageNet's, and one is another class's. Of other classes hardly one is at its place by chance; of
#: these in another order, most names are other classes'.
_FEWEST_AT_HOME, _MOST_ELSEWHERE = IMAGENET_HEAD // 10, IMAGENET_HEAD // 100


def unlike_imagenet(
    module: nn.Module, categories: Mapping[str, Sequence[int]] | None = None
) -> str:
    """Return by which class a network says that its head's are not ImageNet-1K's in their order.

    Args:
        module: the network, with names of a thousand classes as transformers and timm keep them;
            those of others, and names that say nothing, are not judged.
        categories: category -> class indices that are counted on: a name is not that of a class
            beyond its category.

    Returns:
        The end of a sentence about the network; empty where nothing speaks against it.
    """
    names = _names(module)
    if not names or all(_GENERIC.fullmatch(name.strip()) for name in names):
        return ""
    known, found = _known(), [_classes(name) for name in names]
    at_home = [index in classes for index, classes in enumerate(found)]
    elsewhere = [bool(classes) and not at_home[index] for index, classes in enumerate(found)]
    wrong = [
        index
        for own in (categories or {}).values()
        for index in own
        if found[index] and not found[index] & set(own)
    ]
    if sum(at_home) < _FEWEST_AT_HOME or sum(elsewhere) > _MOST_ELSEWHERE:
        wrong = [index for index, is_right in enumerate(at_home) if not is_right]
    if not wrong:
        return ""
    right = next(word for word, classes in known.items() if wrong[0] in classes)
    return f"calls its class {wrong[0]} {visible(names[wrong[0]][:99])!r}, ImageNet-1K {right!r}"


def _names(module: nn.Module) -> list[str]:
    """Return the names of a network's thousand classes; none where it has no such."""
    timms: Any = getattr(module, "pretrained_cfg", None)
    timms = timms.get("label_names") if isinstance(timms, Mapping) else None
    names = getattr(getattr(module, "config", None), "id2label", None) or timms
    if isinstance(names, Mapping):
        by_index = {str(index): name for index, name in names.items()}
        names = [by_index.get(str(index)) for index in range(len(by_index))]
    if not isinstance(names, (list, tuple)) or len(names) != IMAGENET_HEAD:
        return []
    return list(names) if all(isinstance(name, str) for name in names) else []


@cache
def _known() -> Mapping[str, frozenset[int]]:
    """Return the classes that each word of ImageNet's, and each synset, can stand for."""
    info, known = ImageNetInfo(), dict[str, frozenset[int]]()
    for index, synset in enumerate(info.label_names()):
        for word in (*_words(info.index_to_description(index)), synset):
            known[word] = known.get(word, frozenset()) | {index}
    return known


def _classes(name: str) -> frozenset[int]:
    """Return the classes that a name can stand for: ``tench, Tinca tinca``, ``n01440764_tench``."""
    words = (*_words(name), *_SYNSET.findall(name))
    return frozenset[int]().union(*(_known().get(word, frozenset()) for word in words))


def _words(name: str) -> list[str]:
    """Return the words for one class in a name, without what each library writes otherwise."""
    parts = re.split(r"[,:;/()]", name.casefold().replace("'", ""))
    return [word for part in parts if (word := " ".join(re.findall(r"[^\W_]+", part)))]
