"""What a page shows of pixels' contributions to all units, as JSON values."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from erf_tools.erf.dead_pixels import (
    BRIGHTEST,
    PixelContributions,
    dead_pixel_table,
    notes,
    percentages,
    relative,
)
from erf_tools.report.coded_maps import block_means, block_sides
from erf_tools.text import dimensions

#: Colours of a picture: few, so that it takes few bytes.
_COLOURS = 64


def dead_content(results: Sequence[PixelContributions]) -> list[dict[str, Any]]:
    """Return each map as a picture, with its share of dead pixels; notes stand with the first."""
    if not results:
        return []
    table = dead_pixel_table(results)
    blocks = block_sides([result.map.shape for result in results])
    return [
        {
            "label": result.label,
            "share": f"{share} %",
            "details": _details(result, block),
            "png": _picture(result, block),
            "notes": notes(table),
        }
        for result, share, block in zip(results, percentages(table), blocks, strict=True)
    ]


def _details(result: PixelContributions, block: int) -> str:
    size = dimensions(result.map.shape)
    means = f", shown as means of blocks of {block} pixels" if block > 1 else ""
    count = len(result.images)
    return f"{size}, {result.setting['protocol']['name']}, {count} images{means}"


def _picture(result: PixelContributions, block: int) -> str:
    """Return a PNG of the map as a ``data:`` address."""
    shares = np.clip(relative(block_means(result.map, block)) / BRIGHTEST, 0, 1)
    image = Image.fromarray(np.rint(shares * (_COLOURS - 1)).astype(np.uint8))
    colours = colormaps["magma"](np.linspace(0, 1, _COLOURS), bytes=True)[:, :3]
    image.putpalette(colours.tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
