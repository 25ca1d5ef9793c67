"""In which order layers of a network run, as records of them tell: without the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any


def depths(taps: Sequence[Mapping[str, Any]], places: Sequence[int | None]) -> list[float] | None:
    """Return numbers by which layers of a network follow each other from the image on.

    They are the layers' places in a forward pass, or else the numbers of their stages; the default
    one, which is a network's last map, may have neither. ``None`` where they are not known, as of
    stages beside other layers.

    Args:
        taps: the layers, as settings of results have them, each with
            whether it is the ``default`` one.
        places: of each; see :func:`erf_tools.features.places.places`.
    """
    for numbers in (places, [tap["stage"] for tap in taps]):
        found = [
            inf if number is None and tap.get("default") else number
            for number, tap in zip(numbers, taps, strict=True)
        ]
        if None not in found:
            return found
    return None
