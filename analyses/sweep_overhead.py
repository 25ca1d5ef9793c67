"""What does a sweep cost beside the work? 100 models, 1,000 images, units that only sleep.

Claim: the coordinator stays below 1 GiB and adds less than 2 % to the time that the units take.

Method: a real plan of 100 models by 1,000 small images, done by the real coordinator and local
workers. A unit sleeps and leaves a part; the last of a measurement leaves its row. The time from
the first hand-out to the last outcome is compared with that of the naps alone on as many workers;
planning, starting workers and writing tables are told apart. ``--quick`` has shorter naps.

Refuted by: more than 1 GiB at any time, or more than 2 % for units of ten seconds, which those of
about 50 images exceed on any device.

Found (two cores, sixteen workers, 2,000 units; quick form): 0.88 GiB at most, most of it torch's
and timm's import. Naps of half a second, 62.5 s in all, took 63.5 s: 0.8 % of units of a second,
0.08 % of units of ten. Planning, sixteen starts on two cores and the tables took 23 s, once; with
that, 1.9 % of units of ten seconds.
"""

# Each worker imports this module: what is heavy is imported where it is used.
from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from analyses.programs import Output, Quick, run
from erf_tools.files import write_text
from erf_tools.sweep.folder import SweepFolder
from erf_tools.sweep.local import run_locally
from erf_tools.sweep.outcome import Outcome
from erf_tools.sweep.plan import Unit
from erf_tools.sweep.study import read_study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MODELS, _IMAGES, _WORKERS = 100, 1000, 16

#: Seconds that a unit sleeps.
_QUICK, _WHOLE = (0.5,), (0.5, 1.0, 4.0)

#: For these lengths of units the overhead is told, in seconds.
_TOLD = (1.0, 10.0, 60.0)

_ROW = "row.parquet"

_STUDY = """
output = "{output}"

[[models]]
names = {names}
weights = "random"

[images]
source = "{source}"
count = {count}

[[erf]]
name = "naps"
resolution = 1024
"""


def nap(unit: Unit, output: Path, device: str, seconds: float) -> Outcome:
    """Sleep instead of measuring, and leave as many files as measuring does."""
    time.sleep(seconds)
    folder, measurement = SweepFolder(output), unit.measurement
    write_text(folder.part(unit.id), "")
    if folder.has_parts(measurement):
        file = str(Path(measurement.marker).with_name("erf.npz"))
        write_text(output / file, "")
        row = pd.read_parquet(output / _ROW)
        folder.finish(measurement, row.assign(model=measurement.request.model, file=file))
    return Outcome(unit.id, len(unit.names), seconds)


def _measure(path: Path) -> None:
    """Write a row as a measurement gives it."""
    from erf_tools.erf.gradients import effective_receptive_field
    from erf_tools.erf.tables import erf_table
    from erf_tools.models.loading import load_model

    result = effective_receptive_field(
        load_model("resnet18", "random"), num_images=2, resolution=32
    )
    erf_table([result]).to_parquet(path)


def simulate(seconds: float, models: int, images: int, workers: int, folder: Path) -> pd.Series:
    """Run a sweep of naps in an empty folder.

    Returns:
        ``units``; in seconds, ``naps`` (on so many workers), ``work`` (from the first hand-out to
        the last outcome), ``around`` (planning, starting, tables); ``peak``: the most memory that
        this process has had, in bytes.
    """
    from erf_tools.sweep.coordinator import sweep

    pictures, output = folder / "images", folder / "out"
    pictures.mkdir()
    output.mkdir()
    generator = np.random.default_rng(0)
    for number in range(images):
        pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number:04d}.png")
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:  # the coordinator measures none
        elsewhere.submit(_measure, output / _ROW).result()
    (folder / "study.toml").write_text(
        _STUDY.format(
            output=output,
            names=[f"model{number}" for number in range(models)],
            source=pictures,
            count=images,
        )
    )
    study = read_study(folder / "study.toml")
    first: list[float] = []
    last: list[float] = []

    def execute(units: Sequence[Unit], output: Path) -> Iterator[Outcome]:
        work = partial(nap, seconds=seconds)
        for outcome in run_locally(units, output, work, ["cpu"] * workers):
            first.extend([time.perf_counter() - seconds] * (not first))
            last[:] = [time.perf_counter()]
            yield outcome

    started = time.perf_counter()
    done = sweep(study, output, execute, progress=True)
    whole, work = time.perf_counter() - started, last[0] - first[0]
    assert set(done.table["status"]) == {"done"}
    units = len(done.plan.units)
    return pd.Series(
        {
            "seconds": seconds,
            "units": units,
            "workers": workers,
            "naps": ceil(units / workers) * seconds,
            "work": work,
            "around": whole - work,
            "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }
    )


def overhead(table: pd.DataFrame, seconds: float) -> pd.Series:
    """Return what the units of each run would have added to units of ``seconds``, as a share."""
    turns = table["naps"] / table["seconds"]
    return (table["work"] - table["naps"]) / turns / seconds


def draw(table: pd.DataFrame) -> Figure:
    """Draw the overhead against the length of a unit, with the limit."""
    from matplotlib.figure import Figure

    from erf_tools.figures import COLOURS, COLUMN, draw_grid, own_style

    with own_style():
        figure = Figure(figsize=(COLUMN, COLUMN * 0.75), layout="constrained")
        axes = figure.add_subplot()
        lengths = np.geomspace(0.1, 100, 50)
        for colour, (_, row) in zip(COLOURS, table.iterrows(), strict=False):
            shares = [100 * overhead(row.to_frame().T, length).iloc[0] for length in lengths]
            axes.plot(lengths, shares, color=colour, label=f"from naps of {row['seconds']:g} s")
        axes.axhline(2, color="black", linewidth=0.8, linestyle="dashed", label="limit: 2 %")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("length of a unit, s")
        axes.set_ylabel("overhead, % of the work")
        axes.legend(frameon=False)
        draw_grid(axes)
        return figure


def main(output: Output = Path("results/sweep_overhead"), quick: Quick = False) -> None:
    """Measure the overhead of sweeps."""
    from analyses.programs import publish

    rows = []
    for seconds in _QUICK if quick else _WHOLE:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(simulate(seconds, _MODELS, _IMAGES, _WORKERS, Path(folder)))
    table = pd.DataFrame(rows)
    for length in _TOLD:
        table[f"overhead_{length:g}"] = overhead(table, length)
    shown = pd.DataFrame(
        {
            "Nap, s": table["seconds"].map("{:g}".format),
            "Units": table["units"].map("{:.0f}".format),
            "Workers": table["workers"].map("{:.0f}".format),
            "Naps, s": table["naps"].map("{:.1f}".format),
            "Work, s": table["work"].map("{:.1f}".format),
            "Around it, s": table["around"].map("{:.1f}".format),
            **{
                f"Overhead of {length:g} s units, %": (100 * table[f"overhead_{length:g}"]).map(
                    "{:.2f}".format
                )
                for length in _TOLD
            },
            "Peak memory, MB": (table["peak"] / 1e6).map("{:.0f}".format),
        }
    )
    worst, peak = 100 * table["overhead_10"].max(), table["peak"].max()
    remarks = [
        f"{_MODELS} models x {_IMAGES} images on {_WORKERS} workers of this machine: the "
        f"coordinator had {peak / 2**30:.2f} GiB at most; units of 10 s take {worst:.2f} % longer.",
        "Work: from the first hand-out to the last outcome. Around it: reading the images, "
        "starting workers, writing tables.",
    ]
    setting = {"models": _MODELS, "images": _IMAGES, "workers": _WORKERS, "quick": quick}
    publish(output, "sweep_overhead", table, shown, remarks, draw(table), setting)


if __name__ == "__main__":
    run(main)
