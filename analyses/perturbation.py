"""Do real changes of the image say what the gradient says of where a network looks?

Claim: an effective receptive field by gradients shows what a unit depends on, so that replacing
parts of the image changes the unit where, and as far out as, the map says (Luo et al., NeurIPS
2016; Ding et al., CVPR 2022, whose maps are all of gradients).

Method: trained EfficientNet-Lite0, and untrained RepLKNet-31B, RepLKNet-3 and ResNet-50 (norms at
one), photographs at 224. Each cell of a grid is replaced by the image's mean colour, by the same
cell of another photograph and by a blur; the change of the unit is compared with the gradient map's
mean over the same cells (:mod:`erf_tools.perturbation`): rank correlation, ratio of effective
sides, with intervals over photographs. The unit's change by steps of 1/255 to 32/255 in random
directions is compared with what the gradient predicts.

Refuted by: effective sides that differ by more than a tenth; another order of the networks by
effective side; rank correlations below a half.

Found: FINDING
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analyses.programs import Output, Quick, publish, run
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import UsageError
from erf_tools.images import Selection, select
from erf_tools.models.loading import load_model
from erf_tools.perturbation.choices import Checking, Replacement
from erf_tools.perturbation.figures import perturbations
from erf_tools.perturbation.measuring import check_layer
from erf_tools.perturbation.result import PerturbationERF
from erf_tools.perturbation.tables import notes, perturbation_table, readable

#: Networks and their weights.
_NETWORKS = {
    "efficientnet_lite0": "pretrained",
    "replknet31b": "random",
    "replknet3": "random",
    "resnet50": "random",
}


@dataclass(frozen=True)
class Size:
    """How much is checked.

    Attributes:
        num_images: photographs at most.
        cells: along each side.
        replacement: what cells are replaced by.
        resolution: of the input, in pixels.
    """

    num_images: int
    cells: int
    replacement: tuple[Replacement, ...]
    resolution: int = 224


WHOLE = Size(num_images=16, cells=16, replacement=("mean", "other", "blur"))
QUICK = Size(num_images=6, cells=8, replacement=("mean",))


def check(name: str, size: Size, selection: Selection, output: Path) -> PerturbationERF:
    """Return the check of a network; what an earlier run has left is gone on with."""
    path = output / "networks" / f"{name}.npz"
    checking = Checking(size.cells, size.replacement)
    procedure = Procedure(resolution=size.resolution)
    try:
        earlier: PerturbationERF | None = PerturbationERF.load(path)
    except UsageError:
        earlier = None
    expected = {**checking.record(), "seed": 0, "images": len(selection)}
    if earlier and earlier.setting["check"] != expected:
        earlier = None
    if earlier and earlier.done:
        return earlier
    model = load_model(name, _NETWORKS[name], resolution=size.resolution)
    return check_layer(
        model,
        model.tap,
        selection,
        procedure,
        checking,
        progress=True,
        earlier=earlier,
        keep=lambda result: result.save(path),
    )


def remarks(results: list[PerturbationERF], table: pd.DataFrame) -> list[str]:
    """Return what was found, in sentences."""
    by_gradient = table[table["compared"] == "change"]
    mean = by_gradient[by_gradient["replacement"] == "mean"]
    orders = [" < ".join(mean.sort_values(column)["model"]) for column in ("other_side", "side")]
    far = mean[(mean["side_ratio"] - 1).abs() > 0.1]["model"]
    return [
        *notes(results),
        f"Order by effective side: by gradients {orders[0]}; by real changes {orders[1]}.",
        f"Effective sides that differ by more than a tenth: {', '.join(far) or 'none'}.",
    ]


def main(
    quick: Quick = False,
    images: str = "builtin",
    output: Output = Path("results/perturbation"),
) -> None:
    """Replace cells of photographs and compare what becomes of units with their gradients."""
    size = QUICK if quick else WHOLE
    selection = select(images, size.num_images)
    results = [check(name, size, selection, output) for name in _NETWORKS]
    table = perturbation_table(results)
    figure: Figure = perturbations(results)
    setting: dict[str, Any] = {**vars(size), "images": selection.record()}
    publish(
        output,
        "perturbation",
        table,
        readable(table),
        remarks(results, table),
        figure,
        setting,
    )


if __name__ == "__main__":
    run(main)
