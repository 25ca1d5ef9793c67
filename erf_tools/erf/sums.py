"""Adding up contribution maps on the device that makes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from erf_tools.erf.maps import Outcome


class Sums:
    """Sums of one layer's maps, on the device: of all images, and of groups of them."""

    def __init__(self, size: tuple[int, int], device: torch.device, lengths: Sequence[int]) -> None:
        # MPS has no float64.
        self._device = torch.device("cpu") if device.type == "mps" else device
        self._total = torch.zeros(size, dtype=torch.float64, device=self._device)
        self._groups = torch.zeros(len(lengths), *size, device=self._device)
        self._group_of = np.repeat(np.arange(len(lengths)), lengths)
        self._sizes: list[Tensor] = []

    def add(self, maps: Tensor) -> None:
        """Add maps ``[N, height, width]``; those with a value that is not finite are left out."""
        maps = maps.to(self._device, torch.float64)
        sizes = maps.abs().sum(dim=(1, 2))
        for contribution, size in zip(maps, sizes, strict=True):
            kept = torch.where(size.isfinite(), contribution, 0.0)
            self._total += kept
            self._groups[self._group_of[len(self._sizes)]] += kept
            self._sizes.append(size)

    def outcomes(self) -> list[Outcome]:
        """Return what became of each image."""
        sizes = torch.stack(self._sizes).cpu().numpy()
        return [
            "nan" if not np.isfinite(size) else "counted" if size > 0 else "zero" for size in sizes
        ]

    def total(self) -> np.ndarray:
        """Return the sum ``[height, width]``."""
        return self._total.cpu().numpy()

    def groups(self) -> np.ndarray:
        """Return sums over groups of images ``[groups, height, width]``."""
        return self._groups.cpu().numpy()
