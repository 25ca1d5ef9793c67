"""Pages to look at results with: ``erf-tools report`` and ``erf-tools app``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from erf_tools.cli.options import Device, Offline, Output, split_names
from erf_tools.cli.outcomes import raise_failures, say
from erf_tools.errors import UsageError
from erf_tools.importing import heavy_imports


def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS...",
            help="Folders of `erf-tools erf`, `shape-bias` and `reliance`, folders that hold such "
            "folders, and erf.npz files.",
        ),
    ],
    output: Output = Path("results"),
) -> None:
    """Show results on one page that opens in any browser, without a network.

    It is report.html in the folder for the results.

    Example: erf-tools report results/erf results/shape_bias --output results
    """
    from erf_tools.report.page import report as write

    page = output / "report.html"
    failures = write(results, page)
    say(f"Written to {page}: {page.stat().st_size / 1e6:.1f} MB; open it in a browser")
    raise_failures(failures)


def explore(
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "--models",
            metavar="NAME,...",
            help="Names to offer before those of `erf-tools models`; timm's are taken as well.",
        ),
    ] = [],  # noqa: B006 - Typer copies it
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
    device: Device = "auto",
    offline: Offline = False,
) -> None:
    """Open a local page: click a pixel of an image, see what the unit there looks at.

    Example: erf-tools app --model efficientnet_lite0
    """
    from contextlib import suppress
    from importlib.util import find_spec
    from threading import Event

    if find_spec("gradio") is None:
        raise UsageError('the page needs Gradio: python -m pip install -e ".[app]"')
    from erf_tools.downloads import go_offline
    from erf_tools.explorer.server import ended_like_ctrl_c, listen, serve
    from erf_tools.explorer.uploads import uploads_folder

    if offline:
        go_offline()
    with ended_like_ctrl_c(), listen(host, port) as listener, uploads_folder() as uploads:
        with heavy_imports():
            from erf_tools.explorer.pictures import samples
            from erf_tools.explorer.session import Session

        session = Session(split_names(model), allow_any_model, device)
        with serve(session, samples(stimuli), listener, uploads), suppress(KeyboardInterrupt):
            if not listener.is_local:
                say(f"warning: whoever reaches {host} can run networks on this machine", err=True)
            say(f"{listener.address} (Ctrl+C ends it)")
            Event().wait()
