"""Results in a notebook: a picture, the main numbers, what to know of them, their origin.

The tables are pandas' own, which show themselves.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape

import pandas as pd

from erf_tools.erf.figures import comparison, heatmap
from erf_tools.erf.maps import ERF
from erf_tools.erf.shown_tables import main_columns, notes
from erf_tools.erf.tables import difference_table, erf_table
from erf_tools.errors import UsageError
from erf_tools.figures import own_style
from erf_tools.text import visible

#: Fine enough for a screen; a notebook keeps the picture.
_DOTS_PER_INCH = 110


@dataclass(frozen=True, eq=False)
class Comparison:
    """Results side by side; shows itself in a notebook.

    Attributes:
        results: in the order of the rows.
    """

    results: tuple[ERF, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per result, as :func:`~erf_tools.erf.tables.erf_table` has them."""
        return erf_table(self.results)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """All pairs measured on the same images, with paired 95 % intervals.

        As :func:`~erf_tools.erf.tables.difference_table` has them.
        """
        return difference_table(self.results)

    def _repr_html_(self) -> str:
        return as_html(self.results)

    def _repr_png_(self) -> bytes:
        return as_png(self.results)


def compare(results: Sequence[ERF]) -> Comparison:
    """Put results side by side: one table, paired differences, one figure on one scale.

    Args:
        results: of :func:`erf_tools.effective_receptive_field` or :meth:`erf_tools.ERF.load`.

    Raises:
        UsageError: there are none, or one is something else.
    """
    found = [results] if isinstance(results, ERF) else list(results)
    strange = [type(each).__name__ for each in found if not isinstance(each, ERF)]
    if strange or not found:
        raise UsageError(
            f"what is compared are ERFs; got {', '.join(strange) or 'none'}: give a list of "
            "results, as ERF.load reads them"
        )
    return Comparison(tuple(found))


def as_png(results: Sequence[ERF]) -> bytes:
    """Return the map of one result, or those of several on one scale, as PNG."""
    figure = heatmap(results[0]) if len(results) == 1 else comparison(results)
    written = io.BytesIO()
    with own_style():
        figure.savefig(written, format="png", dpi=_DOTS_PER_INCH)
    return written.getvalue()


def as_html(results: Sequence[ERF]) -> str:
    """Return picture, main numbers, notes and sources as HTML that stands for itself."""
    table = erf_table(results)
    below = [*notes(table), *map(_origin, results)]
    picture = b64encode(as_png(results)).decode()
    shown = main_columns(table).map(lambda cell: visible(str(cell)))
    return (
        f'<img alt="{escape("; ".join(visible(result.label) for result in results))}" '
        f'src="data:image/png;base64,{picture}">'
        f"{shown.to_html(index=False, border=0)}"
        f"<details><summary>what to know of these numbers</summary><ul>"
        f"{''.join(f'<li>{escape(visible(line))}</li>' for line in below)}</ul></details>"
    )


def _origin(result: ERF) -> str:
    """Return where a result comes from, in a line."""
    model, tap = result.setting["model"], result.setting["tap"]
    run = result.runs[0] if result.runs else {}
    version = run.get("versions", {}).get("erf-tools", "not known")
    return (
        f"{result.label}: weights {model['weights']['source']}, sha256 "
        f"{str(model['weights']['sha256'])[:12]}; layer {tap['name']}, unit "
        f"{result.setting['unit']}; {result.count} images; erf-tools {version}"
    )
