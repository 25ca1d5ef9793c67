"""What there is to measure: ``erf-tools models``, ``layers`` and ``inspect``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from erf_tools.cli.options import Channels
from erf_tools.cli.outcomes import print_table, say
from erf_tools.importing import heavy_imports
from erf_tools.text import dimensions

if TYPE_CHECKING:
    from erf_tools.models.model import Model

#: How files of weights are called; what is called so is no network's name.
_WEIGHTS = (".bin", ".ckpt", ".json", ".pt", ".pth", ".safetensors", ".tar")


def models(
    search: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Names with these words, in all libraries installed."),
    ] = "",
) -> None:
    """List the models known by name; every timm model works as well."""
    if search:
        _print_found(search)
        return
    from erf_tools.models.catalogue import ENTRIES
    from erf_tools.models.weight_folder import weights_folder

    rows = []
    for entry in ENTRIES.values():
        size = entry.preprocessing.size
        rows.append(
            [
                entry.name,
                entry.summary,
                f"{entry.parameters / 1e6:.1f} M",
                dimensions((size, size)),
                entry.training,
                f"{entry.accuracy:.1f}" if entry.accuracy else "",
                "yes" if entry.weights.find() else "no",
                entry.weights.place,
                entry.weights.licence,
            ]
        )
    headers = ["model", "what it is", "parameters", "input", "trained on", "top-1, %"]
    headers += ["weights here", "weights come from", "licence"]
    print_table(rows, headers)
    say()
    say(
        f"Weight files are looked for in {weights_folder()} "
        "(ERF_TOOLS_CACHE moves it). Any timm name works too, and package.module:factory."
    )


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
    channels: Channels = 3,
) -> None:
    """List a model's layers that can be measured: shape, stride, theoretical receptive field."""
    _print_layers(_loaded(model, channels, resolution), pattern, resolution)


def inspect(
    name: Annotated[
        str,
        typer.Argument(metavar="FILE|NAME", help="A file of weights, or as in `erf-tools erf`."),
    ],
    channels: Channels = 3,
) -> None:
    """Say what a file of weights holds, or what a network offers, and what can be typed next."""
    path = Path(name).expanduser()
    if path.is_file() or path.suffix in _WEIGHTS or (path.is_dir() and "/" in name):
        _inspect_file(path)
    else:
        _inspect_network(name, channels)


def _print_found(text: str) -> None:
    """Print the names of all networks with the words of a text."""
    from erf_tools.errors import UsageError
    from erf_tools.models.search import search

    found, left_out = search(text)
    for reason in left_out:
        say(f"left out: {reason}", err=True)
    if not found:
        raise UsageError(f"no network has {text!r} in its name; try a shorter part of it")
    print_table(found, ["model", "library"])
    say()
    say(f"{len(found)} networks. Next: erf-tools inspect {shlex.quote(found[0][0])}")


def _inspect_file(path: Path) -> None:
    from erf_tools.models.checkpoints import read_checkpoint
    from erf_tools.models.inspection import describe_parts, files_of, next_command

    found = read_checkpoint(path)
    parts, files = describe_parts(found), files_of(found)
    size = sum(file.stat().st_size for file in files)
    several = f", an index of {len(files) - 1} files" if len(files) > 1 else ""
    say(f"{path}{several}: {size / 1e6:.1f} MB, SHA-256 {found.sha256}")
    say()
    rows = [
        [
            part.name or "(the file itself)",
            part.keys,
            f"{part.values / 1e6:.2f} M",
            ", ".join(part.kinds),
            ", ".join(part.wrappers),
            part.head,
            part.look.words if part.look else "",
        ]
        for part in parts
    ]
    headers = ["state dict", "keys", "values", "numbers", "wrappers", "classes", "looks like"]
    print_table(rows, headers)
    say()
    if len(parts) > 1:
        say("Where several fit a network, the first of them is taken.")
    if found.nameless:
        say(f"Averaged weights without names, which are not used: {', '.join(found.nameless)}")
    say(f"Next: {next_command(found, parts)}")


def _inspect_network(name: str, channels: int) -> None:
    model = _loaded(name, channels)
    side = model.preprocessing.size
    own = f"any; evaluated at {dimensions((side, side))}"
    sizes = f"{dimensions(model.input_size)} only" if model.input_size else own
    mean, std = (" ".join(map(str, v)) for v in (model.preprocessing.mean, model.preprocessing.std))
    count = sum(parameter.numel() for parameter in model.module.parameters())
    say(f"{name}: {type(model.module).__name__}, {count / 1e6:.2f} M parameters")
    say(f"Input: {sizes}; mean {mean}, std {std}")
    say(f"Without --layer, {model.tap.name} is measured.")
    say()
    last = _print_layers(model)
    say()
    typed = f"--model {shlex.quote(name)}"
    typed += " --weights random" if model.weights.kind == "random" else ""
    typed += f" --channels {channels}" if channels != 3 else ""
    say(f"Next: erf-tools erf {typed} --layer {shlex.quote(last)}")


def _loaded(name: str, channels: int, resolution: int | None = None) -> Model:
    """Load a network with weights that are there at once: a factory decides, others are random."""
    with heavy_imports():  # of its library too, but not of the code of a factory
        from erf_tools.models.loading import load_model
        from erf_tools.models.names import resolve
        from erf_tools.models.prefixes import is_factory

        if is_factory(name):
            weights = "pretrained"
        else:
            weights = "random"
            resolve(name)
    return load_model(name, weights, resolution=resolution, channels=channels)


def _print_layers(model: Model, pattern: str = "", resolution: int | None = None) -> str:
    """Print the layers of a model that can be measured; return the name of the last."""
    with heavy_imports():
        from erf_tools.models.layers import describe_layers

    found = describe_layers(model, pattern, resolution)
    rows = [
        [layer.tap.name, layer.kind, dimensions(layer.shape), layer.stride, layer.field.in_words]
        for layer in found
    ]
    headers = ["layer", "module", "C x H x W", "stride, px", "theoretical receptive field, px"]
    print_table(rows, headers)
    return found[-1].tap.name
