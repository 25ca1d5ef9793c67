"""Timing the library, network by network, on this machine's CPU; see :mod:`analyses.sweep_cost`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

import erf_tools
from analyses.programs import kept
from analyses.sweep_plan import Costs
from analyses.timing import processor_time
from analyses.timm_operations import FAMILIES
from erf_tools.erf.contributions import Contributions
from erf_tools.erf.measures.frame import Frame
from erf_tools.erf.measures.sample import Sample, image_sums
from erf_tools.erf.procedure import DEFAULT_RESOLUTION, Procedure
from erf_tools.features.inputs import floating_type
from erf_tools.images import decode, select
from erf_tools.kernels.devices import copy_on_device, normalise
from erf_tools.models.loading import load_model
from erf_tools.models.model import Model
from erf_tools.preprocessing import Preprocessing

#: Networks whose results are weighed: with a bounded field, and with attention.
_WEIGHED = ("resnet18", "vit_tiny_patch16_224")

#: Networks that are timed: their own side, the most parameters, images in a batch, passes.
TIMED_SIDE, _TIMED_PARAMETERS, _TIMED_IMAGES, _TIMED_PASSES = 224, 200_000_000, 2, 2


def sample(counted: pd.DataFrame, number: int) -> list[str]:
    """Return networks to be timed, of each family alike, evenly spaced in the order of their work.

    They are among those whose own size is 224 and that have at most 200 million parameters.
    """
    fit = counted["own_failure"].isna() & (counted["side"] == TIMED_SIDE)
    fit &= counted["parameters"] <= _TIMED_PARAMETERS
    chosen: list[str] = []
    for name in FAMILIES:
        own = counted[fit & (counted["family"] == name)].sort_values("own_forward")
        wanted = min(number // len(FAMILIES), len(own))
        ranks = [int((place + 0.5) * len(own) / wanted) for place in range(wanted)]
        chosen += own["model"].iloc[ranks].tolist()
    return chosen


def time_network(name: str) -> dict[str, float]:
    """Time the library on an untrained network at 224, on this machine's CPU.

    Returns:
        Seconds of a processor: ``build``; ``prepare`` (folding, the search for theoretical
        fields); and ``image``, the map of an image in a batch, the less of two times.
    """
    cpu, size = torch.device("cpu"), (TIMED_SIDE, TIMED_SIDE)
    models: list[Model] = []
    build = processor_time(lambda: models.append(load_model(name, "random")))
    (model,) = models
    procedure, own = Procedure(resolution=TIMED_SIDE), model.preprocessing
    pixels = list(decode(select("builtin", _TIMED_IMAGES).images, procedure.view(own)))
    made: list[Contributions] = []
    with copy_on_device(model.module, cpu) as network:
        fixed = model.input_size is not None
        contributions = partial(
            Contributions, network, [model.tap], procedure, size, fixed, fast=True
        )
        prepare = processor_time(lambda: made.append(contributions()))
        inputs = normalise(np.stack(pixels), own.mean, own.std, cpu, floating_type(network))
        made[0].maps(inputs)  # finds the layer's shape
        maps = partial(made[0].maps, inputs, made[0].fastest)
        image = min(processor_time(maps) for _ in range(_TIMED_PASSES)) / len(pixels)
    return {"build": build, "prepare": prepare, "image": image}


def time_networks(names: Sequence[str], output: Path) -> pd.DataFrame:
    """Return a row per network; see :func:`time_network`."""
    rows = []
    for name in tqdm(names, unit="network", disable=None):
        setting = {"model": name, "side": TIMED_SIDE, "threads": torch.get_num_threads()}
        found = kept(output / "times" / f"{name}.json", setting, partial(time_network, name))
        rows.append({"model": name, **found})
    return pd.DataFrame(rows)


def weigh(photographs: int, groups: int) -> dict[str, Any]:
    """Time and weigh what a result at 1024 takes beside the passes.

    Args:
        photographs: in the results whose files are weighed.
        groups: of images that intervals are made of.

    Returns:
        Seconds of a processor: ``ready`` (making an image ready), ``intervals`` (of a result),
        ``write`` (the file that takes longer). ``bytes`` of the file, by network.
    """
    selection, view = select("builtin", photographs), Procedure().view(Preprocessing())
    images = selection.images
    making = processor_time(lambda: [np.asarray(view(image.open())) for image in images])
    sides = (DEFAULT_RESOLUTION, DEFAULT_RESOLUTION)
    maps = np.random.default_rng(0).random((groups, *sides), dtype=np.float32)
    frame, ones = Frame(sides), [1] * groups
    sums = image_sums(maps, frame)
    total = maps.sum(axis=0, dtype=np.float64)
    intervals = processor_time(partial(Sample.of_groups, total, list(maps), ones, sums, frame))
    weights, write = {}, 0.0
    for name in _WEIGHED:
        model = load_model(name, "random", resolution=DEFAULT_RESOLUTION)
        erf = erf_tools.effective_receptive_field(model, selection)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "erf.npz"
            write = max(write, processor_time(partial(erf.save, path)))
            weights[name] = path.stat().st_size
    return {
        "ready": making / len(images),
        "intervals": intervals,
        "write": write,
        "bytes": weights,
    }


def costs(times: pd.DataFrame, weighed: Mapping[str, Any]) -> Costs:
    """Return what stands beside the passes: means of the timed networks of each family."""
    start = (times["build"] + times["prepare"]).groupby(times["family"]).mean()
    return Costs(start.to_dict(), weighed["ready"], weighed["intervals"] + weighed["write"])
