"""Images with a shape and a texture: a silhouette, filled with a local pattern, on a plain ground.

Neither cue is in anything simpler. All silhouettes of one size have the same area; all patterns
cover half of it with either of two colours; colours, position, size, rotation, period and phase
are drawn without regard to the classes. The patterns have periods of five to eight pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import pi, sqrt
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

#: ``shape``: the label is the shape, and the texture is drawn independently. ``texture``: the other
#: way round. ``either``: both are the label. ``conflict``: they always disagree. ``silhouette``:
#: a shape in one colour. ``swatch``: a texture all over the image.
Cue = Literal["shape", "texture", "either", "conflict", "silhouette", "swatch"]
CUES: tuple[Cue, ...] = get_args(Cue)

#: Stands for the class of a cue that an image does not have.
ABSENT = -1

_Pattern = Callable[[Tensor, Tensor], Tensor]

_NOISE = 0.08
_RADIUS = (0.2, 0.28)  # of a disc of the same area, as a share of the image's side
_JITTER = 0.06  # of the centre
_PERIOD = (5.0, 8.0)  # pixels
_TILT = pi / 18  # of the pattern, at most
_WAVES = 12


def _star(x: Tensor, y: Tensor) -> Tensor:
    fifth = 2 * pi / 5
    angle = (torch.remainder(torch.atan2(y, x) + fifth / 2, fifth) - fifth / 2).abs()
    radius = torch.hypot(x, y)
    notch = 0.42 * torch.exp(torch.tensor(1j * pi / 5))
    edge_x, edge_y = float(notch.real) - 1, float(notch.imag)
    return edge_x * radius * angle.sin() - edge_y * (radius * angle.cos() - 1) > 0


#: Which points of a plane are inside, around the origin, in units of the shape's own.
SHAPES: dict[str, _Pattern] = {
    "disc": lambda x, y: torch.hypot(x, y) < 1,
    "ring": lambda x, y: (torch.hypot(x, y) < 1) & (torch.hypot(x, y) > 0.55),
    "crescent": lambda x, y: (torch.hypot(x, y) < 1) & (torch.hypot(x - 0.55, y) > 0.8),
    "square": lambda x, y: torch.maximum(x.abs(), y.abs()) < 1,
    "bar": lambda x, y: torch.maximum(x.abs(), 2.5 * y.abs()) < 1,
    "triangle": lambda x, y: (y > -0.5) & (sqrt(3) * x.abs() + y < 1),
    "star": _star,
    "cross": lambda x, y: (
        (torch.minimum(x.abs(), y.abs()) < 0.35) & (torch.maximum(x.abs(), y.abs()) < 1)
    ),
}


def _wave(phase: Tensor) -> Tensor:
    return torch.cos(2 * pi * phase)


def _dots(x: Tensor, y: Tensor) -> Tensor:
    return 0.4 - torch.hypot(x - x.round(), y - y.round())


def _labyrinth(x: Tensor, y: Tensor) -> Tensor:
    """Sum plane waves of all directions; their phases come from where the pattern begins."""
    total = torch.zeros_like(x)
    for wave in range(_WAVES):
        angle = torch.tensor(pi * wave / _WAVES)
        shift = 3.77 * (wave + 1) * (x[:, :1, :1] + wave * y[:, :1, :1])
        total += _wave(angle.cos() * x + angle.sin() * y + shift)
    return total


#: Where each pattern has the first of its colours: where its value is positive. Periods are one.
TEXTURES: dict[str, _Pattern] = {
    "rows": lambda x, y: _wave(y),
    "columns": lambda x, y: _wave(x),
    "diagonals": lambda x, y: _wave((x + y) / sqrt(2)),
    "checks": lambda x, y: _wave(x) * _wave(y),
    "diamonds": lambda x, y: _wave((x + y) / sqrt(2)) * _wave((x - y) / sqrt(2)),
    "dots": _dots,
    "waves": lambda x, y: _wave(y + 0.3 * _wave(x / 1.5)),
    "labyrinth": _labyrinth,
}

CLASSES = len(SHAPES)


@dataclass(frozen=True, eq=False)
class Images:
    """Images and their cues.

    Attributes:
        pixels: ``[N, 3, side, side]`` in [0, 1].
        shapes: classes ``[N]``, or ``ABSENT``.
        textures: classes ``[N]``, or ``ABSENT``.
        labels: what is to be answered ``[N]``; where the cues conflict, the shape.
    """

    pixels: Tensor
    shapes: np.ndarray
    textures: np.ndarray
    labels: np.ndarray


def make_images(
    number: int, cue: Cue, side: int, generator: np.random.Generator, device: torch.device
) -> Images:
    """Draw classes as ``cue`` says, and images of them.

    Args:
        number: how many.
        cue: see :data:`Cue`.
        side: of the images, pixels.
        generator: of everything; the same state gives the same images on the same device.
        device: where the images are made.
    """
    shapes = generator.integers(CLASSES, size=number)
    offsets = generator.integers(1, CLASSES, size=number)
    others = generator.integers(CLASSES, size=number)
    textures = {
        "either": shapes,
        "conflict": (shapes + offsets) % CLASSES,
        "silhouette": np.full(number, ABSENT),
    }.get(cue, others)
    if cue == "swatch":
        shapes = np.full(number, ABSENT)
    labels = textures if cue in ("texture", "swatch") else shapes
    return Images(render(shapes, textures, side, generator, device), shapes, textures, labels)


def render(
    shapes: np.ndarray,
    textures: np.ndarray,
    side: int,
    generator: np.random.Generator,
    device: torch.device,
) -> Tensor:
    """Return images ``[N, 3, side, side]`` in [0, 1] of the given classes.

    What is drawn from the generator does not depend on the classes.
    """
    inside = outlines(shapes, side, generator, device)
    first = _patterns(textures, side, generator, device)
    ground, mean, contrast = (
        torch.from_numpy(colour).to(device, torch.float32)[:, :, None, None]
        for colour in _colours(len(shapes), generator)
    )
    filled = torch.where(inside[:, None], mean + contrast * first[:, None], ground)
    noise = torch.Generator(device).manual_seed(int(generator.integers(2**62)))
    filled += _NOISE * torch.randn(filled.shape, generator=noise, device=device)
    return filled.clamp_(0, 1)


def outlines(
    shapes: np.ndarray, side: int, generator: np.random.Generator, device: torch.device
) -> Tensor:
    """Return which pixels are inside the silhouettes: ``[N, side, side]``; all, without a shape."""
    number = len(shapes)
    centers = side / 2 + side * generator.uniform(-_JITTER, _JITTER, (2, number))
    angles = generator.uniform(0, 2 * pi, number)
    radii = side * generator.uniform(*_RADIUS, number)
    x, y = _plane(side, centers, angles, device)
    inside = torch.ones(number, side, side, dtype=torch.bool, device=device)
    for index, shape in enumerate(SHAPES):
        own = np.flatnonzero(shapes == index)
        scale = torch.from_numpy(_unit(shape) / radii[own]).to(device, torch.float32)[:, None, None]
        inside[own] = SHAPES[shape](x[own] * scale, y[own] * scale)
    return inside


def _patterns(
    textures: np.ndarray, side: int, generator: np.random.Generator, device: torch.device
) -> Tensor:
    """Return 1 where a pattern has its first colour, else -1, and 0 without a texture."""
    number = len(textures)
    origins = side * generator.uniform(0, 1, (2, number))
    angles = generator.uniform(-_TILT, _TILT, number)
    periods = generator.uniform(*_PERIOD, number)
    x, y = _plane(side, origins, angles, device)
    signs = torch.zeros(number, side, side, device=device)
    for index, pattern in enumerate(TEXTURES.values()):
        own = np.flatnonzero(textures == index)
        scale = torch.from_numpy(1 / periods[own]).to(device, torch.float32)[:, None, None]
        signs[own] = torch.where(pattern(x[own] * scale, y[own] * scale) > 0, 1.0, -1.0)
    return signs


def _plane(
    side: int, origins: np.ndarray, angles: np.ndarray, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the coordinates ``[N, side, side]`` of pixels in turned planes, in pixels."""
    grid = torch.arange(side, device=device) + 0.5
    left, top, cosine, sine = (
        torch.from_numpy(values).to(device, torch.float32)[:, None, None]
        for values in (*origins, np.cos(angles), np.sin(angles))
    )
    x, y = grid[None, None, :] - left, grid[None, :, None] - top
    return cosine * x + sine * y, cosine * y - sine * x


def _colours(number: int, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return the ground's colours, the patterns' mean, and half the difference of their two."""
    ground = generator.uniform(0, 0.4, (number, 3))
    mean = generator.uniform(0.6, 0.7, (number, 3))
    contrast = generator.uniform(0.1, 0.15, (number, 3)) * generator.choice((-1, 1), (number, 1))
    return ground, mean, contrast


@lru_cache
def _unit(shape: str) -> float:
    """Return the radius of the disc that has the area of ``SHAPES[shape]``."""
    side, reach = 1024, 1.5
    line = (torch.arange(side) + 0.5) * (2 * reach / side) - reach
    y, x = torch.meshgrid(line, line, indexing="ij")
    area = float(SHAPES[shape](x, y).float().mean()) * (2 * reach) ** 2
    return sqrt(area / pi)
