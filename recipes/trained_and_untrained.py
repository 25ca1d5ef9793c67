"""
What training changes
=====================

EfficientNet-Lite0 as trained on ImageNet (its weights come with a package), beside the same network
untrained, on the same images.
"""

# %%
import erf_tools
from erf_tools.erf.figures import comparison, radial_profiles

models = [
    erf_tools.load_model("efficientnet_lite0"),
    erf_tools.load_model("efficientnet_lite0", weights="random", seed=0),
]
results = [
    erf_tools.effective_receptive_field(model, num_images=10, resolution=224, square="unit")
    for model in models
]
figure = comparison(results)

# %%
# How far from the unit the contribution comes.
profile = radial_profiles(results)

# %%
# Paired differences: trained minus untrained.
differences = erf_tools.compare(results).differences
differences.query("measure in ['effective_side', 'radius', 'anisotropy']")[
    ["measure", "difference", "difference_low", "difference_high"]
]
