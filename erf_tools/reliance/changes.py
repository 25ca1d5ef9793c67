"""How strongly an image was changed, so that strengths of different filters share an axis.

All of it is measured on luma in [0, 1], as energies whose ratios, changed over unchanged, are taken
over all images together: of a smooth image alone the ratio would be noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import fft
from scipy.ndimage import uniform_filter

#: Side of the windows of the local variance, pixels.
WINDOW = 7


@dataclass(frozen=True)
class Change:
    """A measure of how an image was changed.

    Attributes:
        name: of its column.
        label: for people.
        ratio: whether its value is compared with the unchanged image's.
    """

    name: str
    label: str
    ratio: bool


#: In the order of :func:`measure_changes`.
CHANGES = (
    Change("local_variance", "local variance, changed over unchanged", True),
    Change("high_frequencies", "energy of high frequencies, changed over unchanged", True),
    Change("gradient_correlation", "correlation of gradients with the unchanged image's", False),
)


def measure_changes(images: np.ndarray) -> np.ndarray:
    """Measure an image and its changed versions.

    Args:
        images: uint8 ``[N, height, width, 3]``; the first is the unchanged one.

    Returns:
        ``[N, 3]``, in the order of :data:`CHANGES`: the mean variance of 7x7 windows; the energy,
        per pixel, of frequencies above half of the highest along either axis; and Pearson's
        correlation of the gradient's magnitude with that of the first image, NaN where either is
        constant.
    """
    luma = [
        np.asarray(Image.fromarray(image).convert("L"), dtype=np.float32) / 255 for image in images
    ]
    magnitudes = [np.hypot(*np.gradient(image)).ravel() for image in luma]
    return np.array(
        [
            (local_variance(image), high_frequencies(image), _correlation(magnitudes[0], own))
            for image, own in zip(luma, magnitudes, strict=True)
        ],
        dtype=np.float64,
    )


def local_variance(luma: np.ndarray) -> float:
    """Return the mean over the variances of all 7x7 windows; the rim is mirrored."""
    means = uniform_filter(luma, WINDOW, mode="mirror")
    squares = uniform_filter(luma * luma, WINDOW, mode="mirror")
    return float(np.maximum(squares - means * means, 0).mean())


def high_frequencies(luma: np.ndarray) -> float:
    """Return the energy of frequencies above half of the highest, as a mean square of pixels."""
    height, width = luma.shape
    down, across = np.abs(fft.fftfreq(height)), fft.rfftfreq(width)
    spectrum = fft.rfft2(luma)  # in the precision of its argument
    energy = spectrum.real**2 + spectrum.imag**2
    # Of a real image's spectrum half is kept: all columns but the first, and the last of even ones.
    twice = np.full(len(across), 2.0)
    twice[0] = 1
    if width % 2 == 0:
        twice[-1] = 1
    high = np.maximum(down[:, None], across) > 0.25
    return float((energy * high * twice).sum()) / (height * width) ** 2


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size else float("nan")


def mean_changes(changes: np.ndarray) -> np.ndarray:
    """Return ``[variants, 3]`` over images of ``[images, variants, 3]``: ratios, and means.

    Ratios are of the means over images, to the first variant's; NaN where that is zero.
    """
    means = np.array([_mean(changes[..., index]) for index in range(changes.shape[-1])]).T
    for index, change in enumerate(CHANGES):
        if change.ratio:
            clean = means[0, index]
            means[:, index] = means[:, index] / clean if clean > 0 else np.nan
    return means


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis, of what is finite."""
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    sums = np.where(known, values, 0).sum(axis=0)
    return np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
