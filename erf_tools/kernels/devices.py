"""Having a network ready on a device, and images with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.errors import UsageError


def choose_device(name: str, module: nn.Module) -> torch.device:
    """Return the device that ``--device`` means.

    Raises:
        UsageError: there is no such device on this machine.
    """
    if name == "auto":
        own = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        return torch.device("cuda") if own.type == "cpu" and torch.cuda.is_available() else own
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--device {name}: there is no such device here; use auto or cpu"
        ) from error
    return device


def normalise(
    pixels: np.ndarray,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Bring uint8 ``[N, height, width, 3]`` to the device as ``[N, 3, height, width]``.

    The array's own layout is torch's channels_last, in which convolutions, the large depthwise
    ones above all, are several times faster on a CPU.
    """
    shift = torch.tensor(mean, dtype=dtype, device=device)[:, None, None]
    scale = torch.tensor(std, dtype=dtype, device=device)[:, None, None]
    inputs = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).to(dtype)
    return (inputs / 255 - shift) / scale


@contextmanager
def ready(module: nn.Module, device: torch.device, tf32: bool = False) -> Iterator[torch.dtype]:
    """Have a network on ``device``, in evaluation mode, frozen; then as it was.

    Args:
        module: the network.
        device: where to have it.
        tf32: let CUDA round factors to TF32; else it is off, for convolutions too.

    Raises:
        UsageError: TF32 is asked for on another device.
    """
    if tf32 and device.type != "cuda":
        raise UsageError("--precision tf32 is for CUDA; leave it out here, or use bf16")
    modes = {submodule: submodule.training for submodule in module.modules()}
    flags = {parameter: parameter.requires_grad for parameter in module.parameters()}
    first = next(iter(flags), torch.empty(0))
    backends: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    try:
        module.eval().requires_grad_(False).to(device)
        for backend in backends:
            backend.allow_tf32 = tf32
        yield first.dtype
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed
        module.to(first.device)
        for submodule, training in modes.items():
            submodule.training = training
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


def device_name(device: torch.device) -> str:
    """Return a device in words, for provenance."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)
