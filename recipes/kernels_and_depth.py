"""
Large kernels or depth?
=======================

The claim of RepLKNet, small: stacks of depthwise convolutions, untrained, with few large kernels or many
small ones. ``analyses.erf_scaling`` is the long form.
"""

# %%
# Luo et al. (2016): the side of the ERF grows with the kernel, but only with the root of the depth.
import matplotlib.pyplot as plt
import torch
from torch import nn

import erf_tools


def side(kernel: int, depth: int) -> float:
    """Return the effective side of a stack without nonlinearity, as in the theory."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 16, 1),
        *(nn.Conv2d(16, 16, kernel, padding=kernel // 2, groups=16) for _ in range(depth)),
    ]
    for layer in layers[1:]:
        nn.init.uniform_(layer.weight, 0, 1)  # so that nothing cancels
    erf = erf_tools.effective_receptive_field(nn.Sequential(*layers), num_images=1, resolution=160)
    return erf.measures.effective_side


DEPTHS = (1, 3, 9)
sides = {kernel: [side(kernel, depth) for depth in DEPTHS] for kernel in (3, 9, 27)}

# %%
# On double-logarithmic axes the lines have slopes of about 1/2.
figure, axes = plt.subplots(figsize=(3.5, 2.8), layout="constrained")
for kernel, values in sides.items():
    axes.loglog(DEPTHS, values, marker="o", label=f"{kernel}x{kernel}")
axes.set(xlabel="layers", ylabel="effective side, pixels (untrained)")
axes.legend(title="kernel")
plt.show()

# %%
print(f"one layer of 27x27: {sides[27][0]:.0f} pixels; nine of 3x3: {sides[3][-1]:.0f} pixels")
