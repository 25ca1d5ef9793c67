"""What pixels contribute to all units, as JSON values."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from erf_tools.erf import dead_pixels
from erf_tools.erf.dead_pixels import PixelContributions
from erf_tools.report.coded_maps import block_means, block_sides
from erf_tools.report.context import Context
from erf_tools.tables import NONE
from erf_tools.text import dimensions

#: Colours of a picture: few, so that it takes few bytes.
_COLOURS = 64


def content(context: Context) -> list[dict[str, Any]]:
    """Return each map as a picture, with its share of dead pixels; notes stand with the first."""
    results = context.results.dead
    if not results:
        return []
    table = dead_pixels.dead_pixel_table(results)
    shares = dead_pixels.percentages(table)
    blocks = block_sides([result.map.shape for result in results])
    return [
        {
            "label": result.label,
            "share": share if share == NONE else f"{share} %",
            "details": _details(result, block),
            "png": _picture(result, block),
            "notes": dead_pixels.notes(table),
        }
        for result, share, block in zip(results, shares, blocks, strict=True)
    ]


def _details(result: PixelContributions, block: int) -> str:
    size = dimensions(result.map.shape)
    means = f", shown as means of blocks of {block} pixels" if block > 1 else ""
    count = len(result.images)
    return f"{size}, {result.setting['protocol']['name']}, {count} images{means}"


def _picture(result: PixelContributions, block: int) -> str:
    """Return a PNG of the map as a ``data:`` address."""
    relative = dead_pixels.relative(block_means(result.map, block))
    shares = np.clip(relative / dead_pixels.BRIGHTEST, 0, 1)
    image = Image.fromarray(np.rint(shares * (_COLOURS - 1)).astype(np.uint8))
    colours = colormaps["magma"](np.linspace(0, 1, _COLOURS), bytes=True)[:, :3]
    image.putpalette(colours.tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
