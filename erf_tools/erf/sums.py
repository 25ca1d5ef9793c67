"""Adding up contribution maps on the device that makes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from erf_tools.erf.maps import ImageOutcome
from erf_tools.erf.measures.frame import Center, Frame
from erf_tools.erf.measures.sample import image_sums


class Sums:
    """Sums of one layer's maps, on the device: of all images, of groups of them, and of each."""

    def __init__(
        self,
        size: tuple[int, int],
        device: torch.device,
        lengths: Sequence[int],
        square_center: Center | None,
    ) -> None:
        """Begin with no images.

        Args:
            size: height and width of the maps.
            device: where the maps are.
            lengths: number of images in each group; none for maps that add up with their sign.
            square_center: of the linear measures.
        """
        self.lengths = tuple(lengths)
        # MPS has no float64.
        self._device = torch.device("cpu") if device.type == "mps" else device
        self._total = torch.zeros(size, dtype=torch.float64, device=self._device)
        self._groups = torch.zeros(len(lengths), *size, device=self._device)
        self._group_of = np.repeat(np.arange(len(lengths)), lengths)
        self._frame = Frame(
            size, square_center, lambda array: torch.as_tensor(array, device=self._device)
        )
        self._sums: dict[str, list[Tensor]] = {}
        self._sizes: list[Tensor] = []

    def add(self, maps: Tensor) -> None:
        """Add maps ``[N, height, width]``; those with a value that is not finite are left out."""
        maps = maps.to(self._device, torch.float64)
        sizes = maps.abs().sum(dim=(1, 2))
        for contribution, size in zip(maps, sizes, strict=True):
            kept = torch.where(size.isfinite(), contribution, 0.0)
            self._total += kept
            if len(self._groups):
                self._groups[self._group_of[len(self._sizes)]] += kept
                # One by one: the last bits must not hang on the images of a batch.
                for family, own in image_sums(kept[None], self._frame).items():
                    self._sums.setdefault(family, []).append(own[0])
            self._sizes.append(size)

    def outcomes(self) -> list[ImageOutcome]:
        """Return what became of each image."""
        return [
            "nan" if not np.isfinite(size) else "counted" if size > 0 else "zero"
            for size in torch.stack(self._sizes).cpu().numpy()
        ]

    def total(self) -> np.ndarray:
        """Return the sum ``[height, width]``."""
        return self._total.cpu().numpy()

    def groups(self) -> np.ndarray:
        """Return sums over groups of images ``[groups, height, width]``."""
        return self._groups.cpu().numpy()

    def each(self) -> dict[str, np.ndarray]:
        """Return, by family of measures, the sums of each image that is not left out."""
        finite = torch.stack(self._sizes).isfinite()
        return {
            family: torch.stack(own)[finite].cpu().numpy() for family, own in self._sums.items()
        }
