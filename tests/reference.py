"""Slow, literal oracles, written from the publications and apart from the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import torch
from PIL import Image
from scipy.special import ndtr
from torch import Tensor, nn


def rounded(value: float, digits: int) -> str:
    """A number in so many decimal places, by decimal arithmetic; a zero has no sign."""
    found = Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)
    return f"{found if found else abs(found):f}"


def ding2022_map(
    features: Callable[[Tensor], Tensor],
    image: Image.Image,
    resolution: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dtype: torch.dtype,
) -> np.ndarray:
    """One image by the RepLKNet paper's procedure, step by step, batch of one, NCHW."""
    resized = image.convert("RGB").resize((resolution, resolution), Image.BICUBIC)
    pixels = np.asarray(resized).transpose(2, 0, 1).astype(np.float64) / 255.0
    for channel in range(3):
        pixels[channel] = (pixels[channel] - mean[channel]) / std[channel]
    sample = torch.tensor(pixels[None], dtype=dtype, requires_grad=True)
    outputs = features(sample)
    size = outputs.size()
    central_point = nn.functional.relu(outputs[:, :, size[2] // 2, size[3] // 2]).sum()
    (grad,) = torch.autograd.grad(central_point, sample)
    grad = nn.functional.relu(grad)
    return grad.sum((0, 1)).double().numpy()


def kim2023_map(
    features: Callable[[Tensor], Tensor], sample: Tensor, tokens: tuple[int, int] | None
) -> np.ndarray:
    """One prepared image ``[1, 3, h, w]`` by OpenERF's procedure.

    ``tokens`` are rows and columns of the grid of a transformer, whose ``features`` are then
    ``[1, L, C]`` without prefix tokens; else they are ``[1, C, H, W]``.
    """
    sample = sample.clone().requires_grad_(True)
    outputs = features(sample)
    if tokens:
        rows, columns = tokens
        row = rows // 2 if rows % 2 else rows // 2 - 1
        column = columns // 2 if columns % 2 else columns // 2 - 1
        activation = outputs[0, row * columns + column, :].mean()
    else:
        activation = outputs[0, :, outputs.shape[2] // 2, outputs.shape[3] // 2].mean()
    (grad,) = torch.autograd.grad(activation, sample)
    return grad.mean(dim=(0, 1)).clamp(min=0).double().numpy()


def vmamba2024_view(image: Image.Image, resolution: int) -> Image.Image:
    """Short side to the resolution, bicubic, and the centre cut out (torchvision's rounding)."""
    image = image.convert("RGB")
    width, height = image.size
    if width <= height:
        image = image.resize((resolution, int(resolution * height / width)), Image.BICUBIC)
    else:
        image = image.resize((int(resolution * width / height), resolution), Image.BICUBIC)
    left = round((image.width - resolution) / 2.0)
    top = round((image.height - resolution) / 2.0)
    return image.crop((left, top, left + resolution, top + resolution))


def luo2016_map(features: Callable[[Tensor], Tensor], samples: list[Tensor]) -> np.ndarray:
    """Prepared images: 1 at the central unit of every channel, sent back; signs are kept."""
    total = 0.0
    for sample in samples:
        sample = sample.clone().requires_grad_(True)
        outputs = features(sample)
        signal = torch.zeros_like(outputs)
        signal[0, :, outputs.shape[2] // 2, outputs.shape[3] // 2] = 1
        outputs.backward(signal)
        assert sample.grad is not None
        total = total + sample.grad[0].double().numpy()
    mean = total / len(samples)
    return np.abs(mean.mean(axis=0))


def published_rectangle(data: np.ndarray, threshold: float) -> float | None:
    """The published area ratio of a map that is already displayed, or None if not reached."""
    h, w = data.shape
    all_sum = np.sum(data)
    for i in range(1, h // 2):
        selected = data[h // 2 - i : h // 2 + 1 + i, w // 2 - i : w // 2 + 1 + i]
        if np.sum(selected) / all_sum > threshold:
            return (i * 2 + 1) / h * (i * 2 + 1) / w
    return None


def brute_force_ratio(data: np.ndarray, threshold: float) -> float:
    """The smallest centred square, cut off at the rim, by trying all of them pixel by pixel."""
    h, w = data.shape
    for i in range(1, max(h, w) + 1):
        inside = [
            (y, x) for y in range(h) for x in range(w) if max(abs(y - h // 2), abs(x - w // 2)) <= i
        ]
        if sum(data[y, x] for y, x in inside) / data.sum() > threshold * (1 + 1e-12):
            return len(inside) / (h * w)
    return 1.0


def randomise_norms(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give BatchNorms statistics and scales as after training, so that folding them matters."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low, high in (
                (layer.running_mean, -0.3, 0.3),
                (layer.running_var, 0.5, 1.5),
                (layer.weight.data, 0.5, 1.5),
                (layer.bias.data, -0.3, 0.3),
            ):
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return module


def depthwise_by_hand(
    maps: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, dilation: int = 1
) -> np.ndarray:
    """Convolve ``[C, H, W]`` with odd kernels ``[C, 1, h, w]``, zeros around, tap by tap."""
    channels, height, width = maps.shape
    rows, columns = weight.shape[2:]
    down, across = dilation * (rows // 2), dilation * (columns // 2)
    padded = np.pad(maps, ((0, 0), (down, down), (across, across)))
    out = np.zeros_like(maps)
    for channel in range(channels):
        for row in range(rows):
            for column in range(columns):
                y, x = dilation * row, dilation * column
                shifted = padded[channel, y : y + height, x : x + width]
                out[channel] += weight[channel, 0, row, column] * shifted
    return out if bias is None else out + bias[:, None, None]


def pointwise_by_hand(
    maps: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None
) -> np.ndarray:
    """Mix the channels of ``[C, H, W]`` at each position by a matrix ``[D, C]``."""
    out = np.einsum("dc,chw->dhw", weight.reshape(weight.shape[:2]), maps)
    return out if bias is None else out + bias[:, None, None]


def gelu_by_hand(values: np.ndarray) -> np.ndarray:
    """The exact GELU: the values times the normal distribution's cumulative function at them."""
    return values * ndtr(values)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give all parameters and statistics of a network values that matter, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.copy_(0.6 * noise - 0.2)
    return randomise_norms(module, seed).eval().requires_grad_(False)


def slow_two_way_variance(influence: np.ndarray, one: Sequence[str], other: Sequence[str]) -> float:
    """Return Cameron, Gelbach and Miller's sum over all pairs of observations."""
    variances = []
    for clusters in (np.array(one), np.array(other)):
        count = len(set(clusters))
        alike = clusters[:, None] == clusters[None, :]
        variances.append(count / (count - 1) * (np.outer(influence, influence) * alike).sum())
    return float(max(sum(variances) - (influence**2).sum(), *variances))
