"""What an image processor of transformers does to images, told by what it makes of a few.

Each class of them resizes, cuts and normalises in its own way, by choices with names of its own:
some warp from a size on, some enlarge before they cut, some normalise twice or swap red and blue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from erf_tools.errors import ErfToolsError
from erf_tools.preprocessing import Preprocessing, crop_fraction, evaluation_view

#: Width and height of the images that it is given.
_WIDTH, _HEIGHT = 256, 192
#: How far pixels may be from ours on average, of 255: resizing has several arithmetics.
_NEAR = 2.0


class Processed(NamedTuple):
    """What a processor does.

    Attributes:
        preprocessing: the same, as images of RGB are prepared here.
        reversed: whether the network is then given blue, green and red.
    """

    preprocessing: Preprocessing
    reversed: bool = False


def what_it_does(processor: Any) -> Processed:
    """Return what a processor does to images.

    Where it makes images that are not square, they are warped to a square here.

    Args:
        processor: ``processor(image, return_tensors="pt")["pixel_values"]`` is
            ``[1, channels, height, width]``, of one channel or three.

    Raises:
        ErfToolsError: it does something else.
    """
    black, white, red = (_made(processor, _even(color)) for color in ("black", "white", "red"))
    if black.ndim != 3 or len(black) not in (1, 3):
        raise _unknown(processor, "makes no images of one or three channels")
    low, high = _middle(black), _middle(white)
    if not (high > low).all():
        raise _unknown(processor, "makes the same of black and of white")
    std = 1 / (high - low)
    mean = 0.0 - low * std
    changed = np.abs(_middle(red) - low) > 1e-3 * np.abs(high - low)
    swapped = len(low) == 3 and bool(changed[2] and not changed[0])
    order = slice(None, None, -1 if swapped else None)
    found = Preprocessing(
        _declared_side(processor),
        _of_rgb(mean, processor, "image_mean", order),
        _of_rgb(std, processor, "image_std", order),
        _interpolation(processor),
        crop_fraction=1.0,
        resize="both",
    )
    if black.shape[1] != black.shape[2]:
        return Processed(found, swapped)
    resized = (_resized_to(_levels(processor, _ramp(axis), mean, std), axis) for axis in (0, 1))
    probe = _pattern()
    theirs = _levels(processor, probe, mean, std)
    near = [replace(found, **ways) for ways in _ways(len(theirs), *resized)]
    errors = [np.abs(_gray(evaluation_view(probe, each)) - theirs).mean() for each in near]
    best = int(np.argmin(errors))
    if not errors[best] <= _NEAR:  # as NaN
        raise _unknown(processor, "resizes and cuts images in a way that is not known here")
    return Processed(near[best], swapped)


def _ways(size: int, height: float, width: float) -> Iterator[dict[str, Any]]:
    """Yield sizes, sides and fractions by which an image may have become about so high and wide."""
    for resize, about in (("both", height), ("short", height), ("long", width)):
        for side in range(round(about) - 1, round(about) + 2):
            if resize == "long" and side > size:  # as the short side of an image of another shape
                continue
            yield {"size": size, "crop_fraction": crop_fraction(size, side), "resize": resize}


def _resized_to(levels: np.ndarray, axis: int) -> float:
    """Return about how long an axis has become, by how steep its ramp is."""
    middle = levels.mean(axis=1 - axis)[len(levels) // 4 : -(len(levels) // 4)]
    steepness = abs(np.polyfit(np.arange(len(middle)), middle, 1)[0])
    return float((_HEIGHT, _WIDTH)[axis] / max(steepness, 0.05))  # flatter than any that is wanted


def _levels(processor: Any, image: Image.Image, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return the gray levels, 0 to 255, that it makes of a gray image, before it normalises."""
    made = _made(processor, image)
    found: np.ndarray = 255 * (made * std[:, None, None] + mean[:, None, None]).mean(axis=0)
    return found


def _gray(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.float64)


def _ramp(axis: int) -> Image.Image:
    """Return an image whose pixels are numbered downwards (0) or to the right (1)."""
    number = np.indices((_HEIGHT, _WIDTH), dtype=np.uint8)[axis]
    return Image.fromarray(number).convert("RGB")


def _pattern() -> Image.Image:
    """Return an image of gray clouds, which looks different wherever it is cut."""
    clouds = np.random.default_rng(0).integers(0, 256, (12, 16), dtype=np.uint8)
    size = (_WIDTH, _HEIGHT)
    return Image.fromarray(clouds).resize(size, Image.Resampling.BICUBIC).convert("RGB")


def _even(color: str) -> Image.Image:
    return Image.new("RGB", (_WIDTH, _HEIGHT), color)


def _made(processor: Any, image: Image.Image) -> np.ndarray:
    """Return the values that it makes of an image, float64."""
    return np.asarray(processor(image, return_tensors="pt")["pixel_values"][0], dtype=np.float64)


def _middle(pixels: np.ndarray) -> np.ndarray:
    """Return the pixel ``[channels]`` in the middle."""
    found: np.ndarray = pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2]
    return found


def _of_rgb(
    measured: np.ndarray, processor: Any, name: str, order: slice
) -> tuple[float, float, float]:
    """Return a value per colour: as the processor declares it if that is what it does."""
    values = np.broadcast_to(measured, 3)
    declared = np.broadcast_to(getattr(processor, name, None) or values, 3)
    exact = declared if np.allclose(declared, values, atol=1e-5) else values.round(6)
    red, green, blue = exact[order].tolist()
    return red, green, blue


def _interpolation(processor: Any) -> str:
    declared = getattr(processor, "resample", None)
    found = Image.Resampling.BICUBIC if declared is None else Image.Resampling(declared)
    return found.name.lower()


def _declared_side(processor: Any) -> int:
    """Return the side that it names, where its images are not square."""
    size = dict(getattr(processor, "size", None) or {})
    return int(size.get("height") or size.get("shortest_edge") or Preprocessing().size)


def _unknown(processor: Any, said: str) -> ErfToolsError:
    return ErfToolsError(
        f"{type(processor).__name__} {said}; prepare them yourself in a factory, as in "
        "file.py:factory"
    )
