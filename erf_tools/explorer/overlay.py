"""The ERF over the image: one scale for all models and clicks, so that they can be compared."""

from __future__ import annotations

import base64
import io
from math import ceil, log10

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image, ImageDraw

from erf_tools.explorer.answers import Answer

#: Contribution, where that of a uniform map is 1: no colour below the first, the last above.
FAINTEST, STRONGEST = 1.0, 100.0

#: Colours of the marks; each is drawn on black, so that it stands out from every image.
SQUARE, UNIT = "#56B4E9", "#FFFFFF"

_COLOUR_MAP = colormaps["magma"]
_SHADE = 0.75
_STEPS = 16
_SIDE = 448


def overlay(answer: Answer, shown: np.ndarray) -> Image.Image:
    """Draw a map over the image in grey, with the 50 % square and the unit's centre.

    Perceptually uniform colours, more opaque where more is contributed; a small image is enlarged.

    Args:
        answer: the image, the square and the centre.
        shown: a map of the unit, ``[height, width]``.
    """
    height, width = shown.shape
    factor = max(1, ceil(_SIDE / max(height, width)))
    grey = np.asarray(Image.fromarray(answer.pixels).convert("L"))[:, :, None] * _SHADE
    strength = _strength(shown)
    colours = _COLOUR_MAP(strength)[:, :, :3] * 255
    opacity = np.sqrt(strength)[:, :, None]  # a few times the mean has to be seen as well
    blended = grey * (1 - opacity) + colours * opacity
    image = Image.fromarray(blended.round().astype(np.uint8)).resize(
        (width * factor, height * factor), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(image)
    if square := answer.square(0.5):
        top, bottom, left, right = (side * factor for side in square)
        _outlined(draw, (left, top, right - 1, bottom - 1), SQUARE)
    y, x = ((place + 0.5) * factor for place in answer.center)
    reach = 7
    for width_drawn, colour in ((5, "#000000"), (2, UNIT)):
        draw.line((x - reach, y, x + reach, y), colour, width_drawn)
        draw.line((x, y - reach, x, y + reach), colour, width_drawn)
    return image


def scale_colours() -> list[str]:
    """Return the colours of the scale from the faintest to the strongest, as ``#RRGGBB``."""
    return [to_hex(colour) for colour in _COLOUR_MAP(np.arange(_STEPS) / (_STEPS - 1))]


def data_address(image: Image.Image) -> str:
    """Return an image as a ``data:`` address, which needs no file and no request."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _strength(shown: np.ndarray) -> np.ndarray:
    """Return where on the logarithmic scale each pixel is, in [0, 1]."""
    mean = shown.mean()
    if not np.isfinite(mean) or mean <= 0:
        return np.zeros_like(shown)
    density = np.maximum(shown / mean, FAINTEST)
    return np.clip(np.log10(density / FAINTEST) / log10(STRONGEST / FAINTEST), 0, 1)


def _outlined(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: str) -> None:
    draw.rectangle(box, outline="#000000", width=4)
    left, top, right, bottom = box
    if right - left > 2 and bottom - top > 2:
        draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=colour, width=2)
