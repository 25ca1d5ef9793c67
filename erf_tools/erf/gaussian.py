"""The 2-D Gaussian that fits a map best, for one map or many at once."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, pi, sqrt

import numpy as np
from scipy.special import ndtr

#: Maps are fitted on means over at most so many blocks along each axis.
_BLOCKS = 64
_STEPS = 100
#: Amplitude relative to the peak, centres in pixels, logarithms of standard deviations.
_LONGEST_STEP = (2.0, 64.0, 64.0, 1.0, 1.0)
#: A standard deviation is at least this, in pixels: all of the mass then lies in one.
_NARROWEST = 0.05
#: And at most so many times the side: the map then cannot tell it from a flat one.
_WIDEST = 10
#: Relative variance of block means that rounding to float32 leaves of a flat map.
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
    """Fit a Gaussian by least squares, as Kim et al. (BMVC 2023, OpenERF) do.

    On large maps it is fitted to means over blocks, and is itself averaged over each block. It
    takes more than one block to see a width: a standard deviation below a third of a block (5
    pixels in a map of 1024) is a rough one.

    Args:
        contribution: ``[height, width]``, not negative, with mass.

    Returns:
        The fit, with its centre in the map; NaN for a map that is the same everywhere.
    """
    edges = block_edges(contribution.shape[0]), block_edges(contribution.shape[1])
    blocks = np.add.reduceat(contribution / contribution.sum(), edges[0][:-1], axis=0)
    blocks = np.add.reduceat(blocks, edges[1][:-1], axis=1)
    (parameters,), (r_squared,) = fit_blocks(blocks[None], *edges)
    amplitude, y, x, sigma_y, sigma_x = (float(value) for value in parameters)
    return GaussianFit(amplitude, y, x, sigma_y, sigma_x, float(r_squared))


def block_edges(length: int) -> np.ndarray:
    """Return where the blocks along an axis begin, and where the last one ends."""
    return np.linspace(0, length, min(length, _BLOCKS) + 1).round().astype(int)


def fit_blocks(
    sums: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit Gaussians to many maps by the Levenberg-Marquardt method.

    A Gaussian is a product of one in y and one in x, so that all that least squares needs of a map
    are its products with vectors.

    Args:
        sums: ``[maps, blocks in y, blocks in x]``: of the contribution over blocks, with mass.
        rows: edges of the blocks in y, from :func:`block_edges`.
        columns: edges of the blocks in x.

    Returns:
        ``[maps, 5]``: amplitude, centre y and x, sigma y and x; and ``[maps]``: R squared.
    """
    # From two starts: a narrow peak on wide noise and a wide map with a peak are both found.
    profiles = (sums.sum(axis=2), rows), (sums.sum(axis=1), columns)
    wide = [_spread(profile, edges) for profile, edges in profiles]
    narrow = [_peak(profile, edges) for profile, edges in profiles]
    (found, r_squared), (others, other) = (
        _fit_from(start, sums, rows, columns) for start in (wide, narrow)
    )
    better = other > r_squared
    return np.where(better[:, None], others, found), np.where(better, other, r_squared)


def _fit_from(
    start: list[tuple[np.ndarray, np.ndarray]],
    sums: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    means = sums / (np.diff(rows)[:, None] * np.diff(columns)[None, :])
    scale = means.max(axis=(1, 2))
    means = means / scale[:, None, None]
    power = (means**2).sum(axis=(1, 2))
    # Amplitude, centres, and logarithms of the standard deviations, which keeps these positive.
    (y, log_y), (x, log_x) = start
    parameters = np.stack([np.ones(len(means)), y, x, log_y, log_x], axis=1)
    lengths = rows[-1], columns[-1]
    lowest = [-0.5, -0.5, np.log(_NARROWEST), np.log(_NARROWEST)]
    highest = [*(n - 0.5 for n in lengths), *(np.log(_WIDEST * n) for n in lengths)]
    damping = np.full(len(means), 1e-3)
    cost, normal, slope = _least_squares(means, power, parameters, rows, columns)
    unsettled = np.arange(len(means))
    for _ in range(_STEPS):
        now = unsettled
        diagonal = np.einsum("mii->mi", normal[now])
        damped = normal[now] + np.eye(5) * (damping[now, None] * diagonal + 1e-12)[:, None, :]
        step = np.linalg.solve(damped, slope[now, :, None])[:, :, 0]
        tried = parameters[now] + np.clip(step, -np.array(_LONGEST_STEP), _LONGEST_STEP)
        tried[:, 1:] = np.clip(tried[:, 1:], lowest, highest)
        new_cost, new_normal, new_slope = _least_squares(
            means[now], power[now], tried, rows, columns
        )
        gain = cost[now] - new_cost
        better = gain > 0
        moved = now[better]
        parameters[moved], cost[moved] = tried[better], new_cost[better]
        normal[moved], slope[moved] = new_normal[better], new_slope[better]
        damping[now] *= np.where(better, 1 / 4, 8)
        unsettled = now[np.where(better, gain > 1e-10 * power[now], damping[now] < 1e6)]
        if not len(unsettled):
            break
    amplitude = parameters[:, :1] * scale[:, None] / sums.sum(axis=(1, 2))[:, None]
    found = np.concatenate([amplitude, parameters[:, 1:3], np.exp(parameters[:, 3:])], axis=1)
    variance = means.var(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = means - parameters[:, :1, None] * _surface(parameters, rows, columns)
        r_squared = 1 - residual.var(axis=(1, 2)) / variance
    flat = variance <= _FLAT * means.mean(axis=(1, 2)) ** 2
    return np.where(flat[:, None], nan, found), np.where(flat, nan, r_squared)


def _peak(profiles: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where profiles ``[maps, blocks]`` peak, and the logarithm of a block's length."""
    middles = (edges[:-1] + edges[1:] - 1) / 2
    blocks = np.diff(edges)
    highest = (profiles / blocks).argmax(axis=1)
    return middles[highest], np.log(blocks[highest].astype(float))


def _spread(profiles: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return median and logarithm of half the 68 % range of profiles ``[maps, blocks]``.

    Tails, which maps have and Gaussians have not, move these less than moments.
    """
    held = np.cumsum(profiles, axis=1) / profiles.sum(axis=1, keepdims=True)
    middles = (edges[:-1] + edges[1:] - 1) / 2
    low, median, high = (middles[(held >= share).argmax(axis=1)] for share in (0.16, 0.5, 0.84))
    return median, np.log(np.maximum((high - low) / 2, np.diff(edges).mean() / 2))


def _least_squares(
    means: np.ndarray,
    power: np.ndarray,
    parameters: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sum of squared residuals, and matrix and right side of the normal equations."""
    amplitude = parameters[:, 0]
    in_y = _averages(parameters[:, 1], np.exp(parameters[:, 3]), rows)
    in_x = _averages(parameters[:, 2], np.exp(parameters[:, 4]), columns)
    # Derivatives by amplitude, y, x, log sigma_y, log sigma_x: products of a factor in y and one
    # in x, each the value itself (0), its derivative by the centre (1) or by log sigma (2).
    orders = [(0, 0), (1, 0), (0, 1), (2, 0), (0, 2)]
    weight = np.stack([np.ones_like(amplitude), *[amplitude] * 4], axis=1)
    products_y = np.einsum("amb,cmb->mac", in_y, in_y)
    products_x = np.einsum("amb,cmb->mac", in_x, in_x)
    with_map = np.einsum("amb,mbc,dmc->mad", in_y, means, in_x, optimize=True)
    down, across = [order[0] for order in orders], [order[1] for order in orders]
    normal = products_y[:, down][:, :, down] * products_x[:, across][:, :, across]
    overlap = with_map[:, down, across]
    own = products_y[:, down, 0] * products_x[:, across, 0]
    cost = power - 2 * amplitude * overlap[:, 0] + amplitude**2 * own[:, 0]
    slope = weight * (overlap - amplitude[:, None] * own)
    return cost, normal * weight[:, :, None] * weight[:, None, :], slope


def _averages(centre: np.ndarray, sigma: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return ``[3, maps, blocks]``: a Gaussian with peak 1 averaged over blocks, and its slopes.

    The slopes are by the centre and by the logarithm of the standard deviation.
    """
    z = (edges[None, :] - 0.5 - centre[:, None]) / sigma[:, None]
    density = np.exp(-(z**2) / 2)
    width = np.diff(edges)[None, :]
    mass = sqrt(2 * pi) * np.diff(ndtr(z), axis=1)
    value = mass * sigma[:, None] / width
    by_centre = -np.diff(density, axis=1) / width
    by_logarithm = sigma[:, None] * (mass - np.diff(z * density, axis=1)) / width
    return np.stack([value, by_centre, by_logarithm])


def _surface(parameters: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    in_y = _averages(parameters[:, 1], np.exp(parameters[:, 3]), rows)[0]
    in_x = _averages(parameters[:, 2], np.exp(parameters[:, 4]), columns)[0]
    return in_y[:, :, None] * in_x[:, None, :]
