"""
A restoration network
=====================

Networks that give images have a protocol of their own, ``mambair2024``: the image that comes out is
differentiated, not a feature before pooling.
"""

# %%
# A small network for super-resolution, untrained, that doubles the size of the image. Its output is
# measured at the centre, against the pixels of the small image.
import torch
from torch import Tensor, nn

import erf_tools
from erf_tools.erf.figures import heatmap


class DoublesTheSize(nn.Module):
    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 24, 3, padding=1)
        self.body = nn.Sequential(
            *(
                layer
                for _ in range(4)
                for layer in (nn.Conv2d(24, 24, kernel, padding=kernel // 2), nn.ReLU())
            )
        )
        self.tail = nn.Sequential(nn.Conv2d(24, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, images: Tensor) -> Tensor:
        features = self.head(images)
        return self.tail(features + self.body(features))


torch.manual_seed(0)
model = erf_tools.as_model(DoublesTheSize(5).eval(), "doubles the size")
result = erf_tools.effective_receptive_field(
    model, num_images=6, resolution=64, protocol="mambair2024"
)
figure = heatmap(result)

# %%
# The body can see 23 pixels far. The identity beside it weighs most: half of the contribution comes
# from a small square.
result.to_frame()[["effective_side", "theoretical_height", "linear_99"]]
