"""The changes that suppress a cue: functions of uint8 pixels ``[height, width, 3]``, in RGB.

Each takes the pixels, a generator of its random choices (which only some use), and the parameters
of a strength; and returns new pixels of the same shape. Results are rounded to uint8, so that they
are images that can be kept and looked at.

Bilateral filter, Gaussian blur and non-local means are OpenCV's, whose definitions the published
numbers rest on: filters of these names in other packages give other images.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from erf_tools.errors import UsageError
from erf_tools.text import dimensions

#: Of the bilateral filter in space, and the windows of non-local means, pixels.
_SIGMA_SPACE, _TEMPLATE, _SEARCH = 75, 14, 21


def opencv() -> Any:
    """Return OpenCV, of whichever of its packages is installed.

    Raises:
        UsageError: none is.
    """
    if find_spec("cv2") is None:
        raise UsageError(
            'bilateral, gaussian-blur and non-local-means need OpenCV: pip install -e ".[reliance]"'
            " (opencv-python-headless); or leave them out of --cues"
        )
    import cv2

    return cv2


def shuffle_cells(pixels: np.ndarray, generator: np.random.Generator, grid: int) -> np.ndarray:
    """Cut the image into ``grid`` x ``grid`` cells and permute them at random.

    Where the grid does not divide a side, sides of cells differ by a pixel: of a cell that comes to
    a larger place the last row or column is repeated, to a smaller one it is left out. Nothing is
    resampled, so that no grid blurs the image (published code resizes it to a multiple instead).
    """
    rows, columns = (_edges(length, grid) for length in pixels.shape[:2])
    order = generator.permutation(grid * grid)
    result = np.empty_like(pixels)
    for place, cell in enumerate(order):
        (row, column), (own_row, own_column) = divmod(place, grid), divmod(int(cell), grid)
        source = pixels[_span(rows, own_row), _span(columns, own_column)]
        target = result[_span(rows, row), _span(columns, column)]
        target[:] = _fitted(source, target.shape[0], target.shape[1])
    return result


def rotate_cells(pixels: np.ndarray, generator: np.random.Generator, grid: int) -> np.ndarray:
    """Turn each of ``grid`` x ``grid`` cells by 0, 90, 180 or 270 degrees, at random, in its place.

    For cells that are not square see :func:`shuffle_cells`.
    """
    rows, columns = (_edges(length, grid) for length in pixels.shape[:2])
    turns = generator.integers(4, size=(grid, grid))
    result = np.empty_like(pixels)
    for row in range(grid):
        for column in range(grid):
            place = _span(rows, row), _span(columns, column)
            turned = np.rot90(pixels[place], turns[row, column])
            target = result[place]
            target[:] = _fitted(turned, target.shape[0], target.shape[1])
    return result


def _edges(length: int, grid: int) -> list[int]:
    return [round(index * length / grid) for index in range(grid + 1)]


def _span(edges: list[int], index: int) -> slice:
    return slice(edges[index], edges[index + 1])


def _fitted(cell: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a cell with its last rows and columns repeated or left out."""
    rows = np.minimum(np.arange(height), cell.shape[0] - 1)
    columns = np.minimum(np.arange(width), cell.shape[1] - 1)
    return cell[rows][:, columns]


def bilateral(
    pixels: np.ndarray, _generator: np.random.Generator, diameter: int, sigma_color: float
) -> np.ndarray:
    """Smooth within edges: OpenCV's bilateral filter, with a sigma of 75 in space."""
    return opencv().bilateralFilter(pixels, diameter, sigma_color, _SIGMA_SPACE)


def gaussian_blur(
    pixels: np.ndarray, _generator: np.random.Generator, kernel: int, sigma: float
) -> np.ndarray:
    """Blur by OpenCV's Gaussian of so many pixels and this sigma; the rim is mirrored."""
    return opencv().GaussianBlur(pixels, (kernel, kernel), sigma)


def non_local_means(
    pixels: np.ndarray, _generator: np.random.Generator, strength: float
) -> np.ndarray:
    """Average patches that look alike, by OpenCV: in its Lab, alike for lightness and colour.

    Patches of 14 pixels (of which OpenCV makes 15) are sought within 21.
    """
    cv2 = opencv()
    filtered = cv2.fastNlMeansDenoisingColored(
        np.ascontiguousarray(pixels[..., ::-1]), None, strength, strength, _TEMPLATE, _SEARCH
    )
    return np.ascontiguousarray(filtered[..., ::-1])


def blend_with_gray(
    pixels: np.ndarray, _generator: np.random.Generator, share: float
) -> np.ndarray:
    """Return ``(1 - share)`` of the image and ``share`` of its luma (ITU-R 601, as Pillow's L)."""
    gray = _luma(pixels)[..., None]
    return _rounded((1 - share) * pixels + share * gray.astype(float))


def permute_channels(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Put red, green and blue in one of their six orders, at random; one image in six stays."""
    return np.ascontiguousarray(pixels[..., generator.permutation(3)])


def low_pass(pixels: np.ndarray, _generator: np.random.Generator, cutoff: float) -> np.ndarray:
    """Keep frequencies of at most ``cutoff`` of the highest, along either axis."""
    return _masked(pixels, lambda frequency: frequency <= cutoff)


def high_pass(pixels: np.ndarray, _generator: np.random.Generator, cutoff: float) -> np.ndarray:
    """Keep frequencies of more than ``cutoff`` of the highest, along either axis; no mean."""
    return _masked(pixels, lambda frequency: frequency > cutoff)


def low_contrast(
    pixels: np.ndarray, _generator: np.random.Generator, contrast: float, mean: float
) -> np.ndarray:
    """Return luma of ``contrast`` about ``mean``, which is a share of white."""
    return _gray(mean + contrast * (_luma(pixels) / 255 - mean))


def band_noise(
    pixels: np.ndarray, generator: np.random.Generator, low: float, high: float, deviation: float
) -> np.ndarray:
    """Add grey noise of a band of frequencies to luma; what leaves the range of pixels is clipped.

    Gaussian noise of which the frequencies of at least ``low`` and less than ``high`` cycles per
    image are kept, in any direction; then scaled to ``deviation``, in shares of white.

    Raises:
        UsageError: the image has too few pixels for waves as short as these.
    """
    height, width = pixels.shape[:2]
    if high > min(height, width) / 2:
        raise UsageError(
            f"images of {dimensions((height, width))} cannot hold {high:g} cycles; give noise to "
            f"images of {2 * high:g} pixels or more along a side"
        )
    spectrum = np.fft.rfft2(generator.standard_normal((height, width)))
    cycles = np.hypot(height * np.fft.fftfreq(height)[:, None], width * np.fft.rfftfreq(width))
    noise = np.fft.irfft2(spectrum * ((cycles >= low) & (cycles < high)), (height, width))
    return _gray(_luma(pixels) / 255 + noise * (deviation / noise.std()))


def _gray(values: np.ndarray) -> np.ndarray:
    """Return shares of white as pixels of three equal channels."""
    return np.repeat(_rounded(255 * values)[..., None], 3, axis=2)


def _masked(pixels: np.ndarray, kept: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a square mask in the Fourier plane; what leaves the range of pixels is clipped."""
    height, width = pixels.shape[:2]
    down, across = 2 * np.abs(np.fft.fftfreq(height)), 2 * np.fft.rfftfreq(width)
    mask = kept(np.maximum(down[:, None], across))
    spectrum = np.fft.rfft2(pixels, axes=(0, 1)) * mask[..., None]
    return _rounded(np.fft.irfft2(spectrum, (height, width), axes=(0, 1)))


def _luma(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("L"))


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
