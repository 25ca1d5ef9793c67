"""
A detector's backbone
=====================

Torchvision's RetinaNet, untrained. Of a detector the backbone is measured; it gives a pyramid, a
dictionary of maps, one a level.
"""

# %%
# ``layer`` says which module, ``output_key`` which of its maps. On the command line this is
# ``erf-tools erf --model torchvision:retinanet_resnet50_fpn --layer fpn --output-key 1``.
import erf_tools
from erf_tools.erf.figures import comparison

detector = erf_tools.load_model("torchvision:retinanet_resnet50_fpn", weights="random")
levels = [
    erf_tools.effective_receptive_field(
        detector, num_images=2, resolution=192, layer=erf_tools.Tap("fpn", output_key=key)
    )
    for key in ("0", "1", "2")
]

# %%
# Fine levels see far, too: the pyramid's way down passes on what the deepest stage has seen.
figure = comparison(levels)

# %%
erf_tools.compare(levels).table[["layer", "effective_side", "linear_50"]]
