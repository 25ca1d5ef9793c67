"""What an image processor of transformers does to images, told by what it makes of a few.

Each class of them resizes, cuts and normalises in its own way, by choices with names of its own:
some warp from a size on, some enlarge before they cut, some normalise twice or swap red and blue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from erf_tools.errors import ErfToolsError
from erf_tools.preprocessing import (
    Preprocessing,
    Resize,
    crop_fraction,
    evaluation_view,
)
from erf_tools.text import first_line

#: Width and height of the images that it is given, since what fits one may not fit another.
_SHAPES = ((256, 192), (185, 263), (95, 331), (613, 402), (479, 171), (61, 50))
#: How far values may be from ours on average, in steps of 1/255: some round to them, some do not.
_NEAR = 0.5


class Processed(NamedTuple):
    """What a processor does.

    Attributes:
        preprocessing: the same, as images of RGB are prepared here.
        reversed: whether the network is then given blue, green and red.
    """

    preprocessing: Preprocessing
    reversed: bool = False


def what_it_does(processor: Any, name: str) -> Processed:
    """Return what a processor does to images.

    Where it makes images of one size that is not square, they are warped to a square here.

    Args:
        processor: ``processor(image, return_tensors="pt")["pixel_values"]`` is
            ``[1, channels, height, width]``, of one channel or three.
        name: of its network, for messages.

    Raises:
        ErfToolsError: it does something that cannot be done here.
    """
    made = _Made(processor, name)
    found = Preprocessing(
        max(made.shape),
        made.mean,
        made.std,
        _interpolations(processor)[0],
        crop_fraction=1.0,
        resize="both",
    )
    if made.shape[0] == made.shape[1]:
        ways = [replace(found, **way) for way in _ways(made)]
        for image, values in zip(made.images, made.values, strict=True):
            levels = made.levels(values)
            ways = [way for way in ways if _error(evaluation_view(image, way), levels) <= _NEAR]
        if not ways:
            raise made.refused("resizes and cuts images in a way that is not known here")
        (found, *_) = ways
    return Processed(found, made.reversed)


class _Made:
    """What a processor makes of images.

    Attributes:
        shape: height and width of what it makes.
        images: of several shapes.
        values: that it makes of these images, ``[channels, height, width]`` each.
        mean: of red, green and blue.
        std: of red, green and blue.
        reversed: whether it makes blue, green and red.
    """

    def __init__(self, processor: Any, name: str) -> None:
        """See the class.

        Args:
            processor: see :func:`what_it_does`.
            name: of its network.

        Raises:
            ErfToolsError: it makes no images of one size that are normalised alike everywhere.
        """
        self.processor, self._name = processor, name
        black, white, red = (self._values(_even(color)) for color in ("black", "white", "red"))
        if black.ndim != 3 or len(black) not in (1, 3):
            raise self.refused("makes no images of one or three channels")
        height, width = self.shape = black.shape[1:]
        self.images = [_pattern(*shape) for shape in _SHAPES]
        self.values = [self._values(image) for image in self.images]
        if any(values.shape != black.shape for values in self.values):
            raise self.refused("makes images of several sizes")
        low, high, red_in = (values[:, height // 2, width // 2] for values in (black, white, red))
        if not (np.isfinite([low, high]).all() and (high > low).all()):
            raise self.refused("makes the same of black and of white")
        changed = np.abs(red_in - low) > 1e-3 * (high - low)
        self.reversed = len(low) == 3 and bool(changed[2] and not changed[0])
        std = 1 / (high - low)
        self.mean = self._of_rgb(0.0 - low * std, "image_mean")
        self.std = self._of_rgb(std, "image_std")

    def levels(self, values: np.ndarray) -> np.ndarray:
        """Return what it made before it normalised, 0 to 255, in the order of red, green, blue.

        Args:
            values: ``[channels, height, width]``.
        """
        ordered = values[::-1] if self.reversed else values
        mean, std = (np.reshape(each[: len(values)], (-1, 1, 1)) for each in (self.mean, self.std))
        found: np.ndarray = 255 * (ordered * std + mean)
        return found

    def ramp(self, axis: int) -> np.ndarray:
        """Return the levels ``[length]`` of an image of the first shape, numbered along an axis."""
        numbers = np.indices(_SHAPES[0][::-1], dtype=np.uint8)[axis]
        values = self._values(Image.fromarray(numbers).convert("RGB"))
        found: np.ndarray = self.levels(values).mean(axis=(0, 2 - axis))
        return found

    def refused(self, said: str) -> ErfToolsError:
        """Return the error that says so."""
        return ErfToolsError(
            f"the {type(self.processor).__name__} of {self._name} {said}; prepare images yourself "
            "in a factory, as in file.py:factory"
        )

    def _values(self, image: Image.Image) -> np.ndarray:
        try:
            made = self.processor(image, return_tensors="pt")["pixel_values"][0]
            return np.asarray(made, dtype=np.float64)
        except Exception as error:  # each has its own
            raise self.refused(f"cannot be used ({first_line(error)})") from error

    def _of_rgb(self, measured: np.ndarray, name: str) -> tuple[float, float, float]:
        """Return a value per colour: as the processor declares it if that is what it does."""
        values = [float(f"{value:.7g}") for value in np.broadcast_to(measured, 3)]
        declared = getattr(self.processor, name, None)
        if declared is not None and np.size(declared) in (1, 3):
            named = np.broadcast_to(np.asarray(declared, dtype=np.float64), 3).tolist()
            values = named if np.allclose(named, values, rtol=1e-5, atol=1e-6) else values
        red, green, blue = values[::-1] if self.reversed else values
        return red, green, blue


def _ways(made: _Made) -> Iterator[dict[str, Any]]:
    """Yield sides, fractions and interpolations that may be those of a processor."""
    size = made.shape[0]
    width, height = (_resized_to(made, axis) for axis in (1, 0))
    named = _named_sides(made.processor)
    sides: tuple[tuple[Resize, float], ...] = (("both", height), ("short", height), ("long", width))
    for resize, about in sides:
        near = {side for side in range(round(about) - 1, round(about) + 2) if side > 0}
        hows = _interpolations(made.processor)
        # As transformers cuts, then as timm does, whose networks it wraps.
        middles = ("below", "nearest")
        for side, how, middle in product(sorted(near | named), hows, middles):
            if resize == "long" and side > size:  # as the short side of an image of another shape
                continue
            yield {
                "size": size,
                "resize": resize,
                "crop_fraction": crop_fraction(size, side),
                "interpolation": how,
                "middle": middle,
            }


def _interpolations(processor: Any) -> list[str]:
    """Return how it may resize: as it declares, where it does."""
    declared = getattr(processor, "resample", None)
    if declared is None:
        return ["bicubic", "bilinear"]
    return [Image.Resampling(declared).name.lower()]


def _named_sides(processor: Any) -> set[int]:
    named = dict(getattr(processor, "size", None) or {})
    return {side for side in named.values() if isinstance(side, int) and side > 0}


def _resized_to(made: _Made, axis: int) -> float:
    """Return about how long an axis becomes of the first shape, by how steep its ramp becomes."""
    ramp = made.ramp(axis)
    steepness = np.abs(np.gradient(ramp)[len(ramp) // 4 : 1 + 3 * len(ramp) // 4].mean())
    return float(_SHAPES[0][1 - axis] / max(steepness, 0.05))  # flatter than any that is wanted


def _error(view: Image.Image, levels: np.ndarray) -> float:
    """Return the mean difference of an image from levels ``[channels, height, width]``."""
    ours = np.asarray(view.convert("L" if len(levels) == 1 else "RGB"), dtype=np.float64)
    return float(np.abs(np.atleast_3d(ours).transpose(2, 0, 1) - levels).mean())


def _pattern(width: int, height: int) -> Image.Image:
    """Return an image of coloured spots, which looks different wherever it is cut."""
    size = (max(2, width // 4), max(2, height // 4))
    spots = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC)


def _even(color: str) -> Image.Image:
    return Image.new("RGB", _SHAPES[0], color)
