"""How an image is made ready for a network, but for the network's mean and standard deviation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from math import floor, inf, isfinite, nextafter
from numbers import Integral, Real
from typing import Any, Literal, get_args
from zlib import crc32

import numpy as np
from PIL import Image

from erf_tools.decoding import check_size
from erf_tools.errors import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Sides of an image that are resized to a length.
Resize = Literal["short", "both", "long"]
#: Ways of rounding half a pixel.
Middle = Literal["nearest", "below"]

#: Makes an image ready. That two are equal can be told of partial functions only.
View = partial[Image.Image]


@dataclass(frozen=True)
class Preprocessing:
    """How a checkpoint wants its images.

    Attributes:
        size: side of the square input in pixels, as in training or evaluation.
        mean: per channel, subtracted from pixels in [0, 1].
        std: per channel, divides what is left.
        interpolation: how it is resized, a name of Pillow's: ``bicubic``, ``bilinear``, ...
        crop_fraction: share of the resized image that is cut out of its centre, along a side.
        resize: which side of the image is resized to ``size / crop_fraction``, rounded down: the
            short one, both (which warps it), or the long one.
        fill: colour of what lies outside of the image where less than ``size`` is left of it.
        middle: where the middle begins that lies between two pixels: at the ``nearest`` to an even
            number, as in torchvision and timm, or at the one ``below``, as in transformers.

    Raises:
        UsageError: a value is none of these.
    """

    size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bicubic"
    crop_fraction: float = 0.875
    resize: Resize = "short"
    fill: tuple[int, int, int] = (0, 0, 0)
    middle: Middle = "nearest"

    def __post_init__(self) -> None:
        """See that it can be done."""
        for name in ("mean", "std", "fill"):  # as lists, of a file, they could not be hashed
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        stds, fraction = _three_numbers(self.std) and all(self.std), self.crop_fraction
        names = [name.lower() for name in Image.Resampling.__members__]
        interpolation = isinstance(self.interpolation, str) and self.interpolation.lower() in names
        known = (
            (_is_whole(self.size) and self.size >= 1, "size has to be a whole number above 0"),
            (_three_numbers(self.mean), "mean has to be three finite numbers"),
            (stds, "std has to be three finite numbers other than 0"),
            (interpolation, "interpolation is none of Pillow's"),
            (_is_number(fraction) and 0 < fraction < inf, "crop_fraction has to be above 0"),
            (_is_colour(self.fill), "fill has to be three whole numbers from 0 to 255"),
            (self.resize in get_args(Resize), f"resize is one of {', '.join(get_args(Resize))}"),
            (self.middle in get_args(Middle), f"middle is one of {', '.join(get_args(Middle))}"),
        )
        for holds, said in known:
            if not holds:
                raise UsageError(f"this is no preprocessing: {said}; got {self.record()}")

    def resized(self, size: int) -> Preprocessing:
        """Return the same transform for inputs of another size."""
        return replace(self, size=size)

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _three_numbers(values: Any) -> bool:
    """Tell whether these are three finite numbers."""
    return (
        isinstance(values, tuple)
        and len(values) == 3
        and all(_is_number(value) and isfinite(value) for value in values)
    )


def _is_colour(values: Any) -> bool:
    return _three_numbers(values) and all(_is_whole(each) and 0 <= each <= 255 for each in values)


def evaluation_view(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Return what a checkpoint's own evaluation transform cuts out of an image, and around it.

    It is resized and cut in the arithmetic of torchvision and timm, to the pixel.

    Raises:
        PixelsError: the image is so narrow that it would have too many pixels when resized.
    """
    size, side = preprocessing.size, floor(preprocessing.size / preprocessing.crop_fraction)
    resized = _resized(image.size, side, preprocessing.resize)
    check_size(*resized)
    image = warped(image, resized, preprocessing.interpolation)
    left, top = (_first(length, size, preprocessing.middle) for length in image.size)
    if min(image.size) >= size:
        return image.crop((left, top, left + size, top + size))
    whole = Image.new("RGB", (size, size), preprocessing.fill)
    whole.paste(image, (-left, -top))
    return whole


def crop_fraction(size: int, side: int) -> float:
    """Return the fraction by which a side is resized to this many pixels for a size."""
    fraction = size / side
    # What division loses would be a whole pixel when rounded down.
    return fraction if floor(size / fraction) == side else nextafter(fraction, 0.0)


def _resized(size: tuple[int, int], side: int, which: Resize) -> tuple[int, int]:
    """Return what an image of a size (width, height) is resized to."""
    width, height = size
    if which == "both":
        return side, side
    if which == "long":
        ratio = max(size) / side
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def _first(length: int, size: int, middle: Middle) -> int:
    """Return where the middle of an image begins along a side; below 0 where it is too short."""
    if length < size:
        return -((size - length) // 2)
    return round((length - size) / 2) if middle == "nearest" else (length - size) // 2


def warped(
    image: Image.Image, size: tuple[int, int], interpolation: str = "bicubic"
) -> Image.Image:
    """Return the whole image at ``size`` (width, height); unchanged where it has that size."""
    return image if image.size == size else image.resize(size, _resampling(interpolation))


def noise(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return uniform noise of ``size`` (width, height) in an image's place, always the same for it.

    All values from 0 to 255 are as likely.
    """
    generator = np.random.default_rng(crc32(image.tobytes()))
    values = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def _resampling(interpolation: str) -> Image.Resampling:
    return Image.Resampling[interpolation.upper()]
