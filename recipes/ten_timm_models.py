"""
Comparing ten timm models
=========================

Any name of timm's will do. Here all are untrained, so that nothing has to be downloaded: the maps show
architecture, not learning.
"""

# %%
# One procedure for all, and the same images. On the command line:
# ``erf-tools erf --model resnet18,convnext_atto,... --weights random --resolution 128``.
import matplotlib.pyplot as plt

import erf_tools

NAMES = [
    "convnext_atto",
    "edgenext_xx_small",
    "efficientnet_lite0",
    "fastvit_t8",
    "lcnet_050",
    "mobilenetv3_small_050",
    "regnetx_002",
    "repvgg_a0",
    "resnet18",
    "vit_tiny_patch16_224",
]
results = [
    erf_tools.effective_receptive_field(
        erf_tools.load_model(name, weights="random", resolution=128), num_images=5, resolution=128
    )
    for name in NAMES
]
compared = erf_tools.compare(results)
compared

# %%
# Effective side with its 95 % interval, sorted.
table = compared.table.sort_values("effective_side")
ends = [
    table["effective_side"] - table["effective_side_low"],
    table["effective_side_high"] - table["effective_side"],
]
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.errorbar(table["effective_side"], table["model"], xerr=ends, fmt="o")
axes.set_xlabel("effective side at 128x128, pixels (untrained)")
plt.show()

# %%
# Which pairs differ? What an image does to both networks cancels, so that paired intervals are
# narrower than the two intervals above suggest.
differences = compared.differences.query("measure == 'effective_side'")
clear = (differences["difference_low"] > 0) | (differences["difference_high"] < 0)
print(f"{clear.sum()} of {len(differences)} pairs differ beyond their interval")
