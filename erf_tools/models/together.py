"""Several images at once, where a network makes of each what it makes of it alone.

Most networks do, to rounding. With batch statistics at inference, or attention over the wrong axis,
images see each other, and what becomes of one depends on which others it happens to be shown with.
So the first images that are shown together are shown alone as well; where that gives something
else, all images are shown one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.features.copies import random_states, random_states_kept
from erf_tools.features.state import State, state_kept

#: Largest difference of an image's outputs, in units of what they span; rounding makes about 1e-6.
_TOLERANCE = 1e-4

#: And in units of the rounding of the largest, where outputs span next to nothing.
_ROUNDINGS = 16


@dataclass(eq=False)
class Together:
    """A network that is shown images together, or one by one where they see each other.

    Attributes:
        network: what is run.
        run: gives outputs, each ``[N, ...]``, of uint8 ``[N, height, width, 3]``.
        refused: why images are shown one by one; empty where they are not, or where nobody asked
            for several at once yet.
    """

    network: nn.Module
    run: Callable[[np.ndarray], list[Tensor]]
    refused: str = ""
    _proven: bool = False

    def __call__(self, pixels: np.ndarray) -> list[Tensor]:
        """Return the outputs, each ``[N, ...]``, of uint8 ``[N, height, width, 3]``."""
        if len(pixels) > 1 and not self._proven and not self.refused:
            begun, before = State(self.network, weights=False), random_states()
            outputs = self.run(pixels)
            draws = random_states() != before
            self.refused = self._why_not(pixels, outputs, begun)
            if self.refused and draws:
                self.refused = "it draws random numbers"
            if not self.refused:
                self._proven = True
                return outputs
            begun.restore()
        if self.refused:
            each = [self.run(pixels[place : place + 1]) for place in range(len(pixels))]
            return [torch.cat(parts) for parts in zip(*each, strict=True)]
        return self.run(pixels)

    @random_states_kept()
    def _why_not(self, pixels: np.ndarray, outputs: list[Tensor], begun: State) -> str:
        """Return why images cannot be shown together; empty where they can.

        The first image and the last of a batch are compared, and as images of a batch may be much
        alike, the first one and quite another beside it too.
        """
        if begun.moved():
            return "each image changes what the network holds"
        first, last, other = pixels[:1], pixels[-1:], _unlike(pixels[:1])
        with state_kept(self.network, weights=False):
            own_first, own_last, own_other = (self.run(image) for image in (first, last, other))
            beside = self.run(np.concatenate([first, other]))
        pairs = (
            *((own, output[:1]) for own, output in zip(own_first, outputs, strict=True)),
            *((own, output[-1:]) for own, output in zip(own_last, outputs, strict=True)),
            *((own, output[:1]) for own, output in zip(own_first, beside, strict=True)),
            *((own, output[1:]) for own, output in zip(own_other, beside, strict=True)),
        )
        differ = any(_differ(own, output) for own, output in pairs)
        return "images see each other" if differ else ""


def _unlike(image: np.ndarray) -> np.ndarray:
    """Return an image that is unlike another in each pixel, its mean, and its extremes.

    Of 0 to 255 become 80 to 143, of the dark half the brighter one.
    """
    return 80 + (image ^ 128) // 4


def _differ(alone: Tensor, beside: Tensor) -> bool:
    """Tell whether outputs for one image are not the same but for rounding."""
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
