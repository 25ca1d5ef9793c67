"""The commands ``erf-tools weights ...``: the weight files on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from erf_tools.cli.options import split_names
from erf_tools.cli.outcomes import print_table, raise_failures, say
from erf_tools.failures import Failures

app = typer.Typer(
    help="Manage the weight files on this machine.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_files() -> None:
    """List the weight files in the cache."""
    from erf_tools.models.weight_files import cached_files
    from erf_tools.models.weight_folder import weights_folder

    rows = [
        [file.path.name, f"{file.size / 1e6:.1f} MB", ", ".join(file.models), file.sha256[:16]]
        for file in cached_files()
    ]
    headers = ["file", "size", "models", "sha256 first seen"]
    print_table(rows, headers)
    say()
    say(f"{len(rows)} files in {weights_folder()}")


@app.command()
def fetch(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="As in `models`.")],
) -> None:
    """Fetch the trained weights of models, for machines that have no network later."""
    from erf_tools.models.catalogue import ENTRIES

    failures, names = Failures(), split_names(models)
    for name in names:
        with failures.alone(name):
            if name in ENTRIES:
                entry = ENTRIES[name]
            else:
                from erf_tools.models.names import resolve

                entry = resolve(name)
            say(f"{name}: {entry.weights.fetch(name, progress=True) or entry.weights.place}")
    raise_failures(failures, asked=len(names))


@app.command()
def verify() -> None:
    """Check every file in the cache against its published digest and the one first seen."""
    from erf_tools.models import weight_files

    failures = Failures()
    for file in weight_files.cached_files():
        with failures.alone(file.path.name):
            say(f"{file.path.name}: {weight_files.verify(file)}")
    raise_failures(failures)


@app.command()
def path(
    name: Annotated[str, typer.Argument(help="A model or a file; without, the folder.")] = "",
) -> None:
    """Print where a weight file lies, or the folder of all."""
    from erf_tools.models.weight_files import find_file
    from erf_tools.models.weight_folder import weights_folder

    say(str(find_file(name).path if name else weights_folder()))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="A model or a file.")],
) -> None:
    """Delete a weight file from the cache."""
    from erf_tools.models import weight_files

    file = weight_files.find_file(name)
    weight_files.remove(file)
    say(f"removed {file.path}")
