"""The command ``erf-tools erf``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from erf_tools.cli.inputs import report_images, wanted_models
from erf_tools.cli.options import (
    LARGEST_SEED,
    BatchSize,
    Device,
    Models,
    Offline,
    Output,
    Overwrite,
    read_batch_size,
)
from erf_tools.cli.outcomes import print_study, raise_failures, say

if TYPE_CHECKING:
    from erf_tools.studies.erf import Study


def erf(
    model: Models,
    weights: Annotated[
        list[str],
        typer.Option(
            metavar="pretrained|random|FILE|ADDRESS",
            help="Once for all models, or once per model in the same order; a pattern as in "
            "'run/epoch_*.pth' is a series of checkpoints.",
        ),
    ] = ["pretrained"],  # noqa: B006 - Typer copies it
    images: Annotated[
        str,
        typer.Option(
            metavar="DIR|FILE|builtin",
            help="A folder (flat, or with subfolders as in ImageNet), an image, or builtin: the "
            "colour photographs in scikit-image.",
        ),
    ] = "builtin",
    num_images: Annotated[int, typer.Option(min=1, help="How many images at most.")] = 50,
    order: Annotated[
        Literal["spread", "sequential"],
        typer.Option(
            help="spread: seeded, over all subfolders; sequential: by name, as the paper's script."
        ),
    ] = "spread",
    resolution: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Side of the input, in pixels.",
            show_default="1024, or as the protocol says",
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="ding2022 (RepLKNet), kim2023 (OpenERF), vmamba2024 or luo2016. The next five "
            "options vary one choice of it each.",
        ),
    ] = "ding2022",
    scalar: Annotated[
        Literal["relu-sum", "sum", "mean"] | None,
        typer.Option(help="What is differentiated: over the unit's channels."),
    ] = None,
    gradient: Annotated[
        Literal["relu", "abs", "signed"] | None,
        typer.Option(help="Positive parts, sizes, or (signed) the size of the mean over images."),
    ] = None,
    rgb: Annotated[
        Literal["sum", "mean"] | None,
        typer.Option(help="sum: colour channels one by one; mean: averaged first, so they cancel."),
    ] = None,
    transform: Annotated[
        Literal["warp", "crop", "model"] | None,
        typer.Option(
            help="warp: to the resolution; crop: short side and centre crop; model: the "
            "checkpoint's own evaluation transform."
        ),
    ] = None,
    display: Annotated[
        Literal["log", "linear", "power"] | None,
        typer.Option(help="How heatmaps show the map A: log10(A + 1), A, or A ** 0.2."),
    ] = None,
    layer: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="A layer, or a pattern as in 'layer*'; repeatable. `erf-tools layers MODEL` lists "
            "them. Without it: the last map before pooling.",
        ),
    ] = [],  # noqa: B006
    output_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Which part of a layer's tuple, list or dictionary."),
    ] = None,
    stages: Annotated[
        bool, typer.Option("--stages", help="Measure each stage, and draw how the ERF grows.")
    ] = False,
    unit: Annotated[
        str,
        typer.Option(
            metavar="center|Y,X|grid:N",
            help="Which unit is looked from; grid:N averages over N x N, aligned at their centres.",
        ),
    ] = "center",
    square: Annotated[
        Literal["center", "unit"],
        typer.Option(help="Centre of the squares (but legacy ones): of the image, or the unit's."),
    ] = "center",
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV with the columns image and label (class index or synset), for top-1; folders "
            "named by synsets need none.",
        ),
    ] = None,
    precision: Annotated[
        Literal["fp32", "tf32", "bf16"],
        typer.Option(help="Of the arithmetic; tf32 (CUDA only) and bf16 are faster and coarser."),
    ] = "fp32",
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Compute plainly, image by image, also where faster ways are proven to give the "
            "same.",
        ),
    ] = False,
    batch_size: BatchSize = "auto",
    device: Device = "auto",
    seed: Annotated[
        int,
        typer.Option(min=0, max=LARGEST_SEED, help="Of random weights and of the order of images."),
    ] = 0,
    offline: Offline = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Print each map, small, in the terminal too.")
    ] = False,
    output: Output = Path("results/erf"),
    overwrite: Overwrite = False,
) -> None:
    """Measure effective receptive fields: a heatmap per model, a table, and a page of all.

    Example: erf-tools erf --model replknet31b,resnet101 --weights random --resolution 512
    """
    from erf_tools.images import select

    wanted = wanted_models(model, weights, offline)
    selection = select(images, num_images, order, seed)
    report_images(selection, num_images)
    from erf_tools.erf.procedure import Procedure
    from erf_tools.erf.protocols import find_protocol
    from erf_tools.studies import erf as study

    varied = find_protocol(
        protocol, scalar=scalar, gradient=gradient, rgb=rgb, transform=transform, display=display
    )
    outcome = study.measure_erfs(
        wanted,
        selection,
        output,
        Procedure(varied, unit, square, resolution, precision),
        study.Layers(tuple(layer), stages, output_key),
        labels=labels,
        batch_size=read_batch_size(batch_size),
        device=device,
        seed=seed,
        overwrite=overwrite,
        progress=True,
        fast=not exact,
    )
    if preview:
        _print_maps(outcome)
    print_study(outcome, output)
    raise_failures(outcome.failures)


def _print_maps(outcome: Study) -> None:
    from erf_tools.erf.preview import preview, terminal_shades

    shades = terminal_shades(sys.stdout, os.environ)
    for result in outcome.results:
        say(result.label)
        typer.echo(f"{preview(result.map, shades)}\n", color=True)
