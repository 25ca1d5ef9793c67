"""What a network's head gives: logits, as whatever it wraps them in, and probabilities of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

#: Classes of ImageNet-1K; a head with another number of them has other classes.
IMAGENET_HEAD = 1000

#: What a head gives.
Head = Literal["probabilities", "logits"]

#: By how much rounding takes probabilities out of [0, 1], as where those of an ensemble are added.
_ROUNDING = 1e-5


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


def head_of(outputs: Tensor) -> Head:
    """Tell whether a head gives probabilities, of a softmax or of sigmoids, or logits.

    Args:
        outputs: ``[N, classes]`` of as many images as there are; logits of none lie in [0, 1], out
            of which rounding may take probabilities.
    """
    within = (outputs >= -_ROUNDING) & (outputs <= 1 + _ROUNDING)
    return "probabilities" if bool(within.all()) else "logits"


def log_probabilities(outputs: Tensor, head: Head | None = None) -> Tensor:
    """Return logarithms ``[N, classes]`` of probabilities, in float64 on the CPU.

    Those of a softmax of logits, and of probabilities as they are, within [0, 1].

    Args:
        outputs: of the head, ``[N, classes]``.
        head: what they are, if that is known from more of them; see :func:`head_of`.
    """
    wide = outputs.cpu().double()
    if (head or head_of(outputs)) == "logits":
        return wide.log_softmax(dim=1)
    return wide.clamp(0, 1).log()


def probabilities(outputs: Tensor) -> Tensor:
    """Return ``[N, classes]`` in float32: the softmax of logits, probabilities as they are."""
    outputs = outputs.float()
    return outputs.clamp(0, 1) if head_of(outputs) == "probabilities" else outputs.softmax(dim=1)
