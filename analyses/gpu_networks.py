"""Cases of :mod:`analyses.gpu`: maps and decisions of whole networks."""

from __future__ import annotations

import copy
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analyses.comparisons import (
    as_published,
    compare_decisions,
    compare_maps,
    mean_published_map,
    published_map,
    save_photographs,
)
from analyses.gpu_bench import Bench, Case, Reading, apart
from analyses.timing import duration
from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures import Measures
from erf_tools.erf.procedure import Precision, Procedure
from erf_tools.images import Selection, select
from erf_tools.models.loading import load_model
from erf_tools.models.model import Model


def agreement(bench: Bench) -> Iterator[Case]:
    """Maps on the device: against the CPU's, by fast ways, and against float64.

    How far float32 is from float64 stands beside it: rounding carries values over a ReLU's zero, so
    that two right maps in float32 differ by as much.
    """

    def of(name: str, weights: str) -> Iterator[Reading]:
        model = load_model(name, weights, resolution=bench.side)
        double = replace(model, module=copy.deepcopy(model.module).double())
        measure = partial(_measured, resolution=bench.side, device=str(bench.device))
        few, images = select("builtin", 2), select("builtin", 8)
        plain = measure(model, few, exact=True).map
        there = _measured(model, few, resolution=bench.side, device="cpu", exact=True).map
        yield Reading("difference from the CPU", apart(plain, there), "of the map's norm")
        exact = measure(double, few, exact=True).map
        yield Reading("from float64", apart(plain, exact), "of the map's norm")
        yield Reading("the CPU's from float64", apart(there, exact), "of the map's norm")
        found = measure(model, images)
        yield from _way(found)
        exact = measure(double, images, exact=True).map
        yield Reading("fast ways from float64", apart(found.map, exact), "of the map's norm")

    for name, weights in bench.families:
        yield f"{name} at {bench.side}, {weights}", partial(of, name, weights)


def published(bench: Bench) -> Iterator[Case]:
    """The map of one image: ours against the published procedure."""

    def of(name: str, side: int, precision: Precision) -> Iterator[Reading]:
        model = load_model(name, "random", resolution=side)
        for found in compare_maps(model, side, bench.device, bench.pairs, precision):
            yield Reading("seconds a map", found.seconds, "s")
            yield Reading(f"{found.other}: seconds a map", found.other_seconds, "s")
            yield Reading(f"{found.other}: ratio", found.ratio, "times")
            yield Reading(f"{found.other}: difference", found.difference, "of the map's norm")
            if np.isfinite(found.share):
                yield Reading("share of the matrix rate", found.share, "")

    for name, side in bench.large:
        for precision in bench.precisions:
            yield f"{name} at {side}, {precision}", partial(of, name, side, precision)


def precision(bench: Bench) -> Iterator[Case]:
    """What rounding does to the measures: area ratios of each precision."""

    def of(name: str, weights: str, side: int) -> Iterator[Reading]:
        model = load_model(name, weights, resolution=side)
        images = select("builtin", 8)
        exact: np.ndarray | None = None
        for each in bench.precisions:
            found = _measured(
                model, images, resolution=side, precision=each, device=str(bench.device)
            ).map
            exact = found if exact is None else exact
            yield Reading(f"{each}: difference from fp32", apart(found, exact), "of the norm")
            for percent in (20, 30, 50, 99):
                ratio = 100 * getattr(Measures(found), f"linear_{percent}")
                yield Reading(f"{each}: area ratio at {percent}%", ratio, "%")

    sizes = [(name, "random", min(side, 512)) for name, side in bench.large]
    for name, weights, side in [*sizes, (*bench.families[-1], bench.side)]:
        yield f"{name} at {side}, {weights}", partial(of, name, weights, side)
    if ("efficientnet_lite0", "pretrained") in bench.families:
        yield (
            "efficientnet_lite0 at 224, trained",
            partial(of, "efficientnet_lite0", "pretrained", 224),
        )


def whole_calls(bench: Bench) -> Iterator[Case]:
    """From files to a map with intervals, against the published loop; and images a second."""

    def of(name: str, side: int, precision: Precision) -> Iterator[Reading]:
        model = load_model(name, "random", resolution=side)
        with tempfile.TemporaryDirectory() as folder:
            save_photographs([Path(folder, f"{n:03}.png") for n in range(bench.images)], 400)
            images = select(folder, bench.images)

            def ours() -> ERF:
                return _measured(
                    model,
                    images,
                    resolution=side,
                    precision=precision,
                    device=str(bench.device),
                )

            found = ours()
            yield from _way(found)
            seconds = duration(ours, bench.device)
            yield Reading("images a second", bench.images / seconds, "1/s")
            network = as_published(model.module).to(bench.device)
            loop = partial(
                mean_published_map, network, model, images, side, bench.device, workers=1
            )
            expected = loop().numpy()
            yield Reading("difference", apart(found.map, expected), "of the map's norm")
            theirs = duration(loop, bench.device)
            yield Reading("published loop: images a second", bench.images / theirs, "1/s")
            yield Reading("published loop: ratio", theirs / seconds, "times")

    for name, side in ((bench.families[0][0], bench.side), *bench.large):
        for each in bench.precisions:
            if each != "tf32":
                yield (
                    f"{name} at {side}, {bench.images} images, {each}",
                    partial(of, name, side, each),
                )


def batches(bench: Bench) -> Iterator[Case]:
    """Batches: what is chosen by memory, how much they gain, and that they are halved."""

    def of(name: str, side: int) -> Iterator[Reading]:
        model = load_model(name, "random", resolution=side)
        images = select("builtin", 8)
        measure = partial(_measured, model, images, resolution=side, device=str(bench.device))
        chosen = measure()
        yield Reading("images at once, chosen by memory", chosen.runs[0]["batch"], "")
        for batch in (1, 2, 4, 8):
            run = partial(measure, batch_size=batch)
            run()
            yield Reading(f"{batch} at once: images a second", 8 / duration(run, bench.device), "")
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
            held = torch.cuda.memory_allocated(bench.device)
            total = torch.cuda.mem_get_info(bench.device)[1]
            with_one = _peak(partial(measure, batch_size=1), bench.device)
            # Room for two and a half: eight and four at once do not fit.
            torch.cuda.set_per_process_memory_fraction((held + 2.5 * with_one) / total)
            try:
                halved = measure(batch_size=8)
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0)
            yield Reading("with little memory: images at once", halved.runs[0]["batch"], "")
            yield Reading("difference", apart(halved.map, chosen.map), "of the map's norm")

    for name, side in bench.large:
        yield f"{name} at {side}", partial(of, name, side)


def decisions(bench: Bench) -> Iterator[Case]:
    """Decisions on as many stimuli as the published set has, made of the built-in photographs."""
    name, weights = ("resnet50", "random") if len(bench.families) > 1 else bench.families[0]

    def read() -> Iterator[Reading]:
        with tempfile.TemporaryDirectory() as folder:
            save_photographs(
                [
                    Path(folder, shape, f"{shape}{index}-{texture}{index}.png")
                    for shape in CATEGORIES
                    for texture in CATEGORIES
                    for index in range(1, bench.per_pair + 1)
                ],
                224,
            )
            stimuli = open_stimuli(folder, allow_partial=True)
            model = load_model(name, weights)
            found = compare_decisions(model, stimuli, bench.device, bench.pairs)
        yield Reading("stimuli a second", len(stimuli) / found.seconds, "1/s")
        yield Reading("plain loop: stimuli a second", len(stimuli) / found.other_seconds, "1/s")
        yield Reading("plain loop: ratio", found.ratio, "times")

    yield name, read


def memory(bench: Bench) -> Iterator[Case]:
    """Peak memory on the card of one map."""

    def of(name: str, side: int) -> Iterator[Reading]:
        model = load_model(name, "random", resolution=side)
        images = torch.randn(1, 3, side, side, device=bench.device)
        network = as_published(model.module).to(bench.device)
        loop = partial(published_map, network, model, images)
        ours = partial(
            _measured, model, select("builtin", 1), resolution=side, device=str(bench.device)
        )
        for what, run in (("published procedure", loop), ("erf-tools", ours)):
            yield Reading(f"{what}: peak", _peak(run, bench.device) / 1e9, "GB")

    if bench.device.type == "cuda":
        for name, side in bench.large:
            yield f"{name} at {side}", partial(of, name, side)


def two_processes(bench: Bench) -> Iterator[Case]:
    """Two processes at once on one device: the same maps, and in what time."""
    name, side = bench.families[0][0], bench.large[-1][1]

    def read() -> Iterator[Reading]:
        work = (name, side, str(bench.device))
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            (expected, alone), *_ = pool.starmap(_in_process, [work])
            pool.starmap(_in_process, [work, work])  # both have begun
            both = pool.starmap(_in_process, [work, work])
        yield Reading("alone", alone, "s")
        yield Reading("beside another", max(seconds for _, seconds in both), "s")
        worst = max(apart(found, expected) for found, _ in both)
        yield Reading("difference", worst, "of the map's norm")

    yield f"{name} at {side}, 8 images", read


def _measured(model: Model, images: Selection, precision: Precision = "fp32", **how: Any) -> ERF:
    procedure = Procedure(resolution=how.pop("resolution"), precision=precision)
    return effective_receptive_field(model, images, procedure=procedure, **how)


def _way(found: ERF) -> Iterator[Reading]:
    """How a result was computed, as numbers; why a faster way was refused stands in the name."""
    run = found.runs[0]
    for what in ("folded", "cone"):
        yield Reading(what, float(run[what]), "")
    yield Reading("images at once", float(run["batch"]), "")
    if run["refused"]:
        yield Reading(f"refused: {run['refused']}", 1.0, "")


def _peak(run: Callable[[], object], device: torch.device) -> float:
    """Return the bytes that a run takes on a card beyond what is there before."""
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return float(torch.cuda.max_memory_allocated(device) - before)


def _in_process(name: str, side: int, device: str) -> tuple[np.ndarray, float]:
    """Measure a network over the built-in photographs, for a process of its own."""
    model = load_model(name, "random", resolution=side)
    found: list[ERF] = []

    def measure() -> None:
        found.append(_measured(model, select("builtin", 8), resolution=side, device=device))

    measure()
    return found[0].map, duration(measure, torch.device(device))
