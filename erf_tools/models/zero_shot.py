"""Heads without training: classes in words, for networks that compare images with text.

Source: Radford et al., Learning transferable visual models from natural language supervision, ICML
2021 (CLIP), whose eighty templates for ImageNet open_clip carries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.errors import UsageError
from erf_tools.folders import given_path, read_file, why_unreadable
from erf_tools.models.names import open_library
from erf_tools.text import visible

#: What stands in a template where the name of a class goes.
PLACE = "{}"

#: The choice of prompts that is the eighty templates of the CLIP paper.
EIGHTY = "eighty"

#: Bytes of a file of templates, and how many it may have.
_MOST_BYTES, _MOST = 2**20, 10_000


@dataclass(frozen=True)
class ClassTexts:
    """Classes in words.

    Attributes:
        names: what each class is called, of which there may be several, by the class.
        templates: each with :data:`PLACE` where a name goes.
    """

    names: Mapping[str, Sequence[str]]
    templates: Sequence[str] = (PLACE,)

    def of(self, name: str) -> list[str]:
        """Return all texts of a class."""
        return [
            template.replace(PLACE, word)
            for word in self.names[name]
            for template in self.templates
        ]

    def record(self) -> dict[str, Any]:
        """Return the texts as JSON values."""
        names = {name: list(words) for name, words in self.names.items()}
        return {"names": names, "templates": list(self.templates)}


def read_templates(prompts: str) -> tuple[str, ...]:
    """Return the templates that a choice of prompts means.

    Args:
        prompts: a template, :data:`EIGHTY`, or a file with a template on each line.

    Raises:
        UsageError: it is none of them, or the file holds something else.
    """
    if prompts == EIGHTY:
        open_library("open_clip")  # which says so where it is missing
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return tuple(template(PLACE) for template in OPENAI_IMAGENET_TEMPLATES)
    if PLACE in prompts:
        return (prompts,)
    path = given_path(prompts, "--prompts")
    if not path.exists():
        raise UsageError(
            f"--prompts is {prompts!r}; it is a template with {PLACE} where the category goes, "
            f"{EIGHTY}, or a file of templates, one on each line"
        )
    try:
        lines = read_file(path, _MOST_BYTES).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"--prompts {path} cannot be read: {why_unreadable(error)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--prompts {path} is no text in UTF-8") from error
    templates = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not templates:
        raise UsageError(f"--prompts {path} is empty; it has a template on each line")
    if len(templates) > _MOST:
        raise UsageError(f"--prompts {path} has {len(templates)} templates; at most {_MOST}")
    for number, template in templates:
        if PLACE not in template:
            raise UsageError(
                f"--prompts {path}, line {number}: {visible(template[:99])!r} has no {PLACE} "
                "where the category goes"
            )
    return tuple(template for _, template in templates)


class ZeroShot(nn.Module):
    """An image tower that names classes: the logarithms of their probabilities, ``[N, classes]``.

    The softmax of cosines between the image's features and each class', times the network's own
    scale.
    """

    def __init__(self, tower: nn.Module, features: Tensor, scale: float) -> None:
        """Take an image tower.

        Args:
            tower: gives features ``[N, D]``, or a tuple of which they are the first.
            features: of the classes, ``[classes, D]``, of length 1.
            scale: of the cosines.
        """
        super().__init__()
        self.tower = tower
        self.features: Tensor
        self.register_buffer("features", features, persistent=False)
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithms of the classes' probabilities, which nobody takes for these."""
        found = self.tower(images)
        own = found[0] if isinstance(found, tuple) else found
        return (self.scale * F.normalize(own, dim=-1) @ self.features.T).log_softmax(dim=-1)


def class_features(texts: ClassTexts, encode: Callable[[list[str]], Tensor]) -> Tensor:
    """Return the features of each class: the mean over its texts, of length 1, ``[classes, D]``.

    Args:
        texts: of the classes.
        encode: gives features of length 1 of texts, ``[N, D]``.
    """
    with torch.inference_mode():
        means = [encode(texts.of(name)).mean(dim=0) for name in texts.names]
    return F.normalize(torch.stack(means), dim=-1).clone()
