"""Whether images of a batch see each other: shown by company as unlike them as images can be.

Photographs often have the same extremes, lie on the same side of a threshold, and differ little in
norm. Whatever a network takes from all of its batch is then the same for two of them, alone or
together, and is another for the rest. So images are tried together that have none of it in common.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Largest difference of what is made of an image, in units of what it spans; rounding makes about
#: 1e-6.
_TOLERANCE = 1e-4

#: And in units of the rounding of the largest, where it spans next to nothing.
_ROUNDINGS = 16


def unlike(image: np.ndarray) -> np.ndarray:
    """Return two images that are unlike each other in mean, contrast, norm, and both extremes.

    One is dark (0 to 31), the other brighter (144 to 207, not as far from the middle), a negative,
    and of twice the contrast. They keep the image's content, since behind a norm nothing but
    rounding is left of an image of one colour.

    Args:
        image: uint8 ``[height, width, 3]``.

    Returns:
        uint8 ``[2, height, width, 3]``.
    """
    return np.stack([image // 8, 144 + (255 - image) // 4])


def differ(alone: Tensor, beside: Tensor) -> bool:
    """Tell whether what is made of one image is not the same beside others, but for rounding."""
    if alone.shape != beside.shape:
        return True
    kind = alone.dtype if alone.is_floating_point() else torch.float32
    own, other = alone.double(), beside.double()
    same = (own == other) | (own.isnan() & other.isnan())
    if same.all():
        return False
    finite = own[own.isfinite()]
    if not len(finite):
        return True
    span, size = finite.max() - finite.min(), finite.abs().max()
    allowed = _TOLERANCE * span + _ROUNDINGS * torch.finfo(kind).eps * size
    return not bool(((own - other).abs()[~same] <= allowed).all())
