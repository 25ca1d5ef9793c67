"""How long a sweep will take, before it has begun: by operations, at the rate of this machine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from erf_tools.computing import Computing
from erf_tools.erf.measuring import measurable
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError
from erf_tools.images import select
from erf_tools.models.loading import load_model, own_preprocessing, without_values
from erf_tools.models.operations import multiply_adds
from erf_tools.models.prefixes import is_factory
from erf_tools.progress import progress_bar
from erf_tools.sweep.plan import Measurement, Unit

#: What is timed, and at what size.
_PROBE, _PROBE_SIDE = "resnet18", 224


@dataclass(frozen=True)
class TimeEstimate:
    """How long units will take on one worker like this machine.

    Attributes:
        seconds: for those whose operations could be counted; reading images and preparing networks
            not included.
        networks: that have to be loaded and prepared, once per worker and task.
        not_counted: models whose operations could not be counted, with the reason.
    """

    seconds: float
    networks: int
    not_counted: dict[str, str]


def estimate(units: Sequence[Unit], device: str, progress: bool = False) -> TimeEstimate:
    """Estimate the time that units take, from the time that a small network takes here.

    Convolutional networks of which a unit does not see everything take less, networks whose
    operations a machine does badly more: it is good to a factor of two or three.

    Args:
        units: what is to be done.
        device: on which the small network is timed.
        progress: show a progress bar (in a terminal only).
    """
    measurements = {unit.measurement.id: unit.measurement for unit in units}
    images = Counter[str]()
    for unit in units:
        images[unit.measurement.id] += len(unit.names)
    work, not_counted = 0.0, {}
    counted = {"iterable": images.items(), "desc": "counting operations", "unit": "network"}
    for identity, count in progress_bar(progress, **counted):
        measurement = measurements[identity]
        try:
            work += count * operations(measurement)
        except ErfToolsError as error:
            not_counted[measurement.request.model] = str(error)
    rate = _rate(device, units[0].measurement.threads) if work else 1.0
    return TimeEstimate(work / rate, len(images), not_counted)


def operations(measurement: Measurement) -> float:
    """Return the multiply-adds of one image: of the task's passes, each as much as one forward.

    Raises:
        ErfToolsError: they cannot be counted.
    """
    name = measurement.request.model
    if is_factory(name):
        raise ErfToolsError("is known when it is built only")
    size = measurement.task.size(own_preprocessing(name))
    return float(measurement.task.passes * multiply_adds(without_values(name, size), size))


def _rate(device: str, threads: int) -> float:
    """Return the multiply-adds per second of this machine, from ERFs of a small network."""
    procedure = Procedure(resolution=_PROBE_SIDE)
    model, images = load_model(_PROBE, "random"), select("builtin", 8)
    work = 2 * multiply_adds(without_values(_PROBE, (224, 224)), (_PROBE_SIDE, _PROBE_SIDE))
    with (
        threadpool_limits(threads),
        measurable(model, procedure, [model.tap], Computing(device=device)) as network,
    ):
        torch.set_num_threads(threads)
        network.measure(images, [len(images)])
        started = time.perf_counter()
        network.measure(images, [len(images)])
        return work * len(images) / (time.perf_counter() - started)
