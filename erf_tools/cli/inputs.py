"""What is measured, made ready beforehand: models and images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from erf_tools.cli.options import split_names

if TYPE_CHECKING:
    from erf_tools.images import Selection
    from erf_tools.models.requests import Request


def wanted_models(models: list[str], weights: list[str], offline: bool) -> list[Request]:
    """Check names, and fetch what is missing, before anything heavy is loaded for it."""
    from erf_tools.downloads import go_offline
    from erf_tools.models import weight_files
    from erf_tools.models.catalogue import ENTRIES
    from erf_tools.models.requests import requests

    if offline:
        go_offline()
    wanted = requests(split_names(models), split_names(weights))
    if others := [request.model for request in wanted if request.model not in ENTRIES]:
        from erf_tools.models.loading import is_factory, resolve

        for name in others:
            if not is_factory(name):
                resolve(name)
    weight_files.prefetch({request.model: request.weights for request in wanted}, progress=True)
    return wanted


def report_images(selection: Selection, asked: int) -> None:
    """Say which images are left out, and whether there are fewer than asked for."""
    for name, reason in selection.unreadable:
        typer.echo(f"skipped {name}: {reason}", err=True)
    if selection.unreadable:
        typer.echo(f"{len(selection.unreadable)} images could not be read", err=True)
    if len(selection) < asked:
        typer.echo(f"{selection.source} has {len(selection)} images: using all of them", err=True)
