"""
A figure for a paper
====================

The map is an array. Draw it with matplotlib's own means, in the width of a column.
"""

# %%
# The network is EfficientNet-Lite0, trained on ImageNet; its weights come with a package.
import matplotlib.pyplot as plt

import erf_tools

trained = erf_tools.load_model("efficientnet_lite0")
untrained = erf_tools.load_model("efficientnet_lite0", weights="random", seed=0)
results = [
    erf_tools.effective_receptive_field(model, num_images=8, resolution=224, square="unit")
    for model in (trained, untrained)
]

# %%
# A column of most two-column papers is 3.5 inches wide. Fonts of 8 points and ``pdf.fonttype`` 42 are
# what publishers ask for. Each map is divided by its mean, so that the two share one scale.
style = {"font.size": 8, "axes.titlesize": 8, "pdf.fonttype": 42}
with plt.rc_context(style):
    figure, panels = plt.subplots(1, 2, figsize=(3.5, 2), layout="constrained", sharey=True)
    for axes, result in zip(panels, results, strict=True):
        image = axes.imshow(
            result.map / result.map.mean(), norm="log", vmin=0.01, vmax=100, cmap="inferno"
        )
        weights = "trained" if result.trained else "untrained"
        axes.set_title(f"{weights}\nside {result.measures.effective_side:.0f} px")
    figure.colorbar(image, ax=panels, label="uniform map = 1")
    plt.show()

# %%
# A caption needs more than the network: protocol, size, images, interval.
table = erf_tools.compare(results).table
table[["model", "weights", "protocol", "resolution", "images", "effective_side_low"]]

# %%
# ``figure.savefig("erf.pdf")`` writes it. Every table of erf-tools is also written as LaTeX:
print(table[["model", "weights", "effective_side"]].to_latex(index=False, float_format="%.0f"))
