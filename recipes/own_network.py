"""
My own network
==============

Any ``nn.Module`` can be measured as it is. Nothing has to be prepared, and nothing of it is changed.
"""

# %%
# The features that are measured are the last map before pooling. Here they are the output itself.
import torch
from torch import nn

import erf_tools

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 16, 7, stride=2, padding=3),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 32, 13, padding=6, groups=32),
)
result = erf_tools.effective_receptive_field(network, num_images=6, resolution=128)
result

# %%
# Measures are attributes, and :meth:`~erf_tools.ERF.to_frame` gives all of them with their intervals.
print(result.measures.effective_side, "pixels")
result.to_frame()[["effective_side", "effective_side_low", "effective_side_high", "linear_50"]]

# %%
# To measure another layer, name it. On the command line, ``erf-tools layers FILE.py:build`` lists them.
first = erf_tools.effective_receptive_field(network, num_images=6, resolution=128, layer="2")
erf_tools.compare([first, result])

# %%
# A network whose images are not normalised as ImageNet's says so.
own = erf_tools.as_model(
    network, "mine", erf_tools.Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
)
print(erf_tools.effective_receptive_field(own, num_images=2, resolution=128).label)
