"""How one measurement is computed: chosen on its first image, and proven on two of them.

Whether images see each other two of them cannot show, as they may be alike in all that a network
takes from its batch. So images that are quite unlike each other are tried, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erf_tools.erf.contributions import Contributions
from erf_tools.erf.ways import PLAIN, Sight, Way, differs, pays
from erf_tools.features.behaviour import Behaviour
from erf_tools.features.company import differ
from erf_tools.features.copies import random_states, random_states_kept
from erf_tools.features.state import State, state_kept
from erf_tools.kernels.devices import tf32_allowed

#: Images whose plain maps a faster way has to give: the first alone may be a dark one.
_PROOFS = 2

#: Of a network that takes one image at a time.
_FAILS = "it fails on several images at once"


class Course:
    """The way that maps of some images are computed.

    Args:
        contributions: the network.
        way: the fastest that may be used.
        coarse: the procedure's precision is not that of the weights: proofs are in the latter.

    Attributes:
        contributions: the network, without the fields that its maps have contradicted.
        contradicted: sizes of these fields, by layer.
        way: how maps are computed now.
        refused: why another way is not used; empty if all that was tried was right.
        differences: of maps from the plain ones, relative, for each layer the largest; empty
            without proof.
    """

    def __init__(self, contributions: Contributions, way: Way, coarse: bool) -> None:
        self.contributions = contributions
        self.contradicted: dict[int, tuple[int, int]] = {}
        self._coarse = coarse
        self._plain: dict[int, list[Sight]] = {}
        self._begun = self._settled = State(contributions.network, weights=False)
        self._proven, self._drew = 0, False
        self.way = way
        self.refused = ""
        self.differences: list[float] = []

    @random_states_kept()
    def choose(self, first: Tensor, company: Tensor, images: int, asked: Way) -> None:
        """Rule out ways that do not pay, or, the first image computed plainly, cannot be right.

        Args:
            first: the image, ``[1, 3, height, width]``.
            company: images that are quite unlike each other, ``[N, 3, height, width]``.
            images: how many there will be.
            asked: what is used where the fastest does not pay.
        """
        if not self._pays(first, images):
            self.way = asked
            if asked == PLAIN:
                return
        behaviour = Behaviour()
        try:
            plain = self._of_plain(first, 0, behaviour)
        except torch.OutOfMemoryError:
            raise
        except (Exception, SystemExit):  # not to be watched, or it fails without that too
            self._begun.restore()
            self.way, self.refused = PLAIN, "what it does with values cannot be watched"
            return
        if self._moved():
            return
        # What the first pass has made, the second may move.
        self._settled = State(self.contributions.network, weights=False)
        doubted = self._contradicted_by(plain)
        if behaviour.decisions:
            names = ", ".join(sorted(behaviour.decisions))
            self.way, self.refused = PLAIN, f"values decide what is computed ({names})"
            return
        if self.way.together and (why := self._why_not_together(company)):
            self.way, asked = (replace(own, together=False) for own in (self.way, asked))
            self.refused = why
        if behaviour.stretching and self.way.cones:
            names = ", ".join(sorted(behaviour.stretching))
            self.way = replace(self.way, cones=frozenset())
            self.refused = f"maps are stretched to a size ({names})"
        if (self.refused or doubted) and not self._pays(first, images):
            self.way = asked

    def _why_not_together(self, company: Tensor) -> str:
        """Return why images cannot be taken together; empty where they can, as far as this shows.

        What images make of each other shows in the values of units already, so that no gradients
        are taken. Four images without them take the time of one to two plain maps.
        """
        values = self.contributions.values
        try:
            with state_kept(self.contributions.network, weights=False), tf32_allowed(False):
                beside = values(company)
                alone = [values(image) for image in company.split(1)]
                if not any(
                    differ(own, other[place : place + 1])
                    for place, found in enumerate(alone)
                    for own, other in zip(found, beside, strict=True)
                ):
                    return ""
                again = values(company[:1])
        except torch.OutOfMemoryError:
            return "there is no room for several images"
        except (Exception, SystemExit):
            return _FAILS
        # What differs each time is for the comparison of maps, which gives up more than batches.
        drawn = any(map(differ, alone[0], again))
        return "" if drawn else "images see each other (values differ beside unlike images)"

    def _pays(self, first: Tensor, images: int) -> bool:
        share = self.contributions.share(self.way)
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
            return self._plainly(inputs, exact)
        try:
            with tf32_allowed(False) if exact else nullcontext():
                return self.contributions.look(inputs, self.way, exact)
        except torch.OutOfMemoryError:
            raise
        except (Exception, SystemExit):  # a table of positions, or a map other than foreseen
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
            if self._moved() or self._contradicted_by(plain):
                return False
            found = None if sights is None else [sight.of(place) for sight in sights]
            if wrong := self._wrong(found, plain):
                self._slow_down(image, plain, wrong, len(inputs) > 1, failed=found is None)
                return False
            self._proven += 1
        return True

    def _of_plain(
        self, image: Tensor, index: int, behaviour: Behaviour | None = None
    ) -> list[Sight]:
        if index not in self._plain:
            self._plain[index] = self._plainly(image.clone(), True, behaviour)
        return self._plain[index]

    def _plainly(
        self, inputs: Tensor, exact: bool, behaviour: Behaviour | None = None
    ) -> list[Sight]:
        before = random_states()
        with tf32_allowed(False) if exact and self._coarse else nullcontext():
            sights = self.contributions.look(inputs, exact=exact, behaviour=behaviour)
        self._drew |= random_states() != before
        return sights

    def contradicted_by(self, maps: Mapping[int, Sequence[np.ndarray]], coarse: bool) -> bool:
        """Tell whether maps reach beyond fields; if so, have these not known.

        After ``True`` all images have to be looked at again.

        Args:
            maps: of layers by their index, some ``[height, width]`` each.
            coarse: they are computed in a precision that is not that of the weights.
        """
        found = self.contributions.contradicted_by(maps, coarse)
        if found:
            self.contradicted |= found
            self.contributions = self.contributions.without_fields(found)
            self.way = replace(self.way, cones=self.way.cones - found.keys())
            self._begun.restore()
            self._plain, self._proven, self.differences = {}, 0, []
        return bool(found)

    def _contradicted_by(self, plain: list[Sight]) -> bool:
        """Do so by the plain maps of one image, which those of a cone say nothing without."""
        maps = {
            layer: [own[0].nan_to_num(0, 0, 0).cpu().numpy() for own in sight.by_protocol]
            for layer, sight in enumerate(plain)
        }
        return self.contradicted_by(maps, coarse=False)

    @property
    def draws(self) -> bool:
        """Whether the network draws random numbers that may have decided the maps."""
        return self._drew and self._proven < _PROOFS

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
        self,
        image: Tensor,
        plain: list[Sight],
        wrong: dict[int, float],
        together: bool,
        failed: bool,
    ) -> None:
        """Give up what is to blame: the batch, the cones of these layers, folding."""
        way, by = self.way, max(wrong.values())
        how = f"a map differs by {by:.2g}" if by < torch.inf else "a map differs altogether"
        again = self._wrong(self._plainly(image.clone(), exact=True), plain)
        self.differences, self._proven = [], 0
        if again:
            self._drew, self.way = True, PLAIN
            self.refused = f"it gives something else for the same image each time ({how})"
            return
        if way.together:
            self.way = replace(way, together=False)
            alone = self.way == PLAIN or not self._wrong(self.look(image.clone(), True), plain)
            self.differences = []
            if together and alone:
                self.refused = _FAILS if failed else f"images see each other ({how})"
                return
        if way.cones & wrong.keys():
            self.way = replace(way, cones=way.cones - wrong.keys())
            self.refused = (
                "it fails where only what units see is computed"
                if failed
                else f"units know more than their field ({how})"
            )
        elif way.folded:
            self.way = Way(together=way.together)
            self.refused = (
                "it fails with folded weights"
                if failed
                else f"folded weights do something else ({how})"
            )
        else:
            self.way = PLAIN
            self.refused = _FAILS if failed else f"images see each other ({how})"

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
            "contradicted_field": self.contradicted.get(layer),
            "draws": self.draws,
        }
