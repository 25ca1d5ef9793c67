"""How one measurement is computed: chosen on its first image, and proven on two of them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from erf_tools.erf.contributions import Contributions
from erf_tools.erf.ways import PLAIN, Sight, Way, differs, pays
from erf_tools.features.behaviour import Behaviour
from erf_tools.features.copies import random_states_kept
from erf_tools.features.state import State
from erf_tools.kernels.devices import tf32_allowed

#: Images whose plain maps a faster way has to give: the first alone may be a dark one.
_PROOFS = 2


class Course:
    """The way that maps of some images are computed.

    Args:
        contributions: the network.
        way: the fastest that may be used.
        coarse: the procedure's precision is not that of the weights: proofs are in the latter.

    Attributes:
        way: how maps are computed now.
        refused: why another way is not used; empty if all that was tried was right.
        differences: of maps from the plain ones, relative, for each layer the largest; empty
            without proof.
    """

    def __init__(self, contributions: Contributions, way: Way, coarse: bool) -> None:
        self._contributions = contributions
        self._coarse = coarse
        self._plain: dict[int, list[Sight]] = {}
        self._proven = 0
        self.way = way
        self.refused = ""
        self.differences: list[float] = []

    @random_states_kept()
    def choose(self, first: Tensor, images: int, asked: Way) -> None:
        """Rule out ways that do not pay, or, the first image computed plainly, cannot be right.

        Args:
            first: the image, ``[1, 3, height, width]``.
            images: how many there will be.
            asked: what is used where the fastest does not pay.
        """
        if not self._pays(first, images):
            self.way = asked
            if asked == PLAIN:
                return
        self._begun = self._settled = State(self._contributions.network, weights=False)
        behaviour = Behaviour()
        try:
            self._of_plain(first, 0, behaviour)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # not to be watched, as compiled code; or it fails without that too
            self._begun.restore()
            self.way, self.refused = PLAIN, "what it does with values cannot be watched"
            return
        if self._moved():
            return
        # What the first pass has made, the second may move.
        self._settled = State(self._contributions.network, weights=False)
        if behaviour.decisions:
            names = ", ".join(sorted(behaviour.decisions))
            self.way, self.refused = PLAIN, f"values decide what is computed ({names})"
            return
        if behaviour.mixing:
            names = ", ".join(sorted(behaviour.mixing))
            self.way, asked = (replace(own, together=False) for own in (self.way, asked))
            self.refused = f"an extreme is taken over all images ({names})"
        if behaviour.stretching and self.way.cones:
            names = ", ".join(sorted(behaviour.stretching))
            self.way = replace(self.way, cones=frozenset())
            self.refused = f"maps are stretched to a size ({names})"
        if self.refused and not self._pays(first, images):
            self.way = asked

    def _pays(self, first: Tensor, images: int) -> bool:
        share = self._contributions.share(self.way)
        return pays(self.way, images, share, first.is_cuda)

    def _moved(self) -> bool:
        """Tell whether passes move the network's state; if so, go the plain way from its start.

        A check that is one pass more would then change all maps behind it.
        """
        moved = self._settled.moved()
        if moved:
            self._begun.restore()
            self.way, self.refused = PLAIN, "each image changes what the network holds"
        return moved

    def look(self, inputs: Tensor, exact: bool = False) -> list[Sight] | None:
        """Return what each layer's units see of a batch; ``None`` if this way failed."""
        if self.way == PLAIN:
            return self._contributions.look(inputs, exact=exact)
        try:
            with tf32_allowed(False) if exact else nullcontext():
                return self._contributions.look(inputs, self.way, exact)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # a table of positions of another size, or a map other than foreseen
            return None

    @random_states_kept()
    def holds(self, inputs: Tensor, sights: list[Sight] | None, done: int) -> bool:
        """Tell whether a batch agrees with plain computation; if not, switch to a slower way.

        The first image is compared, and one more: the last of its batch or of the next. After
        ``False`` all images have to be looked at again.

        Args:
            inputs: the batch.
            sights: what :meth:`look` gave.
            done: how many images came before.
        """
        if self.way == PLAIN or (self._proven == _PROOFS and sights is not None):
            return True
        if self._coarse and sights is not None:
            sights = self.look(inputs.detach(), exact=True)
        last = len(inputs) - 1
        for place in (last,) if done else dict.fromkeys((0, last)):
            image = inputs.detach()[place : place + 1]
            plain = self._of_plain(image, done + place)
            if self._moved():
                return False
            found = None if sights is None else [sight.of(place) for sight in sights]
            if wrong := self._wrong(found, plain):
                self._slow_down(image, plain, wrong, together=len(inputs) > 1)
                return False
            self._proven += 1
        return True

    def _of_plain(
        self, image: Tensor, index: int, behaviour: Behaviour | None = None
    ) -> list[Sight]:
        if index not in self._plain:
            with tf32_allowed(False) if self._coarse else nullcontext():
                self._plain[index] = self._contributions.look(
                    image.clone(), exact=True, behaviour=behaviour
                )
        return self._plain[index]

    def _wrong(self, found: list[Sight] | None, plain: list[Sight]) -> dict[int, float]:
        """Return the layers that are not as they should be, and by how much."""
        if found is None:
            return dict.fromkeys(range(len(plain)), torch.inf)
        compared = [differs(one, other) for one, other in zip(found, plain, strict=True)]
        before = self.differences or [0.0] * len(plain)
        self.differences = [
            max(own, difference) for own, (difference, _) in zip(before, compared, strict=True)
        ]
        return {index: by for index, (by, wrong) in enumerate(compared) if wrong}

    def _slow_down(
        self, image: Tensor, plain: list[Sight], wrong: dict[int, float], together: bool
    ) -> None:
        """Give up what is to blame: the batch, the cones of these layers, folding."""
        way, by = self.way, max(wrong.values())
        how = f"a map differs by {by:.2g}" if by < torch.inf else "it failed"
        self.differences, self._proven = [], 0
        if way.together:
            self.way = replace(way, together=False)
            alone = self.way == PLAIN or not self._wrong(self.look(image.clone(), True), plain)
            self.differences = []
            if together and alone:
                self.refused = f"images see each other ({how})"
                return
        if way.cones & wrong.keys():
            self.way = replace(way, cones=way.cones - wrong.keys())
            self.refused = f"units know more than their field ({how})"
        elif way.folded:
            self.way = Way(together=way.together)
            self.refused = f"folded weights do something else ({how})"
        else:
            self.way = PLAIN
            self.refused = f"images see each other ({how})"

    def record(self, layer: int, together: int) -> dict[str, Any]:
        """Return how a layer was computed, as JSON values.

        Args:
            layer: its index.
            together: how many images at once.
        """
        return {
            "folded": self.way.folded,
            "cone": layer in self.way.cones,
            "batch": together,
            "largest_difference": self.differences[layer] if self.differences else None,
            "refused": self.refused,
        }
