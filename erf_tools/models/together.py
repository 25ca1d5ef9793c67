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

from erf_tools.features.company import differ, unlike
from erf_tools.features.copies import random_states, random_states_kept
from erf_tools.features.state import State, state_kept


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
        alike, two more that are quite unlike each other.
        """
        if begun.moved():
            return "each image changes what the network holds"
        company = unlike(pixels[0])
        with state_kept(self.network, weights=False):
            first, last = (self.run(image) for image in (pixels[:1], pixels[-1:]))
            others = [self.run(image[None]) for image in company]
            beside = self.run(company)
        pairs = (
            *((own, output[:1]) for own, output in zip(first, outputs, strict=True)),
            *((own, output[-1:]) for own, output in zip(last, outputs, strict=True)),
            *(
                (own, output[place : place + 1])
                for place, alone in enumerate(others)
                for own, output in zip(alone, beside, strict=True)
            ),
        )
        seen = any(differ(own, output) for own, output in pairs)
        return "images see each other" if seen else ""
