"""The command ``erf-tools sweep``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from erf_tools.cli.inputs import report_images
from erf_tools.cli.options import Device, Offline
from erf_tools.cli.outcomes import print_table, raise_failures, say, say_written
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.importing import heavy_imports

if TYPE_CHECKING:
    from erf_tools.sweep.coordinator import Executor
    from erf_tools.sweep.outcome import Outcome
    from erf_tools.sweep.plan import Unit
    from erf_tools.sweep.study import StudyFile

_PACKAGES = {"slurm": "submitit", "ray": "ray"}


def sweep(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="What is to be measured.")],
    executor: Annotated[
        Literal["local", "slurm", "ray"],
        typer.Option(
            help="Where: in a process per GPU of this machine (or one on its CPU), as jobs of the "
            "SLURM cluster it belongs to, or on a Ray cluster."
        ),
    ] = "local",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Of the Ray cluster; auto: this machine's.")
    ] = "auto",
    status: Annotated[
        bool, typer.Option("--status", help="Say what is done, failed and missing; do nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and a time estimate; do nothing.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what has failed.")
    ] = False,
    device: Device = "auto",
    offline: Offline = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for the results.", show_default="as the study says"
        ),
    ] = None,
) -> None:
    """Measure many models over many images, in units that survive: run it again to go on.

    Example: erf-tools sweep analyses/studies/backbones.toml --dry-run
    """
    from erf_tools.downloads import go_offline
    from erf_tools.sweep.study import read_study

    if offline:
        go_offline()
    if device != "auto" and executor != "local":
        raise UsageError(
            f"--device is for --executor local; what a worker gets of the {executor} cluster is "
            f"said in the study's table [{executor}]"
        )
    wanted = read_study(study)
    folder = output or Path(wanted.output).expanduser()
    if status:
        _print_status(folder)
    elif dry_run:
        _print_plan(wanted, folder, device, retry_failed)
    else:
        _run(wanted, folder, _executor(executor, wanted, address, device), retry_failed)


def _executor(name: str, study: StudyFile, address: str, device: str) -> Executor:
    from importlib.util import find_spec

    package = _PACKAGES.get(name)
    if package and find_spec(package) is None:
        raise UsageError(f'--executor {name} needs {package}: python -m pip install -e ".[{name}]"')
    with heavy_imports():
        from erf_tools.sweep.work import perform

    devices = _devices(device) if name == "local" else []

    def execute(units: Sequence[Unit], folder: Path) -> Iterator[Outcome]:
        threads = units[0].measurement.threads
        if name == "ray":
            from erf_tools.sweep.on_ray import run_on_ray

            return run_on_ray(units, folder, perform, address, threads, study.ray)
        if name == "slurm":
            from erf_tools.sweep.on_slurm import run_on_slurm

            return run_on_slurm(units, folder, perform, threads, study.slurm)
        from erf_tools.sweep.local import run_locally

        return run_locally(units, folder, perform, devices)

    return execute


def _devices(device: str) -> list[str]:
    """Return the devices of this machine that do units.

    Raises:
        UsageError: there is no such device.
    """
    with heavy_imports():
        from torch import cuda

        from erf_tools.kernels.devices import check_device

    if device != "auto":
        check_device(device)
        return [device]
    return [f"cuda:{index}" for index in range(cuda.device_count())] or ["cpu"]


def _run(study: StudyFile, folder: Path, execute: Executor, retry_failed: bool) -> None:
    with heavy_imports():
        from erf_tools.sweep.coordinator import sweep as run_sweep

    done = run_sweep(study, folder, execute, retry_failed, progress=True)
    if done.plan.selection:
        report_images(done.plan.selection, study.images.count)
    if done.reused:
        say(f"{done.reused} of {len(done.plan.units)} units had been done before", err=True)
    _print_status(folder)
    say_written(folder, done.files)
    say(f"All of it on one page: erf-tools report {folder}")
    failures = list(done.unwritten)
    if done.failures:
        failures.append(
            ErfToolsError(
                f"{len(done.failures)} of {len(done.plan.units)} units failed; "
                f"{folder / 'sweep.csv'} lists them, and --retry-failed tries them again"
            )
        )
    raise_failures(failures)


def _print_status(folder: Path) -> None:
    from erf_tools.sweep.folder import SweepFolder

    status = SweepFolder(folder).status()
    counts = status.groupby("protocol", sort=False)
    numbers = counts[["images", "units", "done", "failed", "missing"]].sum()
    print_table(numbers.reset_index().assign(models=counts["model"].nunique().to_numpy()))
    for row in status[status["failed"] > 0].itertuples():
        say(f"{row.model}, {row.protocol}: {row.failed} units failed: {row.reason}")


def _print_plan(study: StudyFile, folder: Path, device: str, retry_failed: bool) -> None:
    from datetime import timedelta

    import pandas as pd

    from erf_tools.sweep.estimate import estimate
    from erf_tools.sweep.folder import SweepFolder
    from erf_tools.sweep.plan import make_plan

    known = SweepFolder(folder)
    plan = make_plan(study, known.threads, progress=True)
    if plan.selection:
        report_images(plan.selection, study.images.count)
    todo = known.pending(plan, retry_failed)
    waiting = {unit.id for unit in todo}
    rows = [{**each.record(), "to do": len(waiting & {*each.units})} for each in plan.measurements]
    table = pd.DataFrame(rows).assign(units=[each.shards for each in plan.measurements])
    print_table(table[["protocol", "model", "weights", "images", "units", "to do"]])
    say()
    say(f"{len(todo)} of {len(plan.units)} units to do, into {folder}")
    if not todo:
        return
    first = _devices(device)[0]
    found = estimate(todo, first, progress=True)
    say(
        f"About {timedelta(seconds=round(found.seconds))} on one worker like this machine's "
        f"{first}, to a factor of three, by operations; and {found.networks} networks to prepare"
    )
    for name, reason in found.not_counted.items():
        say(f"not in the estimate: {name}: {reason}")
