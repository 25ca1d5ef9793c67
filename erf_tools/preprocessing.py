"""How an image is made ready for a network, but for the network's mean and standard deviation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from math import floor
from typing import Any
from zlib import crc32

import numpy as np
from PIL import Image

from erf_tools.decoding import check_size

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Makes an image ready. That two are equal can be told of partial functions only.
View = partial[Image.Image]


@dataclass(frozen=True)
class Preprocessing:
    """How a checkpoint wants its images.

    Attributes:
        size: side of the square input in pixels, as in training or evaluation.
        mean: per channel, subtracted from pixels in [0, 1].
        std: per channel, divides what is left.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``.
        crop_fraction: the short side is resized to ``size / crop_fraction`` and the centre is cut
            out; ``None`` warps the whole image to ``size`` x ``size`` instead.
    """

    size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bicubic"
    crop_fraction: float | None = 0.875

    def resized(self, size: int) -> Preprocessing:
        """Return the same transform for inputs of another size."""
        return replace(self, size=size)

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def evaluation_view(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Return what a checkpoint's own evaluation transform cuts out of an image.

    The short side is resized to ``size / crop_fraction`` and the centre cut out, in torchvision's
    arithmetic; without a crop fraction the whole image is warped to ``size`` x ``size``.

    Raises:
        PixelsError: the image is so narrow that it would have too many pixels when resized.
    """
    if preprocessing.crop_fraction is None:
        return warped(image, (preprocessing.size,) * 2, preprocessing.interpolation)
    size = preprocessing.size
    short = floor(size / preprocessing.crop_fraction)
    if image.width <= image.height:
        resized = (short, int(short * image.height / image.width))
    else:
        resized = (int(short * image.width / image.height), short)
    check_size(*resized)
    image = image.resize(resized, _resampling(preprocessing.interpolation))
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


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
