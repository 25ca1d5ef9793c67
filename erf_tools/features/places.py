"""Where layers come in a forward pass: names and definitions do not tell."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from erf_tools.features.copies import probe_copy, random_states_kept
from erf_tools.features.inputs import input_like
from erf_tools.features.reading import listening
from erf_tools.features.small_sizes import small_sizes
from erf_tools.features.taps import Tap


@torch.no_grad()
def places(
    module: nn.Module, taps: Sequence[Tap], size: tuple[int, int], fixed_size: bool = False
) -> list[int | None]:
    """Return how many runs of a network's modules have ended when the output of each tap is there.

    A copy is run, on one small image where it takes one.

    Args:
        module: the network, in evaluation mode.
        taps: the layers.
        size: height and width of the images to be analysed.
        fixed_size: the network takes no other size.

    Returns:
        One per tap, to be compared among the layers of a network at one size. ``None`` for timm's
        stages and for the network itself, which are no modules of it, and where it is not known.
    """
    wanted = [tap for tap in taps if tap.path and not tap.is_method]
    parts = [Tap(name) for name, _ in module.named_modules(remove_duplicate=False) if name]
    order: dict[tuple[str, int], int] = {}

    def note(tap: Tap, run: int, _output: Any) -> None:
        order[tap.path, run] = len(order) + 1

    def place(tap: Tap) -> int | None:
        return order.get((tap.path, tap.run or 1)) if tap in wanted else None

    for height, width in [*([] if fixed_size else small_sizes(size)), size]:
        if all(map(place, wanted)):
            break
        order.clear()
        # Networks refuse a size in any way they like; what follows the last layer does not matter.
        with random_states_kept(), suppress(Exception, SystemExit):
            network = probe_copy(module).eval()
            with listening(network, parts, note):
                network(torch.randn(1, 3, height, width).to(input_like(network)))
    return [place(tap) for tap in taps]
