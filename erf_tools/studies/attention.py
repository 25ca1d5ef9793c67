"""A study of attention distances: several transformers on the same images, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from erf_tools.erf.attention import attention_distances, setting_of
from erf_tools.erf.attention_distances import (
    NOTES,
    AttentionDistances,
    attention_table,
    layer_table,
    readable,
)
from erf_tools.erf.attention_figure import attention_figure
from erf_tools.erf.procedure import Procedure
from erf_tools.failures import Failures
from erf_tools.figures import save_figure
from erf_tools.images import PixelStore, Selection
from erf_tools.models.requests import Request
from erf_tools.studies.recorded import RecordedStudy, measure_recorded
from erf_tools.studies.requested import load_requested
from erf_tools.tables import write_tables


def measure_attention(
    wanted: Sequence[Request],
    selection: Selection,
    output: Path,
    procedure: Procedure | None = None,
    device: str = "auto",
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> RecordedStudy[AttentionDistances]:
    """Measure how far the heads of each transformer attend.

    For the arguments and the rules see :func:`erf_tools.studies.erf.measure_erfs`; of the procedure
    resolution and transform count.

    Raises:
        UsageError: the folder holds another result of a network.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no network could be measured.
    """
    procedure, store = procedure or Procedure(), PixelStore()
    return measure_recorded(
        AttentionDistances,
        wanted,
        selection,
        output,
        overwrite,
        partial(load_requested, procedure=procedure, seed=seed),
        partial(setting_of, procedure=procedure),
        lambda model: attention_distances(model, selection, procedure, device, progress, store),
        partial(_write, output),
    )


def _write(output: Path, results: Sequence[AttentionDistances], failures: Failures) -> list[Path]:
    files: list[Path] = []
    with failures.alone("attention.csv"):
        table, shown = attention_table(results), readable(layer_table(results))
        files += write_tables(output / "attention", table, shown, NOTES)
    with failures.alone("attention.png"):
        provenance = {"results": [result.record() for result in results]}
        files += save_figure(attention_figure(results), output / "attention", provenance)
    return files
