"""From a forward pass to contribution maps: gradients of units with respect to the images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erf_tools.erf.protocols import Protocol
from erf_tools.erf.units import Position
from erf_tools.features.behaviour import Behaviour, watched
from erf_tools.features.reading import read_maps
from erf_tools.features.taps import Tap
from erf_tools.kernels.norm_gradients import RightNormGradients

#: A sum is nothing but rounding where it is smaller than this many roundings of its terms.
ROUNDINGS = 64

#: A gradient may be nothing but rounding where it would change a unit by less than this share of
#: its value if the image were gone; most change it by ten times its value.
_LITTLE = 1e-2


@dataclass(frozen=True)
class Pass:
    """A network and the images it is run on.

    Attributes:
        network: in evaluation mode, its parameters frozen.
        inputs: normalised images ``[N, 3, height, width]`` that gradients are taken with respect
            to.
        autocast: type of automatic mixed precision; ``None`` for the weights' own.
    """

    network: nn.Module
    inputs: Tensor
    autocast: torch.dtype | None = None

    def features(self, taps: Sequence[Tap], behaviour: Behaviour | None = None) -> list[Tensor]:
        """Run it; return the maps ``[N, C, H, W]`` of taps.

        Args:
            taps: of the layers.
            behaviour: what the network does with the images is added to it.
        """
        # Off where the caller has it on: the precision is what the procedure says.
        mixed = torch.autocast(
            self.inputs.device.type, torch.bfloat16, enabled=self.autocast is not None
        )
        seen = nullcontext() if behaviour is None else watched(self.inputs, behaviour)
        with mixed, seen, RightNormGradients():
            return read_maps(self.network, taps, self.inputs)


def aligned_means(
    run: Pass,
    tap: Tap,
    units: Sequence[Position],
    shifts: Sequence[Position],
    features: Tensor,
    protocols: Sequence[Protocol],
    keep_graph: bool,
) -> Tensor:
    """Return the mean over units of their maps, each shifted: ``[protocols, N, height, width]``.

    A shifted map does not cover every pixel. The mean at a pixel is over the maps that do.

    Args:
        run: the pass.
        tap: of the layer.
        units: rows and columns in ``features``.
        shifts: rows and columns by which each unit's map is moved.
        features: of the layer, ``[N, C, H, W]``.
        protocols: what is differentiated, and what is taken of the gradient; those that
            differentiate the same share the gradient.
        keep_graph: for gradients of other layers.
    """
    total, covered = None, None
    for position, shift in zip(units, shifts, strict=True):
        keep = keep_graph or position != units[-1]
        gradients = _gradients(run, tap, position, features, protocols, keep)
        contribution = torch.stack([reduced(gradients[each.scalar], each) for each in protocols])
        if len(units) == 1:
            return contribution
        if total is None or covered is None:
            total = torch.zeros_like(contribution)
            covered = torch.zeros_like(contribution[0, 0])
        source, place = _overlap(shift, tuple(contribution.shape[-2:]))
        total[..., place[0], place[1]] += contribution[..., source[0], source[1]]
        covered[place] += 1
    assert total is not None
    assert covered is not None
    return total / covered


def _gradients(
    run: Pass,
    tap: Tap,
    unit: Position,
    features: Tensor,
    protocols: Sequence[Protocol],
    keep_graph: bool,
) -> dict[str, Tensor]:
    """Return the gradients of a unit for each scalar that protocols differentiate."""
    scalars = {each.scalar: each for each in protocols}
    found: dict[str, Tensor] = {}
    # The mean over channels is a multiple of their sum.
    passes = [each for each in scalars if each != "mean" or "sum" not in scalars]
    for scalar in passes:
        keep = keep_graph or scalar != passes[-1]
        found[scalar] = unit_gradient(run, tap, unit, features, scalars[scalar], keep)
    if "mean" in scalars and "sum" in scalars:
        found["mean"] = found["sum"] / features.shape[1]
    return found


def unit_gradient(
    run: Pass,
    tap: Tap,
    unit: Position,
    features: Tensor,
    protocol: Protocol,
    keep_graph: bool = False,
) -> Tensor:
    """Return the gradients ``[N, 3, height, width]`` of a unit; zero where they cancel.

    For the arguments see :func:`aligned_means`.
    """
    scalar = terms(features[:, :, unit[0], unit[1]], protocol).sum()
    (gradient,) = torch.autograd.grad(scalar, run.inputs, retain_graph=keep_graph)
    gradient[_cancelled(run, tap, unit, features, gradient, protocol)] = 0
    return gradient


def terms(channels: Tensor, protocol: Protocol) -> Tensor:
    """Return the terms ``[N, C]`` of the sum that is differentiated, of a unit's channels.

    Of several units ``[N, C, ...]`` likewise.
    """
    if protocol.scalar == "mean":
        return channels / channels.shape[1]
    return channels.relu() if protocol.scalar == "relu-sum" else channels


def _cancelled(
    run: Pass,
    tap: Tap,
    unit: Position,
    features: Tensor,
    gradient: Tensor,
    protocol: Protocol,
) -> Tensor:
    """Tell in which images the gradients of a unit's channels cancel, but for rounding: ``[N]``.

    They do where the sum over channels is constant by construction, as behind a normalisation over
    channels. The size they would have without cancelling is that of a sum with random signs, which
    takes another pass, so it is taken only where the gradient is small for the unit's value.
    """
    with torch.no_grad():
        size = terms(features[:, :, unit[0], unit[1]], protocol).abs().flatten(1).sum(dim=1)
        sizes, images = _norms(gradient), _norms(run.inputs.detach() * (gradient != 0))
        cancelled = (sizes > 0) & (sizes * images <= _LITTLE * size)
    if cancelled.any():
        (again,) = run.features([tap])
        parts = terms(again[:, :, unit[0], unit[1]], protocol)
        signed = with_random_signs(parts, torch.Generator().manual_seed(0))
        (other,) = torch.autograd.grad(signed, run.inputs)
        cancelled &= sizes <= ROUNDINGS * torch.finfo(gradient.dtype).eps * _norms(other)
    return cancelled


def with_random_signs(parts: Tensor, draw: torch.Generator) -> Tensor:
    """Return the sum of terms ``[N, ...]`` with random signs, the same for each image."""
    signs = 2.0 * torch.randint(0, 2, parts.shape[1:], generator=draw) - 1
    return (parts * signs.to(parts)).sum()


def _norms(images: Tensor) -> Tensor:
    return images.flatten(1).norm(dim=1)


def reduced(gradient: Tensor, protocol: Protocol) -> Tensor:
    """Return maps ``[N, height, width]`` of gradients ``[N, 3, height, width]``."""
    # MPS has no float64; there the sum over RGB is in float32 and the rest on the CPU.
    wide = torch.float32 if gradient.device.type == "mps" else torch.float64
    if protocol.rgb == "mean":
        mean = gradient.mean(dim=1, dtype=wide)
        # Colours cancel in a network that sees differences of colours only, everywhere or inside.
        rounding = ROUNDINGS * torch.finfo(gradient.dtype).eps
        mean[_norms(mean) <= rounding * _norms(gradient)] = 0
        mean[mean.abs() <= rounding * gradient.abs().amax(dim=1)] = 0
        return _rectified(mean, protocol)
    return _rectified(gradient, protocol).sum(dim=1, dtype=wide)


def _rectified(values: Tensor, protocol: Protocol) -> Tensor:
    if protocol.gradient == "relu":
        return values.relu()
    return values.abs() if protocol.gradient == "abs" else values


def _overlap(
    shift: Position, size: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a shifted map is read and where it is put, so that both lie inside."""
    source, place = zip(
        *(
            (slice(max(-by, 0), length - max(by, 0)), slice(max(by, 0), length - max(-by, 0)))
            for by, length in zip(shift, size, strict=True)
        ),
        strict=True,
    )
    return source, place
