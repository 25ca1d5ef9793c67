"""
A U-Net
=======

A network whose output is as large as the image is measured at the output's central pixel.
"""

# %%
# Two levels, untrained. The skip connection passes on what is near, the lower level what is far.
import torch
from torch import Tensor, nn

import erf_tools
from erf_tools.erf.figures import comparison


class UNet(nn.Module):
    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.down = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.low = nn.Sequential(
            nn.MaxPool2d(4), nn.Conv2d(16, 16, 7, padding=3), nn.ReLU(), nn.Upsample(scale_factor=4)
        )
        self.up = nn.Conv2d(32, 8, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        near = self.down(images)
        low = self.low(near)
        return self.up(torch.cat([near if self.skip else torch.zeros_like(near), low], dim=1))


results = []
for skip in (True, False):
    torch.manual_seed(0)
    model = erf_tools.as_model(UNet(skip).eval(), "with skip" if skip else "without skip")
    results.append(erf_tools.effective_receptive_field(model, num_images=6, resolution=96))

# %%
# With the skip connection most of the contribution comes from close by.
figure = comparison(results)

# %%
erf_tools.compare(results).table[["model", "effective_side", "linear_99"]]
