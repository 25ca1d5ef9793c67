"""What a network's head gives: logits, as whatever it wraps them in, and probabilities of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

#: Classes of ImageNet-1K; a head with another number of them has other classes.
IMAGENET_HEAD = 1000


def find_logits(output: Any, key: str | None = None) -> Tensor | None:
    """Return the logits ``[N, classes]`` in what a network gives; ``None`` where there are none.

    Args:
        output: a tensor; or a dictionary, tuple or object such as transformers' ``ModelOutput``.
        key: which part, with dots where parts have parts; ``logits`` where it is no tensor.
    """
    if key is not None or not isinstance(output, Tensor):
        for name in (key or "logits").split("."):
            output = _part(output, name)
    return output if isinstance(output, Tensor) and output.ndim == 2 else None


def _part(output: Any, name: str) -> Any:
    if isinstance(output, Mapping):
        return output.get(name)
    if isinstance(output, (tuple, list)) and name.isdecimal():
        return output[int(name)] if int(name) < len(output) else None
    return None if isinstance(output, Tensor) else getattr(output, name, None)


def describe(output: Any) -> str:
    """Return in words what a network gives: the shape of a tensor, or the names of its parts."""
    if isinstance(output, Tensor):
        return f"a tensor {list(output.shape)}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} of {', '.join(map(str, output))}"
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {len(output)}"
    return f"a {type(output).__name__}"


def are_probabilities(outputs: Tensor) -> bool:
    """Tell whether a head gives probabilities, of a softmax or of sigmoids, and not logits.

    Args:
        outputs: ``[N, classes]`` of as many images as there are; logits of none lie in [0, 1].
    """
    return bool(((outputs >= 0) & (outputs <= 1)).all())


def probabilities(outputs: Tensor) -> Tensor:
    """Return ``[N, classes]`` in float32: the softmax of logits, probabilities as they are."""
    outputs = outputs.float()
    return outputs if are_probabilities(outputs) else outputs.softmax(dim=1)
