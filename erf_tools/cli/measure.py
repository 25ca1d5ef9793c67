"""The command ``erf-tools measure``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from erf_tools.cli.options import NoReference, Output, Overwrite, split_names
from erf_tools.cli.outcomes import print_study, raise_failures
from erf_tools.errors import UsageError


def measure(
    maps: Annotated[
        list[Path],
        typer.Argument(
            metavar="MAP.npy...",
            help="Maps [height, width] that others have saved; folders of `erf-tools erf` and "
            "erf.npz files are put beside.",
        ),
    ],
    name: Annotated[
        list[str],
        typer.Option(
            "--name",
            "--names",
            metavar="NAME,...",
            help="What each map is called, in the same order.",
            show_default="the files' names",
        ),
    ] = [],  # noqa: B006 - Typer copies it
    no_reference: NoReference = False,
    output: Output = Path("results/measure"),
    overwrite: Overwrite = False,
) -> None:
    """Measure maps that others have made, as published scripts save them: the same table and page.

    Example: erf-tools measure slak_erf.npy --name SLaK-T
    """
    from erf_tools.erf.maps import ERF
    from erf_tools.erf.others import OthersMap
    from erf_tools.failures import Failures
    from erf_tools.report.results import find_results
    from erf_tools.studies.maps import measure_maps

    given = [path for path in maps if not path.is_dir() and path.suffix != ".npz"]
    names = split_names(name)
    if names and len(names) != len(given):
        raise UsageError(
            f"--name gives {len(names)} names for {len(given)} maps; give one for each, or none"
        )
    failures = Failures()
    beside = find_results([path for path in maps if path not in given], failures)
    outcome = measure_maps(
        [
            *(
                OthersMap.read(*each)
                for each in zip(given, names or [""] * len(given), strict=True)
            ),
            *map(OthersMap.load, beside["others"]),
        ],
        [ERF.load(path) for path in beside["erfs"]],
        output,
        reference=not no_reference,
        overwrite=overwrite,
    )
    print_study(outcome, output)
    raise_failures([*failures, *outcome.failures])
