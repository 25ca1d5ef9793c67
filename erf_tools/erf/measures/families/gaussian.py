"""The 2-D Gaussian that fits a map best."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, nan

import numpy as np

from erf_tools.erf.measures.family import Grouped, Measure
from erf_tools.erf.measures.frame import Frame

#: A first fit, to a map of at most so many blocks along each axis, finds where to begin.
_BLOCKS = 64
_STEPS = 100
#: Relative change of the squared residuals, and relative step, below which a fit is settled.
_SETTLED, _SMALL_STEP = 1e-12, 1e-4
#: Amplitude relative to the peak, centres in pixels, logarithms of standard deviations.
_LONGEST_STEP = np.array([2.0, 64.0, 64.0, 1.0, 1.0])
#: A standard deviation is at least this, in pixels: all of the mass then lies in one.
_NARROWEST = 0.05
#: And at most so many times the side: the map then cannot tell it from a flat one.
_WIDEST = 10
#: Relative variance that rounding leaves of a flat map.
_FLAT = 1e-12


@dataclass(frozen=True)
class GaussianFit:
    """A Gaussian with its axes along those of the map.

    Attributes:
        amplitude: its peak, of a map with sum 1.
        y: row of its centre, pixels.
        x: column of its centre, pixels.
        sigma_y: vertical standard deviation, pixels; at most ten times the height.
        sigma_x: horizontal standard deviation, pixels; at most ten times the width.
        r_squared: share of the map's variance it explains, at most 1.
    """

    amplitude: float
    y: float
    x: float
    sigma_y: float
    sigma_x: float
    r_squared: float


NO_FIT = GaussianFit(nan, nan, nan, nan, nan, nan)


def fit_gaussian(contribution: np.ndarray) -> GaussianFit:
    """Fit a Gaussian by least squares over all pixels, as Kim et al. (BMVC 2023, OpenERF) do.

    A Gaussian is a product of one in y and one in x, so that all that least squares needs of a map
    are its products with a few vectors.

    Args:
        contribution: ``[height, width]``, not negative, with mass.

    Returns:
        The fit, with its centre in the map; NaN for a map that is the same everywhere.
    """
    scaled = contribution / contribution.max()
    if scaled.var() <= _FLAT * scaled.mean() ** 2:
        return NO_FIT
    # From two starts: a narrow peak on wide noise and a wide map with a peak are both found.
    starts = (_wide_start(scaled), _narrow_start(scaled))
    fitted = min((_fit_from(start, scaled) for start in starts), key=lambda fit: fit[1])
    return _described(scaled, *fitted)


def _described(scaled: np.ndarray, parameters: np.ndarray, cost: float) -> GaussianFit:
    """Return a fit of a map by its parameters and the sum of its squared residuals."""
    amplitude, y, x, log_y, log_x = (float(value) for value in parameters)
    total = float(scaled.sum(dtype=np.float64))
    mass = float(np.prod([basis[0].sum() for basis in _bases(parameters, scaled.shape)]))
    mean_residual = (total - amplitude * mass) / scaled.size
    variance = _power(scaled) / scaled.size - (total / scaled.size) ** 2
    r_squared = 1 - (cost / scaled.size - mean_residual**2) / variance
    return GaussianFit(amplitude / total, y, x, exp(log_y), exp(log_x), min(r_squared, 1.0))


def _fit_from(parameters: np.ndarray, scaled: np.ndarray) -> tuple[np.ndarray, float]:
    """Return parameters and squared residuals that the Levenberg-Marquardt method ends at.

    Parameters are amplitude, centre y and x, and logarithms of the standard deviations, which keeps
    these positive.
    """
    power = _power(scaled)
    lowest = np.array([0, 0, 0, log(_NARROWEST), log(_NARROWEST)])
    sides = np.array(scaled.shape)
    highest = np.array([np.inf, *(sides - 1.0), *np.log(_WIDEST * sides)])
    damping = 1e-3
    cost, normal, slope = _least_squares(parameters, scaled, power)
    for _ in range(_STEPS):
        damped = normal + np.diag(damping * normal.diagonal() + 1e-12)
        step = np.clip(np.linalg.solve(damped, slope), -_LONGEST_STEP, _LONGEST_STEP)
        tried = np.clip(parameters + step, lowest, highest)
        small = bool((np.abs(tried - parameters) < _SMALL_STEP).all())
        new_cost, new_normal, new_slope = _least_squares(tried, scaled, power)
        gain = cost - new_cost
        if gain > 0:
            parameters, cost, normal, slope = tried, new_cost, new_normal, new_slope
            damping /= 10
        else:
            damping *= 8
        if small or 0 < gain <= _SETTLED * power or damping > 1e8:
            break
    return parameters, cost


def _least_squares(
    parameters: np.ndarray, scaled: np.ndarray, power: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the sum of squared residuals, and matrix and right side of the normal equations."""
    amplitude = parameters[0]
    in_y, in_x = _bases(parameters, scaled.shape)
    with_map = in_y @ (scaled @ in_x.T.astype(scaled.dtype)).astype(np.float64)
    products_y, products_x = in_y @ in_y.T, in_x @ in_x.T
    # Derivatives by amplitude, y, x, log sigma_y, log sigma_x: products of a factor in y and one
    # in x, each the value itself (0), its derivative by the centre (1) or by log sigma (2).
    down, across = np.array([0, 1, 0, 2, 0]), np.array([0, 0, 1, 0, 2])
    weight = np.array([1, *[amplitude] * 4])
    normal = products_y[np.ix_(down, down)] * products_x[np.ix_(across, across)]
    overlap, own = with_map[down, across], products_y[down, 0] * products_x[across, 0]
    cost = power - 2 * amplitude * overlap[0] + amplitude**2 * own[0]
    slope = weight * (overlap - amplitude * own)
    return float(cost), normal * np.outer(weight, weight), slope


def _bases(parameters: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return along each axis a Gaussian with peak 1, and its derivatives: ``[3, length]``."""
    found = []
    for center, log_sigma, length in zip(parameters[1:3], parameters[3:], shape, strict=True):
        sigma = exp(log_sigma)
        z = (np.arange(length) - center) / sigma
        value = np.exp(-(z**2) / 2)
        found.append(np.stack([value, value * z / sigma, value * z**2]))
    return found


def _power(scaled: np.ndarray) -> float:
    return float(np.einsum("yx,yx->y", scaled, scaled).sum(dtype=np.float64))


def _wide_start(scaled: np.ndarray) -> np.ndarray:
    """Return the fit to means over blocks, begun at medians and 68 % ranges of the profiles.

    Tails, which maps have and Gaussians have not, move these less than moments.
    """
    blocks = [max(-(-length // _BLOCKS), 1) for length in scaled.shape]
    sums = scaled
    for axis, block in enumerate(blocks):
        sums = np.add.reduceat(sums, np.arange(0, scaled.shape[axis], block), axis=axis)
    means = sums / np.prod(blocks)
    start = [float(means.max())]
    widths = []
    for axis in (1, 0):
        held = np.cumsum(means.sum(axis=axis))
        low, middle, high = np.searchsorted(held, np.array([0.16, 0.5, 0.84]) * held[-1])
        start.append(float(middle))
        widths.append(log(max((high - low) / 2, 0.5)))
    coarse, _ = _fit_from(np.array([*start, *widths]), means)
    centers = [(at + 0.5) * block - 0.5 for at, block in zip(coarse[1:3], blocks, strict=True)]
    return np.array([coarse[0], *centers, *(coarse[3:] + np.log(blocks))])


def _narrow_start(scaled: np.ndarray) -> np.ndarray:
    """Return a Gaussian of a pixel at the peak."""
    row, column = np.unravel_index(scaled.argmax(), scaled.shape)
    return np.array([1.0, row, column, 0.0, 0.0])


class Gaussian(Grouped):
    """Widths and quality of the fit.

    They have no interval: on trained networks, with ten images, no method gave one that holds the
    truth.
    """

    name = "gaussian"
    order = 40
    measures = (
        Measure(
            "gaussian_sigma_y",
            "Gaussian sigma y, px",
            "pixels",
            "vertical standard deviation of the least-squares Gaussian",
            interval=False,
        ),
        Measure(
            "gaussian_sigma_x",
            "Gaussian sigma x, px",
            "pixels",
            "horizontal standard deviation of the least-squares Gaussian",
            interval=False,
        ),
        Measure(
            "gaussian_r2",
            "Gaussian R2",
            "number",
            "share of the variance of the mean map's pixels that the Gaussian explains; the noise "
            "of a mean over few images makes it smaller",
            interval=False,
        ),
    )

    def of_map(self, contribution: np.ndarray, frame: Frame) -> np.ndarray:
        """Return the values of a map."""
        fit = fit_gaussian(contribution)
        return np.array([fit.sigma_y, fit.sigma_x, fit.r_squared])
