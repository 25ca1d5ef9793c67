"""The check of one unit on one image: cells are replaced, and the change is put beside the map."""

from __future__ import annotations

from collections.abc import Callable

from erf_tools.erf.contributions import Contributions
from erf_tools.erf.maps import MeasuredImage
from erf_tools.erf.measuring import setting_of
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError
from erf_tools.explorer.answers import Answer, CheckedUnit
from erf_tools.models.model import Model
from erf_tools.perturbation.agreement import COMPARED, agreement
from erf_tools.perturbation.checking import CheckableNetwork
from erf_tools.perturbation.choices import Checking, Replacement
from erf_tools.perturbation.measuring import check_record, outcome
from erf_tools.perturbation.result import PerturbationERF

_REPLACEMENT: Replacement = "mean"
_CELLS = 16


def check_unit(
    model: Model,
    contributions: Contributions,
    procedure: Procedure,
    answer: Answer,
    done: Callable[[int, int], object],
) -> CheckedUnit:
    """Replace each cell of an image by its mean colour, and see what becomes of the unit.

    Args:
        model: the network, on the device that it is run on.
        contributions: the same, ready, looking from the unit.
        procedure: what is measured.
        answer: the unit and the image.
        done: is told how many cells have been replaced, and of how many, again and again.

    Raises:
        ErfToolsError: the network cannot be checked.
    """
    pixels = answer.pixels
    checking = Checking(min(_CELLS, *pixels.shape[:2]), (_REPLACEMENT,))
    unit = CheckableNetwork(model, contributions, procedure, checking)
    unit.begin(pixels, pixels)
    reached, ready = int(unit.reached.sum()), 0

    def count(cells: int) -> None:
        nonlocal ready
        ready += cells
        done(ready, reached)

    found = unit.check(pixels, pixels, count)
    if outcome(found) == "nan":
        raise ErfToolsError(
            f"{model.name} cannot be checked: it gives values that are not finite on this image"
        )
    setting = setting_of(contributions, procedure, model.default_tap)
    setting["check"] = check_record(checking, 0, 1)
    image = MeasuredImage(answer.picture.name, "", outcome(found))
    result = PerturbationERF(found, (image,), setting, ())
    return CheckedUnit(
        answer,
        result.grid.spread(result.gradient_map),
        result.grid.spread(result.map("change", _REPLACEMENT)),
        result.grid.shape,
        reached,
        agreement(result, _REPLACEMENT, COMPARED[0]).spearman.value,
    )
