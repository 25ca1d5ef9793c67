"""Options that several commands share, and how what is given to them is read."""

from __future__ import annotations

import re
from glob import glob
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from erf_tools.addresses import is_address
from erf_tools.choices import Choice
from erf_tools.computing import DEVICE, plausible_device
from erf_tools.errors import UsageError
from erf_tools.labels import ASKED
from erf_tools.numbers import LARGEST_SEED

#: What stands between commas: brackets and quotes are whole.
_NAME = re.compile(r'(?:\[[^\]]*\]|\{[^}]*\}|"[^"]*"|[^,])+')

#: Endings of files that results are in.
_FILES = (
    *(".csv", ".html", ".jpeg", ".jpg", ".json", ".md", ".npy", ".npz", ".parquet", ".pdf"),
    *(".png", ".tex"),
)


def no_file(output: Path) -> Path:
    """Return where results go, after seeing that it is not meant as a file.

    Raises:
        UsageError: it ends as one, and is no folder yet.
    """
    if output.suffix.lower() in _FILES and not output.is_dir():
        raise UsageError(
            f"--output {output} ends as a file, and results go into a folder; name a folder, as in "
            f"{output.with_suffix('')}"
        )
    return output


# In the order of every command: networks, what is measured, how it is computed, where it goes.
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "--models",
        metavar="NAME,...",
        help="A name of `erf-tools models` or of timm; another library's, as in "
        "torchvision:resnet50; or file.py:factory. Repeat it, or separate names by commas.",
    ),
]
WeightChoices = Annotated[
    list[str],
    typer.Option(
        metavar=f"{'|'.join(ASKED)}|FILE|ADDRESS",
        help="Once for all models, or once per model in the same order; for ERFs, a pattern as in "
        "'run/epoch_*.pth' is a series of checkpoints.",
    ),
]
Channels = Annotated[
    int,
    typer.Option(
        metavar="1|3|4",
        help="That the networks take: luminance; red, green, blue; or these and luminance.",
    ),
]
Device = Annotated[
    str, typer.Option(metavar=DEVICE.metavar, help=DEVICE.help, callback=plausible_device)
]
Seed = Annotated[
    int,
    typer.Option(
        min=0, max=LARGEST_SEED, help="Of random weights, and of the order of images for ERFs."
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Fetch nothing; HF_HUB_OFFLINE=1 does the same.")
]
Output = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder for the results.", callback=no_file)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace other results in the folder.")
]
NoReference = Annotated[
    bool, typer.Option("--no-reference", help="Leave out what others have published.")
]


def option(choice: Choice) -> Any:
    """Return the type of an option that is declared as a choice, with all that Typer shows."""
    several = get_origin(choice.type) is tuple
    shown = choice.shown_default or True
    how = typer.Option(
        choice.option,
        help=choice.help,
        metavar=choice.metavar,
        show_default=shown,
        min=choice.lowest,
        callback=plausible_device if choice is DEVICE else None,
    )
    if not several:
        return Annotated[choice.type, how]
    each = get_args(choice.type)[0]
    # Typer takes no list of a few values; what declares the choice checks them.
    return Annotated[list[str if get_origin(each) is Literal else each], how]  # type: ignore


def split_names(values: list[str]) -> list[str]:
    """Return the values of a repeatable option, which may hold several separated by commas.

    Commas inside brackets and quotes, as arguments of a factory have, separate nothing.
    """
    parts = [part for value in values for part in re.findall(_NAME, value)]
    return [part.strip() for part in parts if part.strip()]


def split_weights(values: list[str]) -> list[str]:
    """Return what :func:`split_names` does, but for commas inside addresses and names of files.

    An address goes on until another choice of weights begins.
    """
    choices: list[str] = []
    for value in values:
        if Path(value).exists() or glob(value):
            choices.append(value)
            continue
        in_address = False
        for part in map(str.strip, value.split(",")):
            begins = is_address(part) or part in ASKED
            if in_address and not begins:
                choices[-1] += f",{part}"
            elif part:
                choices.append(part)
                in_address = is_address(part)
    return choices
