"""
A ViT and its attention distance
================================

The ERF of the last layer, and per layer and head the mean distance between a patch and those it attends
to. The network is untrained: every patch attends to all others nearly alike.
"""

# %%
# A ViT is built for the size it is measured at.
import erf_tools
from erf_tools.erf.attention import attention_distances
from erf_tools.erf.attention_figure import attention_figure
from erf_tools.erf.procedure import Procedure
from erf_tools.images import select

vit = erf_tools.load_model("vit_tiny_patch16_224", weights="random", resolution=128)
erf_tools.effective_receptive_field(vit, num_images=4, resolution=128)

# %%
# Half of the side of the image is what attention to all patches alike comes to, nearly. In trained
# networks some heads of the first layers stay close (Dosovitskiy et al. 2021).
distances = attention_distances(vit, select("builtin", 4), Procedure(resolution=128))
figure = attention_figure([distances])

# %%
# The command ``erf-tools attention`` does the same, for several networks. Each layer, over images and heads:
for name, distance in distances.layers():
    print(f"{name}: {distance.mean():.1f} pixels")
