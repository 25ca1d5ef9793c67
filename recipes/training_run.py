"""
A training run over time
========================

The ERF can be measured between two steps of a training: the network's mode, its gradients and all random
states are left as they were.
"""

# %%
# A small network learns whether two dots are far apart. Thirty steps are enough to see how it is done.
import matplotlib.pyplot as plt
import torch
from torch import nn

import erf_tools

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 16, 9, padding=4),
    nn.ReLU(),
    nn.Conv2d(16, 16, 9, padding=4),
    nn.ReLU(),
    nn.Conv2d(16, 16, 9, padding=4),
)
head = nn.Linear(16, 2)


def batch(size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    images, far = torch.zeros(size, 3, 32, 32), torch.randint(2, (size,))
    for image, label in zip(images, far, strict=True):
        row, column = torch.randint(0, 20, (2,))
        image[:, row, column] = 4
        image[:, row, column + 3 + 6 * label] = 4
    return images, far


# %%
# ``resolution`` is that of the training. The result is an ordinary value: keep it, or save it.
optimiser = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=3e-3)
course = []
for step in range(31):
    if step % 10 == 0:
        erf = erf_tools.effective_receptive_field(network, num_images=4, resolution=32)
        course.append((step, erf.measures.radius))
    images, far = batch()
    loss = nn.functional.cross_entropy(head(network(images).amax(dim=(2, 3))), far)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

# %%
# For checkpoints that lie on a disk, ``erf-tools erf --weights 'run/epoch_*.pth'`` does the same.
figure, axes = plt.subplots(figsize=(3.5, 2.4), layout="constrained")
axes.plot(*zip(*course, strict=True), marker="o")
axes.set(xlabel="step", ylabel="radius of the ERF, pixels")
plt.show()
