"""What figures share: style for papers, and saving with provenance.

Figures are made without pyplot: no global state, no window, safe in threads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from erf_tools.provenance import atomic_path

#: Widths of one and of two columns of a paper, inches.
COLUMN, PAGE = 3.5, 7.16

STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "pdf.fonttype": 42,  # text stays text in the PDF
}


def save_figure(figure: Figure, stem: Path, provenance: Mapping[str, Any]) -> list[Path]:
    """Write a figure as ``stem.png`` and ``stem.pdf`` with its provenance in their metadata."""
    text = json.dumps(provenance, sort_keys=True)
    paths = []
    for suffix, metadata in (
        (".png", {"Description": text}),
        (".pdf", {"Subject": text, "CreationDate": None}),
    ):
        path = stem.with_name(stem.name + suffix)
        with atomic_path(path) as temporary, rc_context(STYLE):
            figure.savefig(temporary, dpi=300, metadata=metadata)
        paths.append(path)
    return paths
