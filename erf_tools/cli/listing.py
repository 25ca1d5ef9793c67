"""What there is to measure: ``erf-tools models`` and ``erf-tools layers``."""

from __future__ import annotations

from typing import Annotated

import typer

from erf_tools.cli.options import Channels
from erf_tools.cli.outcomes import print_table, say
from erf_tools.text import dimensions


def models() -> None:
    """List the models known by name; every timm model works as well."""
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
    from erf_tools.models.layers import describe_layers
    from erf_tools.models.loading import load_model
    from erf_tools.models.prefixes import is_factory

    weights = "pretrained" if is_factory(model) else "random"  # a factory decides itself
    loaded = load_model(model, weights, resolution=resolution, channels=channels)
    rows = [
        [layer.tap.name, layer.kind, dimensions(layer.shape), layer.stride, layer.field.in_words]
        for layer in describe_layers(loaded, pattern, resolution)
    ]
    headers = ["layer", "module", "C x H x W", "stride, px", "theoretical receptive field, px"]
    print_table(rows, headers)
