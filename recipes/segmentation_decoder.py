"""
A segmentation decoder
======================

Torchvision's LR-ASPP on MobileNetV3, untrained: the encoder beside what the decoder makes of it.
"""

# %%
# The classifier's output is the map of classes, before it is enlarged to the size of the image.
import erf_tools
from erf_tools.erf.figures import comparison

network = erf_tools.load_model("torchvision:lraspp_mobilenet_v3_large", weights="random")
encoder, decoder = (
    erf_tools.effective_receptive_field(network, num_images=4, resolution=192, layer=tap)
    for tap in (erf_tools.Tap("backbone", output_key="high"), erf_tools.Tap("classifier"))
)
figure = comparison([encoder, decoder])

# %%
# The theoretical field says what can be seen at all. Here it has no bound: squeeze-and-excitation in the
# encoder, and pooling in the decoder, take all of the image.
for result in (encoder, decoder):
    print(result.subject[2], result.theoretical_size)
