"""One image under all suppressions as one picture, which pages show part by part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from erf_tools.files import atomic_path
from erf_tools.reliance.suppressions import Suppression

_QUALITY = 88


def sheet(versions: np.ndarray, rows: Sequence[Suppression], above: int = 0) -> np.ndarray:
    """Return a row per suppression, of which the first cell is the unchanged image; white else.

    Args:
        versions: uint8 ``[1 + variants, height, width, 3]``; see
            :func:`~erf_tools.reliance.suppressions.suppress`.
        rows: the suppressions.
        above: white pixels above each row.

    Returns:
        uint8 ``[rows * (above + height), cells * width, 3]``.
    """
    unchanged, left = versions[0], iter(versions[1:])
    height, width, _ = unchanged.shape
    columns = 1 + max(len(row.strengths) for row in rows)
    drawn = np.full((len(rows), above + height, columns * width, 3), 255, dtype=np.uint8)
    for line, row in zip(drawn, rows, strict=True):
        cells = [unchanged, *(next(left) for _ in row.strengths)]
        line[above:, : len(cells) * width] = np.concatenate(cells, axis=1)
    return drawn.reshape(-1, *drawn.shape[2:])


def save_sheet(versions: np.ndarray, rows: Sequence[Suppression], path: Path) -> Path:
    """Write :func:`sheet` as JPEG.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(sheet(versions, rows)).save(temporary, "JPEG", quality=_QUALITY)
    return path
