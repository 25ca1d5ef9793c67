"""Having a network ready on a device, and images with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erf_tools.computing import no_such_device
from erf_tools.errors import UsageError
from erf_tools.features.copies import (
    NotCopyableError,
    independent_copy,
    random_states_kept,
)
from erf_tools.features.state import state_guarded, state_kept


def choose_device(name: str, module: nn.Module) -> torch.device:
    """Return the device that ``--device`` means.

    Raises:
        UsageError: there is no such device on this machine.
    """
    if name == "auto":
        own = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        return torch.device("cuda") if own.type == "cpu" and torch.cuda.is_available() else own
    return check_device(name)


def check_device(name: str) -> torch.device:
    """Return the device of a name other than ``auto``.

    Raises:
        UsageError: there is no such device on this machine.
    """
    try:
        device = torch.device(name)
        torch.ones(1, device=device).cpu()  # `meta` takes values, but gives none back
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise no_such_device(name) from error
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


def check_precision(precision: str, module: nn.Module, device: torch.device) -> None:
    """See that a network can be run in a precision on a device.

    Args:
        precision: ``fp32`` for that of the weights; ``tf32`` or ``bf16``, which torch has for
            weights of float32, and passes over those of float64.
        module: the network.
        device: where it will be.

    Raises:
        UsageError: it cannot.
    """
    if precision == "tf32" and device.type != "cuda":
        raise UsageError("--precision tf32 is for CUDA; leave it out here, or use bf16")
    wide = any(parameter.dtype == torch.float64 for parameter in module.parameters())
    if precision != "fp32" and wide:
        raise UsageError(
            f"--precision {precision} does nothing to weights of float64, which this network has; "
            "leave it out, or convert the network with .float()"
        )


def narrow_types(module: nn.Module) -> str | None:
    """Return the types that :func:`copy_on_device` makes float32; ``None`` if there are none."""
    tensors = (*module.parameters(), *module.buffers())
    found = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors if _is_narrow(tensor)}
    return ", ".join(sorted(found)) or None


@contextmanager
def copy_on_device(
    module: nn.Module, device: torch.device, tf32: bool = False
) -> Iterator[nn.Module]:
    """Have a copy of a network on ``device``, in evaluation mode, frozen.

    Inside, gradients can be taken whatever mode the caller is in; outside, random states are as
    before. Where the network cannot be copied it is the network itself, which gets its state back.
    Weights of fewer than 32 bits are float32 in the copy: gradients would be rounded too coarsely.

    Args:
        module: the network.
        device: where to have it.
        tf32: let CUDA round factors to TF32; else it is off, for convolutions too.

    Raises:
        ErfToolsError: at the end, if running the copy has changed the network all the same.
    """
    if device.type == "cuda":
        torch.cuda.init()  # random states are kept of what is there
    with ExitStack() as held:
        held.enter_context(random_states_kept())
        held.enter_context(torch.inference_mode(False))
        held.enter_context(torch.enable_grad())
        held.enter_context(tf32_allowed(tf32))
        try:
            network = independent_copy(module)
        except NotCopyableError:
            network = module
            held.enter_context(state_kept(module))
        else:
            held.enter_context(state_guarded(module))
        yield network.eval().requires_grad_(False).to(device)._apply(_widened)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if _is_narrow(tensor) else tensor


def _is_narrow(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.itemsize < torch.float32.itemsize


@contextmanager
def tf32_allowed(allowed: bool) -> Iterator[None]:
    """Let CUDA round factors to TF32 inside, in convolutions too, or not."""
    backends: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = allowed
        yield
    finally:
        for backend, own in zip(backends, before, strict=True):
            backend.allow_tf32 = own


def device_name(device: torch.device) -> str:
    """Return a device in words, for provenance."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)
