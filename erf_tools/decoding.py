"""From the bytes of an image file to pixels in RGB, or a refusal that says why."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from erf_tools.text import dimensions

#: What is read, as Pillow names it. Others hold no photographs, or run other programs (EPS).
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

#: Most pixels of an image, in a file or after resizing; Pillow's own limit of what is no bomb.
MOST_PIXELS = 178_956_970

_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
_BITS, _WHITE_IS_ZERO = 258, 262  # TIFF tags


class PixelsError(ValueError):
    """An image that cannot be shown to a network; the text says why."""


def extensions() -> frozenset[str]:
    """Return the extensions of :data:`FORMATS`, in lower case, with the dot."""
    known = {*_formats(), "MPO"}  # a JPEG with more images behind the first
    return frozenset(
        suffix for suffix, name in Image.registered_extensions().items() if name in known
    )


def _formats() -> list[str]:
    """Return those of :data:`FORMATS` that this Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def decode_image(data: bytes) -> tuple[Image.Image, bool]:
    """Decode an image file to RGB, every pixel of it.

    Orientation tags are left alone, as by the loaders of the published scripts.

    Args:
        data: the file's bytes.

    Returns:
        The image, of several frames the first; and whether there are several.

    Raises:
        Exception: it cannot be decoded. Pillow's decoders raise a dozen kinds, SyntaxError among
            them.
    """
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        check_size(image.width, image.height)
        several = bool(getattr(image, "is_animated", False))
        if several:
            image.seek(0)
        return to_rgb(image), several


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a copy of an image in RGB, 8 bits a channel.

    16-bit grey is scaled to 8 bits, where Pillow's own conversion would clip it.

    Raises:
        PixelsError: its pixels are floating-point or 32-bit numbers, whose range is not known.
    """
    full = _sixteen_bit_range(image)
    if full:
        grey = np.asarray(image).astype(np.float64) * (255 / full)
        if image.format == "TIFF" and image.tag_v2.get(_WHITE_IS_ZERO) == 0:  # type: ignore[attr-defined]
            grey = 255 - grey
        return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")
    if image.mode in ("F", "I"):
        kind = "floating-point" if image.mode == "F" else "32-bit integer"
        raise PixelsError(
            f"its pixels are {kind} numbers, whose black and white are not known; save it with 8 "
            "or 16 bits"
        )
    return image.convert("RGB")


def _sixteen_bit_range(image: Image.Image) -> int | None:
    """Return the value of white in a grey image of 16 bits; ``None`` for others."""
    if image.mode in _SIXTEEN_BIT:
        bits = image.tag_v2.get(_BITS, (16,))[0] if image.format == "TIFF" else 16  # type: ignore[attr-defined]
        return 2 ** int(bits) - 1
    # Pillow scales graymaps to 16 bits, and calls them 32-bit integers.
    return 65535 if image.mode == "I" and image.format == "PPM" else None


def check_size(width: int, height: int) -> None:
    """Refuse what would fill the memory.

    Raises:
        PixelsError: an image of this size has more than :data:`MOST_PIXELS`.
    """
    if width * height > MOST_PIXELS:
        raise PixelsError(
            f"{dimensions((height, width))} pixels are too many; at most {MOST_PIXELS // 10**6} "
            "million are read"
        )
