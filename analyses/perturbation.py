"""Do real changes of the image say what the gradient says of where a network looks?

Claim: an effective receptive field by gradients shows what a unit depends on, so that replacing
parts of the image changes the unit where, and as far out as, the map says (Luo et al., NeurIPS
2016; Ding et al., CVPR 2022, whose maps are all of gradients).

Method: trained EfficientNet-Lite0, and untrained RepLKNet-31B, RepLKNet-3 and ResNet-50, as they
are initialised, on photographs at 224. Each cell of a grid is replaced by the image's mean colour,
and the change of the unit is compared with the gradient map's mean over the same cells
(:mod:`erf_tools.perturbation`): rank correlation, and ratio of effective sides, with intervals over
photographs. The unit's change by steps of 1/255 to 32/255 in random directions is compared with
what the gradient predicts. ``erf-tools erf --check`` takes more cells and replacements.

Refuted by: effective sides that differ by more than a tenth; another order of the networks by
effective side; rank correlations below a half.

Found (six photographs of six ImageNet classes, 8 x 8 cells; 15 minutes of one busy core): the order
is right, how far out is not quite. Sides grow from RepLKNet-3 over RepLKNet-31B (which the edge
holds back at 224) and ResNet-50 to EfficientNet-Lite0, by gradients as by real changes. The side of
ResNet-50 is 0.88 times [0.83, 0.94] the map's, 93 pixels for 107; those of RepLKNet-31B, 0.72
[0.46, 1.11], and RepLKNet-3, 0.89 [0.74, 1.08], are less certain. It is not that the units are not
linear: against the change that each gradient predicts of the same replacement, the ratios are 1.01
[0.97, 1.04], 1.10 [0.95, 1.27] and 1.00 [0.91, 1.09]. In a change, what pixels of a cell contribute
with either sign cancels; in the map it is added up. By the change of all channels, where less
cancels, sides are 1.08 [1.04, 1.13], 1.02 [0.97, 1.07] and 1.11 [0.99, 1.24] times the map's. Rank
correlations are 0.98, 0.87 and 0.99. Of trained EfficientNet-Lite0 little is certain: 0.59 [0.30,
0.87], and a side of 0.93 [0.62, 1.40] times. The gradient predicts at least half of a unit's change
up to steps of 8/255 of both RepLKNets, of 1/255 of ResNet-50, of none of EfficientNet-Lite0.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analyses.programs import Output, Quick, publish, run
from erf_tools.erf.procedure import Procedure
from erf_tools.images import Selection, select
from erf_tools.models.loading import load_model
from erf_tools.perturbation.choices import Checking
from erf_tools.perturbation.figures import perturbations
from erf_tools.perturbation.measuring import check_layer, check_record
from erf_tools.perturbation.result import PerturbationERF
from erf_tools.perturbation.tables import notes, perturbation_table, readable
from erf_tools.studies.checks import differing, earlier_check
from erf_tools.studies.requested import expected_setting

#: Networks and their weights.
_NETWORKS = {
    "efficientnet_lite0": "pretrained",
    "replknet31b": "random",
    "replknet3": "random",
    "resnet50": "random",
}


_CHECKING = Checking(cells=8, replacement=("mean",))
_PROCEDURE = Procedure(resolution=224)

#: Photographs at most; without intervals in the quick form.
_IMAGES, _IMAGES_QUICK = 6, 2


def check(name: str, selection: Selection, output: Path) -> PerturbationERF:
    """Return the check of a network; what an earlier run has left is gone on with."""
    path = output / "networks" / f"{name}.npz"
    model = load_model(name, _NETWORKS[name], resolution=_PROCEDURE.resolution)
    setting = {
        **expected_setting(model, model.tap, _PROCEDURE),
        "check": check_record(_CHECKING, 0, len(selection)),
    }
    earlier = earlier_check(path)
    if earlier and differing(earlier, setting, selection, exact=False):
        earlier = None
    if earlier and earlier.done:
        return earlier
    return check_layer(
        model,
        model.tap,
        selection,
        _PROCEDURE,
        _CHECKING,
        progress=True,
        earlier=earlier,
        keep=lambda result: result.save(path),
    )


def remarks(results: list[PerturbationERF], table: pd.DataFrame) -> list[str]:
    """Return what was found, in sentences."""
    mean = table[table["compared"] == "change"]
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
    selection = select(images, _IMAGES_QUICK if quick else _IMAGES)
    results = [check(name, selection, output) for name in _NETWORKS]
    table = perturbation_table(results)
    setting = {"results": [result.record() for result in results]}
    shown, figure = readable(table), perturbations(results)
    publish(output, "perturbation", table, shown, remarks(results, table), figure, setting)


if __name__ == "__main__":
    run(main)
