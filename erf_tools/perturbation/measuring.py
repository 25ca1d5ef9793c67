"""From a network and images to a perturbation ERF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from erf_tools.choices import popped, spelled_out
from erf_tools.computing import UNBATCHED, Computing
from erf_tools.erf.contributions import Contributions
from erf_tools.erf.gradients import network_and_layer
from erf_tools.erf.maps import ImageOutcome, MeasuredImage
from erf_tools.erf.measuring import setting_of
from erf_tools.erf.procedure import PROCEDURE, Procedure
from erf_tools.features.taps import Tap
from erf_tools.image_choices import Order
from erf_tools.images import PixelStore, Selection, select
from erf_tools.kernels.devices import choose_device, copy_on_device, device_name
from erf_tools.models.failures import explained
from erf_tools.models.model import Model
from erf_tools.perturbation.checking import CheckableNetwork, check_choices
from erf_tools.perturbation.choices import CHECKING, Checking
from erf_tools.perturbation.result import ImageCheck, PerturbationERF
from erf_tools.progress import progress_bar
from erf_tools.provenance import run_record


@spelled_out((*CHECKING, *PROCEDURE, *UNBATCHED))
def perturbation_erf(
    model: Model | nn.Module,
    images: str | Path | Sequence[str | Path | Image.Image] | Selection = "builtin",
    num_images: int = 50,
    order: Order = "spread",
    seed: int = 0,
    layer: str | Tap | None = None,
    procedure: Procedure | None = None,
    progress: bool = False,
    **choices: Any,
) -> PerturbationERF:
    """Replace cells of images, and compare what becomes of a unit with what its gradient says.

    The gradient is the influence of an infinitely small change; this is that of a real one. It
    takes a forward pass for each cell, replacement and image. A copy of the network is run.

    Args:
        model: see :func:`erf_tools.effective_receptive_field`, as for all that is not named here.
        images: see there.
        num_images: see there.
        order: see there.
        seed: of the spread order, and of the directions of the check of linearity.
        layer: see there.
        procedure: see there. Precision is that of the weights, whatever it says.
        progress: show a progress bar (in a terminal only).
        choices: of the check (see :class:`~erf_tools.perturbation.choices.Checking`), as in
            ``cells=8`` or ``replacement=("mean",)``, of the procedure, and of how the network is
            run: ``device``, and ``exact``, without which only what a change reaches is computed,
            many cells at once, after a comparison with plain computation.

    Returns:
        The result; ``map("change", "mean")`` is float64 ``[rows, columns]``.

    Raises:
        UsageError: something cannot be checked as asked.
        ErfToolsError: the network failed, or cannot be checked.
    """
    checking = Checking(**popped(CHECKING, choices))
    computing = Computing(**popped(UNBATCHED, choices))
    procedure = (procedure or Procedure()).varied(**choices)
    if not isinstance(images, Selection):
        images = select(images, num_images, order, seed)
    model, tap = network_and_layer(model, layer)
    return check_layer(model, tap, images, procedure, checking, seed, computing, progress)


def check_layer(
    model: Model,
    tap: Tap,
    selection: Selection,
    procedure: Procedure,
    checking: Checking,
    seed: int = 0,
    computing: Computing | None = None,
    progress: bool = False,
    store: PixelStore | None = None,
    earlier: PerturbationERF | None = None,
    keep: Callable[[PerturbationERF], object] = lambda result: None,
) -> PerturbationERF:
    """Check one layer; for the arguments see :func:`erf_tools.perturbation_erf`.

    Args:
        model: the network.
        tap: the layer.
        selection: the images.
        procedure: what is measured.
        checking: how it is checked.
        seed: of the directions.
        computing: how; the size of batches does not count.
        progress: show a bar, over cells.
        store: keeps the images that are made ready.
        earlier: of the same setting, over the first of these images; they are not checked again.
        keep: is given the result after each image.
    """
    computing = computing or Computing()
    size = procedure.size(model.preprocessing)
    check_choices(procedure, checking, len(selection))
    model.check_size(size)
    result, done = earlier, len(earlier.images) if earlier else 0
    pixels = list(
        (store or PixelStore(0)).decode(selection.images, procedure.view(model.preprocessing))
    )
    with ExitStack() as until_done:
        until_done.enter_context(explained(model.name, model.module, size))
        target = choose_device(computing.device, model.module)
        network = until_done.enter_context(copy_on_device(model.module, target))
        fixed = model.input_size is not None
        fast = not computing.exact
        ready = Contributions(network, [tap], procedure, size, fixed, fast, remembered=fast)
        unit = CheckableNetwork(model, ready, procedure, checking, seed)
        if computing.exact:
            unit.plainly()
        unit.begin(pixels[0], pixels[1 % len(pixels)])
        setting = {
            **setting_of(ready, procedure, model.default_tap),
            "model": model.record(),
            "check": check_record(checking, seed, len(selection)),
        }
        run = {
            **run_record(selection.record(), device_name(target)),
            "folded": unit.way.folded,
            "cone": bool(unit.way.cones),
            "together": unit.way.together,
        }
        cells = int(unit.reached.sum()) * len(checking.replacement)
        count = {"total": cells * len(pixels), "initial": cells * done, "unit": "cell"}
        with progress_bar(progress, desc=f"{model.name}, check", **count) as bar:
            for index in range(done, len(pixels)):
                found = unit.check(pixels[index], pixels[(index + 1) % len(pixels)], bar.update)
                image = selection.images[index]
                measured = MeasuredImage(image.name, image.sha256, outcome(found))
                own = PerturbationERF(found, (measured,), setting, (run,))
                result = result.followed_by(own) if result else own
                keep(result)
    assert result is not None
    return result


def check_record(checking: Checking, seed: int, images: int) -> dict[str, Any]:
    """Return what a result says of its check; the last image takes cells of the first."""
    return {**checking.record(), "seed": seed, "images": images}


def outcome(found: ImageCheck) -> ImageOutcome:
    """Tell whether an image counts: ``nan`` where a value is not finite, ``zero`` without a map."""
    if not all(np.isfinite(array).all() for array in vars(found).values()):
        return "nan"
    return "counted" if found.gradient.any() else "zero"
