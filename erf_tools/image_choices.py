"""Which images are measured over: declared here, read by :func:`erf_tools.images.select`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from erf_tools.choices import choice, declared

Order = Literal["spread", "sequential"]


@dataclass(frozen=True)
class ImageChoices:
    """Which images.

    Attributes:
        source: a folder (searched with its subfolders), a file, or ``builtin``.
        count: how many at most.
        order: ``spread`` takes one image from each subfolder in turn, seeded; ``sequential`` takes
            files by sorted path.
        labels: CSV of the images' classes; see :func:`erf_tools.models.accuracy.find_labels`.
    """

    source: str = choice(
        "builtin",
        "A folder (flat, or with subfolders as in ImageNet), an image, or builtin: the colour "
        "photographs in scikit-image.",
        option="--images",
        metavar="DIR|FILE|builtin",
    )
    count: int = choice(50, "How many images at most.", option="--num-images", lowest=1)
    order: Order = choice(
        "spread",
        "spread: seeded, over all subfolders; sequential: by name, as the paper's script.",
    )
    labels: str | None = choice(
        None,
        "CSV with the columns image and label (class index or synset), for top-1 of trained "
        "networks; folders named by synsets need none.",
        metavar="FILE",
    )


#: What can be chosen where classes of images do not count.
UNLABELLED = tuple(each for each in declared(ImageChoices) if each.name != "labels")
