"""The command line: parse, make one library call, print.

Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from erf_tools.errors import ErfToolsError, UsageError

if TYPE_CHECKING:
    from erf_tools.erf.study import Study
    from erf_tools.images import Selection
    from erf_tools.models.requests import Request

app = typer.Typer(
    name="erf-tools",
    help="What a vision network looks at: effective receptive fields and shape bias.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_DEMO_MODELS = {
    "efficientnet_lite0": "pretrained",
    "replknet31b": "random",
    "replknet3": "random",
    "resnet101": "random",
}
_DEMO_RESOLUTION = 512


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Declare what :func:`main` takes from anywhere on the command line."""


@app.command()
def erf(
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "--models",
            metavar="NAME,...",
            help="A name of `erf-tools models`, a timm name, or package.module:factory. "
            "Repeat it, or separate names by commas.",
        ),
    ],
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
    batch_size: Annotated[str, typer.Option(metavar="auto|N", help="Images at once.")] = "auto",
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of random weights and of the order of images.")] = 0,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing; HF_HUB_OFFLINE=1 does the same.")
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Print each map, small, in the terminal too.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/erf"),
) -> None:
    """Measure effective receptive fields: a heatmap per model, a table, and a page of all.

    Example: erf-tools erf --model replknet31b,resnet101 --weights random --resolution 512
    """
    from erf_tools.images import select

    wanted = _wanted(model, weights, offline)
    selection = select(images, num_images, order, seed)
    _report_images(selection, num_images)
    from erf_tools.erf import study
    from erf_tools.erf.procedure import Procedure
    from erf_tools.erf.protocols import find_protocol

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
        batch_size=_batch_size(batch_size),
        device=device,
        seed=seed,
        progress=True,
    )
    if preview:
        _print_maps(outcome)
    _print_study(outcome, output)


@app.command("shape-bias")
def shape_bias(
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "--models",
            metavar="NAME,...",
            help="As in `erf-tools erf`. May be left out with --decisions.",
        ),
    ] = [],  # noqa: B006 - Typer copies it
    weights: Annotated[
        list[str],
        typer.Option(
            metavar="pretrained|random|FILE|ADDRESS",
            help="Once for all models, or once per model in the same order.",
        ),
    ] = ["pretrained"],  # noqa: B006
    stimuli: Annotated[
        str,
        typer.Option(
            metavar="DIR|edges|silhouettes",
            help="A folder of stimuli; without it the published cue-conflict set is fetched once. "
            "edges and silhouettes, or a folder of single-cue stimuli, give accuracies instead.",
        ),
    ] = "cue-conflict",
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Measure what there is of a set, and say so.")
    ] = False,
    decisions: Annotated[
        list[Path],
        typer.Option(metavar="FILE|DIR", help="Published decisions to put beside; repeatable."),
    ] = [],  # noqa: B006
    no_reference: Annotated[
        bool,
        typer.Option("--no-reference", help="Leave out humans and networks as published."),
    ] = False,
    preset: Annotated[
        Literal["direct", "mvh", "model"],
        typer.Option(
            help="direct: the whole stimulus, the model's own mean and std; mvh: as the toolbox "
            "model-vs-human; model: the model's evaluation transform, crop included."
        ),
    ] = "direct",
    aggregation: Annotated[
        Literal["mean", "sum", "max"],
        typer.Option(help="How probabilities of a category's classes become one number."),
    ] = "mean",
    label_map: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV with the columns index and category, for heads that are not ImageNet-1K's.",
        ),
    ] = None,
    batch_size: Annotated[str, typer.Option(metavar="auto|N", help="Stimuli at once.")] = "auto",
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of random weights.")] = 0,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing; HF_HUB_OFFLINE=1 does the same.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(
        "results/shape_bias"
    ),
) -> None:
    """Measure texture-versus-shape decisions: a table with intervals, and the matrix plot.

    Example: erf-tools shape-bias --models resnet152,replknet31b
    """
    from erf_tools.cue_conflict.categories import read_label_map
    from erf_tools.cue_conflict.decisions import read_decisions
    from erf_tools.cue_conflict.stimuli import CITATION, open_stimuli

    names = _split(model)
    if not names and not decisions:
        raise UsageError("--model is missing; or give --decisions to measure published ones")
    published = read_decisions(decisions) if decisions else []
    classes = read_label_map(label_map) if label_map else None
    found, wanted = None, []
    if names:
        from erf_tools.models.requests import requests

        wanted = requests(names, _split(weights))
        found = open_stimuli(stimuli, allow_partial, progress=True)
        for deviation in found.deviations:
            typer.echo(f"partial stimuli: {deviation}", err=True)
        typer.echo(CITATION, err=True)
    from erf_tools.cue_conflict import study, tables

    outcome = study.measure_decisions(
        wanted,
        found,
        output,
        published,
        reference=not no_reference,
        preset=preset,
        aggregation=aggregation,
        label_map=classes,
        batch_size=_batch_size(batch_size),
        device=device,
        seed=seed,
        progress=True,
    )
    for name in outcome.reused:
        typer.echo(
            f"{name}: decided before on the same stimuli with the same settings; delete "
            f"{output / 'decisions'} to decide again",
            err=True,
        )
    typer.echo(tables.as_text(outcome.shown))
    typer.echo("")
    for remark in outcome.remarks:
        typer.echo(remark)
    typer.echo(f"\nWritten to {output}: " + ", ".join(path.name for path in outcome.files))
    _raise_failures(outcome.failures)


@app.command()
def compare(
    erf: Annotated[Path, typer.Option(metavar="DIR", help="Results of `erf-tools erf`.")],
    shape_bias: Annotated[
        Path, typer.Option(metavar="DIR", help="Results of `erf-tools shape-bias`.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/compare"),
) -> None:
    """Put ERF measures beside shape bias: a table per model, and a scatter plot."""
    from erf_tools.compare import compare as join
    from erf_tools.cue_conflict.tables import as_text

    outcome = join(erf, shape_bias, output)
    columns = ["model", "weights", "effective_side", "shape_bias", "ci_low", "ci_high", "coverage"]
    typer.echo(as_text(outcome.table[columns].round(4)))
    if outcome.left_out:
        typer.echo(f"\nIn one of the two only: {', '.join(outcome.left_out)}")
    for name in outcome.other_weights:
        typer.echo(f"warning: {name} was measured with different weights in the two", err=True)
    typer.echo(f"\nWritten to {output}: " + ", ".join(path.name for path in outcome.files))


@app.command()
def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS...",
            help="Folders of `erf-tools erf` and `erf-tools shape-bias`, folders that hold such "
            "folders, and erf.npz files.",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path(
        "results/report.html"
    ),
) -> None:
    """Show results on one page that opens in any browser, without a network.

    Example: erf-tools report results/erf results/shape_bias --output report.html
    """
    from erf_tools.report.page import write_report
    from erf_tools.report.results import find_results

    erfs, biases = find_results(results)
    path = write_report(output, erfs, biases)
    typer.echo(f"Written to {path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser")


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/demo"),
) -> None:
    """Measure four networks on built-in photographs: no network, about two minutes on two cores."""
    from erf_tools.erf import study
    from erf_tools.erf.procedure import Procedure
    from erf_tools.images import select
    from erf_tools.models.requests import requests

    outcome = study.measure_erfs(
        requests(list(_DEMO_MODELS), list(_DEMO_MODELS.values())),
        select("builtin"),
        output,
        Procedure(resolution=_DEMO_RESOLUTION),
        progress=True,
    )
    _print_study(outcome, output)
    typer.echo(
        f"""
Look at {output / "erf_comparison.png"}: for each network, how much every input pixel contributes
to the central unit of its last feature map, averaged over {outcome.results[0].count} photographs
at {_DEMO_RESOLUTION}x{_DEMO_RESOLUTION}. Bright pixels contribute most; the solid square holds half
of the contribution, the dashed one 99 %.
replknet31b and replknet3 differ only in the size of their kernels (31x31 against 3x3): even
untrained, the large kernels see a far larger part of the image. efficientnet_lite0 is trained;
the other three have random weights, so their maps show architecture, not learning.
A map of each network on its own is in {output}/<model>/heatmap.png. To look closer, open
{output / "report.html"} in a browser: it needs no network."""
    )


@app.command("app")
def explore(
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "--models",
            metavar="NAME,...",
            help="Names to offer before those of `erf-tools models`; timm's are taken as well.",
        ),
    ] = [],  # noqa: B006
    stimuli: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Cue-conflict stimuli to offer as samples.",
            show_default="those in the cache, if any",
        ),
    ] = None,
    allow_any_model: Annotated[
        bool, typer.Option("--allow-any-model", help="Offer every timm model.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is this machine only.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, show_default="the first free one from 7860"),
    ] = None,
) -> None:
    """Open a local page: click a pixel of an image, see what the unit there looks at.

    Example: erf-tools app --model efficientnet_lite0
    """
    import signal
    from contextlib import suppress
    from importlib.util import find_spec
    from threading import Event

    if find_spec("gradio") is None:
        raise UsageError('the page needs Gradio: python -m pip install -e ".[app]"')
    from erf_tools.explorer.page import serve
    from erf_tools.explorer.pictures import samples
    from erf_tools.explorer.routes import is_loopback
    from erf_tools.explorer.session import Session

    session = Session(_split(model), allow_any_model)
    with serve(session, samples(stimuli), host, port) as address, suppress(KeyboardInterrupt):
        if not is_loopback(host):
            typer.echo(
                f"warning: whoever reaches {host} can run networks on this machine", err=True
            )
        typer.echo(f"{address} (Ctrl+C ends it)")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # uploads are deleted then too
        Event().wait()


@app.command()
def models() -> None:
    """List the models known by name; every timm model works as well."""
    from urllib.parse import urlsplit

    from tabulate import tabulate

    from erf_tools.models import catalogue

    rows = []
    for entry in catalogue.ENTRIES.values():
        kind = entry.weights.kind
        found = catalogue.weights_file(entry)
        size = entry.preprocessing.size
        source = {
            "file": urlsplit(entry.weights.address).hostname,
            "timm": f"timm {entry.architecture}",
            "package": f"package {entry.weights.package.replace('_', '-')}",
            "none": "never published",
        }[kind]
        rows.append(
            [
                entry.name,
                entry.summary,
                f"{entry.parameters / 1e6:.1f} M",
                f"{size}x{size}",
                entry.training,
                f"{entry.accuracy:.1f}" if entry.accuracy else "",
                "yes" if found else "no",
                source,
                entry.weights.licence,
            ]
        )
    headers = ["name", "model", "parameters", "input", "trained on", "top-1, %"]
    headers += ["weights here", "weights come from", "licence"]
    typer.echo(tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True))
    typer.echo(
        f"\nWeight files are looked for in {catalogue.weights_folder()} "
        "(ERF_TOOLS_CACHE moves it). Any timm name works too, and package.module:factory."
    )


@app.command()
def layers(
    model: Annotated[str, typer.Argument(help="As in `erf-tools erf`.")],
    pattern: Annotated[
        str,
        typer.Argument(
            help="Which layers, as in 'layer4.*'; without it all that are made of others."
        ),
    ] = "",
    resolution: Annotated[
        int | None, typer.Option(min=1, help="Side of the input.", show_default="the model's own")
    ] = None,
) -> None:
    """List a model's layers that can be measured: shape, stride, theoretical receptive field."""
    from tabulate import tabulate

    from erf_tools.models.layers import describe_layers
    from erf_tools.models.loading import load_model

    weights = "pretrained" if ":" in model else "random"  # a factory initialises its own network
    loaded = load_model(model, weights, resolution=resolution)
    rows = [
        [layer.tap.name, layer.kind, "x".join(map(str, layer.shape)), layer.stride, layer.reach]
        for layer in describe_layers(loaded, pattern, resolution)
    ]
    headers = ["layer", "module", "C x H x W", "stride, px", "theoretical receptive field, px"]
    typer.echo(tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True))


weights_app = typer.Typer(
    help="Manage the weight files on this machine.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(weights_app, name="weights")


@weights_app.command("list")
def weights_list() -> None:
    """List the weight files in the cache."""
    from tabulate import tabulate

    from erf_tools.models.catalogue import weights_folder
    from erf_tools.models.weight_files import cached_files

    rows = [
        [file.path.name, f"{file.size / 1e6:.1f} MB", ", ".join(file.models), file.sha256[:16]]
        for file in cached_files()
    ]
    headers = ["file", "size", "of", "sha256 first seen"]
    typer.echo(tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True))
    typer.echo(f"\n{len(rows)} files in {weights_folder()}")


@weights_app.command("fetch")
def weights_fetch(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="As in `models`.")],
) -> None:
    """Fetch the trained weights of models, for machines that have no network later."""
    from erf_tools.models.catalogue import ENTRIES
    from erf_tools.models.weight_files import obtain

    failures: list[ErfToolsError] = []
    for name in _split(models):
        try:
            if name in ENTRIES and ENTRIES[name].weights.kind != "timm":
                typer.echo(f"{name}: {obtain(ENTRIES[name], progress=True)}")
            else:
                from erf_tools.models.loading import load_model

                typer.echo(f"{name}: {load_model(name).weights.source}")
        except ErfToolsError as error:
            failures.append(error)
    _raise_failures(failures)


@weights_app.command("verify")
def weights_verify() -> None:
    """Check every file in the cache against its published digest and the one first seen."""
    from erf_tools.models.weight_files import cached_files, verify

    failures: list[ErfToolsError] = []
    for file in cached_files():
        try:
            typer.echo(f"{file.path.name}: {verify(file)}")
        except ErfToolsError as error:
            failures.append(error)
    _raise_failures(failures)


@weights_app.command("path")
def weights_path(
    name: Annotated[str, typer.Argument(help="A model or a file; without, the folder.")] = "",
) -> None:
    """Print where a weight file lies, or the folder of all."""
    from erf_tools.models.catalogue import weights_folder
    from erf_tools.models.weight_files import find_file

    typer.echo(str(find_file(name).path if name else weights_folder()))


@weights_app.command("remove")
def weights_remove(
    name: Annotated[str, typer.Argument(help="A model or a file.")],
) -> None:
    """Delete a weight file from the cache."""
    from erf_tools.models.weight_files import find_file, remove

    file = find_file(name)
    remove(file)
    typer.echo(f"removed {file.path}")


def _wanted(models: list[str], weights: list[str], offline: bool) -> list[Request]:
    """Check names, and fetch what is missing, before anything heavy is loaded for it."""
    from erf_tools.models import weight_files
    from erf_tools.models.catalogue import ENTRIES
    from erf_tools.models.requests import requests

    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library reads it
    wanted = requests(_split(models), _split(weights))
    if others := [request.model for request in wanted if request.model not in ENTRIES]:
        from erf_tools.models.loading import is_factory, resolve

        for name in others:
            if not is_factory(name):
                resolve(name)
    weight_files.prefetch({request.model: request.weights for request in wanted}, progress=True)
    return wanted


def _split(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--batch-size is {text!r}; it is auto or a positive number")
    return int(text)


def _report_images(selection: Selection, asked: int) -> None:
    for name, reason in selection.unreadable:
        typer.echo(f"skipped {name}: {reason}", err=True)
    if selection.unreadable:
        typer.echo(f"{len(selection.unreadable)} images could not be read", err=True)
    if len(selection) < asked:
        typer.echo(f"{selection.source} has {len(selection)} images: using all of them", err=True)


def _print_study(outcome: Study, output: Path) -> None:
    from erf_tools.erf import tables

    for name in outcome.reused:
        folder = output / name
        typer.echo(
            f"{name}: measured before with the same images and settings; delete {folder} to "
            "measure it again",
            err=True,
        )
    for result in outcome.results:
        if zeros := result.number("zero"):
            typer.echo(
                f"warning: {result.name}: the map of {zeros} of {result.count} images is zero "
                "everywhere (every channel of the unit is off); they count in the mean",
                err=True,
            )
        if dropped := result.number("nan"):
            typer.echo(
                f"warning: {result.name}: the map of {dropped} images is not finite; left out",
                err=True,
            )
    typer.echo(tables.compact(outcome.table))
    typer.echo("")
    for note in tables.notes(outcome.table):
        typer.echo(note)
    typer.echo(f"\nWritten to {output}: " + ", ".join(path.name for path in outcome.files))
    _raise_failures(outcome.failures)


def _print_maps(outcome: Study) -> None:
    from erf_tools.erf.preview import preview, terminal_shades

    shades = terminal_shades(sys.stdout, os.environ)
    for result in outcome.results:
        typer.echo(f"{result.label}\n{preview(result.map, shades)}\n", color=True)


def _raise_failures(failures: Sequence[ErfToolsError]) -> None:
    """Print all failures but the last, and raise that, for :func:`main` to print."""
    if failures:
        *others, last = failures
        for error in others:
            typer.echo(f"erf-tools: {error}", err=True)
        raise last


def main() -> None:
    """Run the command line; turn errors into one sentence and an exit code."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except ErfToolsError as error:
        if len(arguments) < len(sys.argv) - 1:
            traceback.print_exc()
        typer.echo(f"erf-tools: {error}", err=True)
        sys.exit(error.exit_code)
