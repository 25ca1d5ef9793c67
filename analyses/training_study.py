"""Do networks of larger kernels look farther and decide by shape? Small ones, trained here.

Claim: large depthwise kernels give a larger ERF and decisions that follow the shape; identity
shortcuts are vital for them (guideline 2), and a parallel 5x5 kernel helps them (guideline 3) (Ding
et al., RepLKNet, CVPR 2022).

Method: networks of the same stem, width, depth, norms and pointwise convolutions differ in the
depthwise kernel, the shortcut and the parallel kernel; a ResNet and a net of shifted windows (Swin)
are of a like number of parameters. They are trained on new images in every step (see
:mod:`analyses.shape_texture_images`), whose label can be read from the shape, from the texture, or
from either. Every seed has its own weights and its own images, the same for all networks, and
differences are paired by seed; intervals are Student's over seeds. Measured on unseen images: the
accuracy in the own setting, on shapes without a texture and on textures without a shape; where both
cues disagree, decisions by shape (S), by texture (T), S / (S + T) and the coverage (S + T) / N; the
ERF of the last block's central unit on the same images. Where one cue alone is the label, the shape
bias is what was trained; the setting ``either`` asks what a network prefers. What networks rely on,
on images of the own setting, and a check of it with a known answer: see
:mod:`analyses.training_reliance`.

Refuted by: no larger effective side, or no larger shape bias, at 31x31 than at 3x3; without the
shortcut no lower accuracy at 31x31 than with it, or one lower by no more than at 3x3; no higher
accuracy with the parallel kernel than without it.

Found (three seeds on two CPU cores, setting ``either``, by ``--quick`` with 100 steps of 32 images
and, from Python, by the same plan with Swin and 400 steps; neither the whole form nor a GPU has
been tried). After 400 steps all but Swin (0.95) are right on nearly every image. 31x31 against 3x3
adds 8 [3, 13] pixels to the effective side (22 against 14) and 0.26 [-0.04, 0.57] to the shape bias
(0.74 against 0.48). It was 0.50 [0.27, 0.73] after 100 steps: part of it was what is learned first,
and three seeds do not settle the rest. Nothing is gained beyond 7x7 (0.74); the largest ERF with a
shortcut is that of 13x13, 26 pixels. Over the nine networks effective side and shape bias go
together, rank correlation 0.67 [0.32, 1.03], but the ResNet has the smallest ERF of all, 12 pixels,
and a shape bias of 0.71 [0.68, 0.75]: a small ERF does not make a texture network. Guideline 2 does
not show in three blocks: without the shortcut 31x31 is as accurate, and looks 5 [-2, 13] pixels
farther. The parallel kernel adds 0.05 [-0.03, 0.13] to the accuracy of 31x31 after 100 steps, and
nothing to it after 400, nor to ERF and shape bias.

With one cue as the label (100 steps, two seeds) 3x3 reaches an accuracy of 0.80 by shape and 0.88
by texture, 31x31 0.89 and 0.24, the ResNet 0.80 and 0.98 by shape, 0.86 and 0.19 by texture: which
cue a network can learn at all in so short a training decides much of its preference.

The check with a known answer (``--quick``, two seeds): a network of patches is right on .95 and .96
of textures; of 512 answers to each of three shuffles none changes, and without the patterns'
frequencies .12 and .15 are left (guessing: .125). Shuffles whose cells cut its patches leave it .29
at the least: what is lost to small cells is not shape alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields, replace
from functools import partial
from itertools import product
from math import nan
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from analyses import programs
from analyses.shape_texture_images import CLASSES, Cue, make_images
from analyses.trained_networks import (
    MEAN,
    QUICK,
    STD,
    TEST,
    WHOLE,
    Design,
    Plan,
    decide,
    train,
)
from analyses.training_figure import draw
from analyses.training_reliance import as_bytes, finding, known_answer, reliance
from analyses.training_statistics import MEASURES, as_text, compare, findings, summarise
from erf_tools import Preprocessing, Tap, as_model, effective_receptive_field
from erf_tools.cores import available_cores
from erf_tools.kernels.devices import choose_device, device_name
from erf_tools.tables import write_csv

NAME = "training_study"

#: Which images, apart from those that it was trained on the like of, a network is tried on.
_MEASURED: tuple[Cue, ...] = ("silhouette", "swatch", "conflict")


def count_cues(decisions: np.ndarray, shapes: np.ndarray, textures: np.ndarray) -> dict[str, float]:
    """Return how often decisions follow the shape and the texture of images where they disagree.

    ``shape_bias`` is S / (S + T), in [0, 1] and NaN for no such decisions; ``coverage`` is
    (S + T) / N. Guessing alone gives a bias of 1/2 and a coverage of two over the classes.
    """
    by_shape, by_texture = int((decisions == shapes).sum()), int((decisions == textures).sum())
    followed = by_shape + by_texture
    return {
        "S": by_shape,
        "T": by_texture,
        "N": len(decisions),
        "shape_bias": by_shape / followed if followed else nan,
        "coverage": followed / len(decisions),
    }


def measure_run(
    design: Design, cue: Cue, seed: int, plan: Plan, device: torch.device
) -> dict[str, float]:
    """Train a network and return what it can do on unseen images, and how far it looks."""
    with _one_thread():
        network = train(design, cue, seed, plan, device)
        generator = np.random.default_rng([seed, TEST])
        found: dict[str, float] = {"parameters": sum(p.numel() for p in network.parameters())}
        for kind in (*_MEASURED, cue):
            images = make_images(plan.test_images, kind, plan.side, generator, device)
            decisions = decide(network, images.pixels)
            if kind == cue:
                found |= reliance(network, images)
            if kind == "conflict":
                found |= count_cues(decisions, images.shapes, images.textures)
                seen = images.pixels[: plan.erf_images]
            else:
                name = kind if kind in _MEASURED else "own"
                found[f"accuracy_{name}"] = float((decisions == images.labels).mean())
        found["effective_side"] = effective_side(network, design.name, seen)
        return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread, inside: the same numbers, however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def effective_side(network: nn.Module, name: str, pixels: Tensor) -> float:
    """Return the effective side in pixels of the central unit of the last block's map."""
    array = as_bytes(pixels)
    side = array.shape[1]
    model = as_model(network, name, Preprocessing(side, MEAN, STD), Tap("features", "NCHW"))
    pictures = [Image.fromarray(picture) for picture in array]
    return effective_receptive_field(model, pictures, resolution=side).measures.effective_side


def study(plan: Plan, output: Path, device: torch.device, workers: int = 1) -> pd.DataFrame:
    """Measure every network in every setting under every seed; a run that is kept is not repeated.

    Args:
        plan: what to do.
        output: folder in which runs are kept, one file each.
        device: where to train.
        workers: processes; with one, all is done in this process.

    Returns:
        A row per run: ``design`` (its name), ``cue``, ``seed`` and what :func:`measure_run` gives.
    """
    tasks = list(product(plan.cues, range(plan.seeds), plan.designs))
    run = partial(_kept_run, plan=plan, output=output, device=device)
    with tqdm(total=len(tasks), desc=NAME, unit="run", disable=None) as bar, ExitStack() as stack:
        each: Callable[..., Iterable[dict[str, Any]]] = map
        if workers > 1:
            each = stack.enter_context(ProcessPoolExecutor(workers, get_context("spawn"))).map
        rows = []
        for row in each(run, tasks):
            rows.append(row)
            bar.update()
    return pd.DataFrame(rows).astype(dict.fromkeys(MEASURES, float))


def _kept_run(
    task: tuple[Cue, int, Design], plan: Plan, output: Path, device: torch.device
) -> dict[str, Any]:
    cue, seed, design = task
    setting = {
        "design": asdict(design),
        "cue": cue,
        "seed": seed,
        "device": device.type,
        "measures": list(MEASURES),
        **_sizes(plan),
    }
    name = re.sub(r"\W+", "-", design.name.lower())
    found = programs.kept(
        output / "runs" / f"{cue}-{seed}-{name}.json",
        setting,
        lambda: measure_run(design, cue, seed, plan, device),
    )
    return {"design": design.name, "cue": cue, "seed": seed, **found}


def _sizes(plan: Plan) -> dict[str, Any]:
    """Return what each run of a plan depends on, but for the network, the setting and the seed."""
    several = ("designs", "cues", "seeds")
    return {f.name: getattr(plan, f.name) for f in fields(plan) if f.name not in several}


def main(
    quick: programs.Quick = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Repetitions; 5, or 3 in the smaller form.")
    ] = None,
    device: programs.Device = "auto",
    output: programs.Output = Path("results/training_study"),
) -> None:
    """Train small networks on shapes with textures; compare what they look at and decide by."""
    target = choose_device(device, nn.Module())
    plan = QUICK if quick else WHOLE
    plan = replace(plan, seeds=seeds or plan.seeds)
    workers = available_cores() if target.type == "cpu" else 1
    runs = study(plan, output, target, workers)
    differences = compare(runs, plan.designs)
    table = summarise(runs)
    write_csv(runs, output / f"{NAME}_runs.csv")
    write_csv(differences, output / f"{NAME}_differences.csv")
    checked = [
        programs.kept(
            output / "known_answers" / f"{seed}.json",
            {**_sizes(plan), "seed": seed, "device": target.type},
            partial(known_answer, seed, plan, target),
        )
        for seed in range(plan.seeds)
    ]
    remarks = [
        f"{device_name(target)}; {plan.steps} steps of {plan.batch_size} images, {plan.seeds} "
        "seeds; mean [95 % interval over seeds, Student's t]; S, T and N are sums over seeds. "
        f"Guessing: accuracy {1 / CLASSES:.3f}, shape bias 0.5, coverage {2 / CLASSES:.2f}.",
        *findings(runs, differences),
        finding(checked),
    ]
    setting = {**asdict(plan), "device": device_name(target)}
    figure = draw(runs[runs["cue"] == "either"], plan.designs)
    programs.publish(output, NAME, table, as_text(table), remarks, figure, setting)


if __name__ == "__main__":
    programs.run(main)
