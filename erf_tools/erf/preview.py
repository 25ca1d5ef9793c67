"""A small map in the terminal, for machines without a screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TextIO

import numpy as np
from matplotlib import colormaps

from erf_tools.erf.display import density

Shades = Literal["24-bit", "256", "ascii"]

#: Characters from dark to bright.
_ASCII = " .:-=+*#%@"
#: Values of a channel in the colour cube of 256-colour terminals.
_LEVELS = np.array([0, 95, 135, 175, 215, 255])
_RESET = "\x1b[0m"


def terminal_shades(stream: TextIO, environment: Mapping[str, str]) -> Shades:
    """Return what a stream can show: colours in a terminal, characters in a file.

    Characters as well where the terminal is told so (``NO_COLOR``, ``TERM=dumb``) or has no block
    characters.
    """
    plain = environment.get("NO_COLOR") or environment.get("TERM", "dumb") == "dumb"
    unicode = (getattr(stream, "encoding", None) or "").lower().startswith("utf")
    if plain or not unicode or not stream.isatty():
        return "ascii"
    return "24-bit" if environment.get("COLORTERM") in ("truecolor", "24bit") else "256"


def preview(contribution: np.ndarray, shades: Shades, columns: int = 48) -> str:
    """Return a map ``[height, width]`` as lines of text, each ``columns`` characters wide.

    The display is ``A ** 0.2`` over its maximum, in which weak parts show. Every character stands
    for two values, one above the other, since characters are twice as high as wide: in colours both
    are shown, in characters their mean.
    """
    height, width = contribution.shape
    columns = min(columns, width)
    rows = max(round(columns * height / width / 2), 1)
    means = _resized(density(np.nan_to_num(contribution)), 2 * rows, columns) ** 0.2
    shown = means / means.max() if means.max() > 0 else means
    if shades == "ascii":
        dark = np.rint(shown.reshape(rows, 2, columns).mean(axis=1) * (len(_ASCII) - 1))
        return "\n".join("".join(_ASCII[int(level)] for level in line) for line in dark)
    colours = colormaps["magma"](shown, bytes=True)[:, :, :3].astype(int)
    return "\n".join(
        "".join(
            f"\x1b[38;{_code(above, shades)};48;{_code(below, shades)}m▀"
            for above, below in zip(colours[2 * row], colours[2 * row + 1], strict=True)
        )
        + _RESET
        for row in range(rows)
    )


def _code(colour: np.ndarray, shades: Shades) -> str:
    if shades == "24-bit":
        return "2;" + ";".join(map(str, colour))
    red, green, blue = (int(np.abs(_LEVELS - channel).argmin()) for channel in colour)
    return f"5;{16 + 36 * red + 6 * green + blue}"


def _resized(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the means over ``rows`` x ``columns`` cells; a cell has at least one pixel."""
    for axis, cells in enumerate((rows, columns)):
        length = values.shape[axis]
        starts = np.arange(cells) * length // cells
        ends = np.maximum((np.arange(cells) + 1) * length // cells, starts + 1)
        parts = [
            values.take(range(start, end), axis).mean(axis)
            for start, end in zip(starts, ends, strict=True)
        ]
        values = np.stack(parts, axis)
    return values
