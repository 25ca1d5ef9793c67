"""What the networks of :mod:`analyses.training_study` rely on, and a check with a known answer.

The check: a network of patches (:data:`~analyses.trained_networks.PATCHES`), trained on textures
that fill the image, sees nothing but textures. Shuffles that leave its patches whole must not
change a single answer; a low-pass filter below all of the patterns' frequencies must leave it
guessing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from analyses.shape_texture_images import CLASSES, Images, make_images
from analyses.trained_networks import PATCH, PATCHES, TEST, Plan, decide, train
from erf_tools.reliance import filters, measures
from erf_tools.reliance.suppressions import SUPPRESSIONS, suppress, variants
from erf_tools.statistics import wilson_interval

#: What is suppressed; the other filters of texture take longer and say the same of such images.
ROWS = tuple(SUPPRESSIONS[name] for name in ("patch-shuffle", "gaussian-blur"))

#: Of the images are suppressed.
_MOST = 256

#: Of the highest frequency: the patterns' longest period is eight pixels, a quarter of it.
_BELOW = 0.1


def suppressed_answers(network: nn.Module, images: Images) -> np.ndarray:
    """Return the classes that a network sees, ``[images, 1 + variants]``, of the first images."""
    versions = np.stack(
        [
            suppress(pixels, ROWS, f"{number:064x}")
            for number, pixels in enumerate(as_bytes(images.pixels[:_MOST]))
        ]
    )
    columns = [
        decide(network, _tensor(versions[:, place], images.pixels))
        for place in range(versions.shape[1])
    ]
    return np.stack(columns, axis=1)


def reliance(network: nn.Module, images: Images) -> dict[str, float]:
    """Return the profile of :func:`erf_tools.reliance.measures.profile` on images of one's own.

    NaN where the network is right too rarely for relative accuracy to mean anything.
    """
    answers = suppressed_answers(network, images)
    hits = answers == images.labels[: len(answers), None]
    low = measures.is_low(float(hits[:, 0].mean()), 1 / CLASSES)
    return {
        each.name: float("nan") if low else measures.estimate(hits, each).value
        for each in measures.profile(ROWS)
    }


def known_answer(seed: int, plan: Plan, device: torch.device) -> dict[str, float]:
    """Carry out the check of this module.

    Returns:
        ``accuracy``; ``changed``, how many of the answers any of the shuffles changed; ``left``,
        the accuracy below the patterns' frequencies, and the ends of its 95 % interval.
    """
    # In double precision the order in which patches are added up changes no answer.
    network = train(PATCHES, "swatch", seed, plan, device).double()
    generator = np.random.default_rng([seed, TEST])
    images = make_images(_MOST, "swatch", plan.side, generator, device)
    pixels = as_bytes(images.pixels)
    clean = decide(network, _tensor(pixels, images.pixels).double())
    right = clean == images.labels
    changed = 0
    for grid in whole_grids(plan.side):
        shuffled = np.stack([filters.shuffle_cells(each, generator, grid) for each in pixels])
        answers = decide(network, _tensor(shuffled, images.pixels).double())
        changed += int((answers != clean).sum())
    smooth = np.stack([filters.low_pass(each, generator, _BELOW) for each in pixels])
    guessed = decide(network, _tensor(smooth, images.pixels).double()) == images.labels
    left = wilson_interval(int(guessed.sum()), len(guessed))
    return {"accuracy": float(right.mean()), "changed": changed, **left.columns("left")}


def whole_grids(side: int) -> list[int]:
    """Return the grids among the suppression's whose cells hold whole patches."""
    grids = [int(strength.steps[0].arguments[0]) for _, _, strength in variants(ROWS[:1])]
    return [grid for grid in grids if side % (grid * PATCH) == 0]


def finding(found: Sequence[dict[str, float]]) -> str:
    """Return what the check gave, as a sentence."""
    accuracies, left = ([each[name] for each in found] for name in ("accuracy", "left"))
    return (
        f"The check with a known answer, over {len(found)} seeds: a network that sees patches of "
        f"{PATCH}x{PATCH} pixels of textures is right on {min(accuracies):.2f} to "
        f"{max(accuracies):.2f}; shuffles that leave its patches whole change "
        f"{sum(each['changed'] for each in found):.0f} of its answers, and without the patterns' "
        f"frequencies {min(left):.2f} to {max(left):.2f} are left, where guessing gives "
        f"{1 / CLASSES:.3f}."
    )


def as_bytes(pixels: Tensor) -> np.ndarray:
    """Return images ``[N, 3, H, W]`` in [0, 1] as uint8 ``[N, H, W, 3]``."""
    return (pixels * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _tensor(pixels: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(like.device, like.dtype) / 255
