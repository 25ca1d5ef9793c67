"""The figure of an audit: which protocol puts which network first, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from erf_tools.erf.audit import audited, protocol_of, tau_matrix
from erf_tools.erf.maps import ERF
from erf_tools.erf.protocols import Protocol
from erf_tools.figures import (
    PAGE,
    draw_estimates,
    draw_grid,
    label_lines,
    line_styles,
    literal,
    own_style,
)
from erf_tools.tables import numbers

_MEASURE = "effective_side"


def audit_figure(results: Sequence[ERF], agreement: pd.DataFrame) -> Figure:
    """Draw the effective side by protocol, a line per network, beside Kendall's tau.

    Lines that cross are networks whose order flips. Protocols of the same maps share a place.

    Args:
        results: of all networks and protocols.
        agreement: :func:`~erf_tools.erf.audit.agreement_table` of them.
    """
    places: dict[tuple[str | bool, ...], list[str]] = {}
    for result in results:
        names = places.setdefault(Protocol(**result.setting["protocol"]).defines, [])
        if protocol_of(result) not in names:
            names.append(protocol_of(result))
    labels = ["\n".join(literal(name) for name in names) for names in places.values()]
    first = [names[0] for names in places.values()]
    networks = audited(results)
    with own_style():
        figure = Figure(figsize=(PAGE, 3.1), layout="constrained")
        lines, matrix = figure.subplots(1, 2, width_ratios=[1.5, 1])
        draw_grid(lines)
        aside = np.linspace(-0.1, 0.1, len(networks)) if len(networks) > 1 else [0.0]
        for (name, own), line, shift in zip(
            networks.items(), line_styles(len(networks)), aside, strict=True
        ):
            there = [place for place, protocol in enumerate(first) if protocol in own]
            sides = [own[first[place]].measures.estimate(_MEASURE) for place in there]
            # Beside one another, or one hides the next.
            draw_estimates(lines, [place + shift for place in there], sides, literal(name), line)
        lines.set_xticks(range(len(labels)), labels, fontsize=6)
        lines.set_xlim(-0.4, len(labels) - 0.6)
        lines.set_ylim(0, 1.08 * lines.get_ylim()[1])
        lines.set_ylabel("effective side, pixels")
        lines.set_title("lines that cross: the order flips")
        values = tau_matrix(agreement, first, _MEASURE)
        matrix.imshow(np.nan_to_num(values), cmap="PuOr", vmin=-1, vmax=1)
        for (row, column), tau in np.ndenumerate(values):
            (text,) = numbers([tau], "{:.2f}".format)
            dark = abs(np.nan_to_num(tau)) > 0.6
            colour = "white" if dark else "black"
            matrix.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
        matrix.set_xticks(range(len(first)), first, rotation=45, ha="right", fontsize=6)
        matrix.set_yticks(range(len(first)), first, fontsize=6)
        matrix.set_title("Kendall's tau between the orders")
        label_lines(figure, lines)
        return figure
