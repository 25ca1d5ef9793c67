"""Results made up for tests: maps in closed form, all else as a measurement says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from erf_tools.erf.maps import ERF, MeasuredImage
from erf_tools.erf.protocols import find_protocol
from erf_tools.studies.shape_bias import measure_decisions

#: A name that would do something if it were taken for markup.
SCRIPT = "<script>document.title='taken'</script>&amp;</script>|$x$ $& \\alpha"


def blob(side: int, sigma: float) -> np.ndarray:
    """Return a Gaussian about the central pixel, with noise that does not compress."""
    away = np.arange(side) - side // 2
    noise = np.random.default_rng(0).uniform(0.5, 1.5, (side, side))
    return np.exp(-(away[:, None] ** 2 + away**2) / (2 * sigma**2)) * noise


def erf(name: str, total: np.ndarray, layer: str | None = None, **setting: Any) -> ERF:
    """Return a result of two images of an untrained network with a stride of 8."""
    height, width = total.shape
    protocol = find_protocol(setting.pop("protocol", "ding2022")).record()
    center = [height // 2 + 3, width // 2 + 3]
    weights = {
        "kind": "random",
        "label": "untrained",
        "source": "initialised with seed 0",
        "sha256": "0" * 64,
    }
    tap = {"name": layer or "last", "path": layer or "", "stage": None, "output_key": None}
    run = {
        "images": {"source": "builtin", "order": "spread", "seed": 0, "unreadable": []},
        "device": "cpu",
        "versions": {"erf-tools": "0"},
    }
    return ERF(
        total,
        tuple(MeasuredImage(f"{SCRIPT}{number}.png", str(number), "counted") for number in (0, 1)),
        {
            "model": {"name": name, "arguments": {}, "parameters": 1000, "weights": weights},
            "protocol": protocol,
            "unit": "center",
            "square": "center",
            "precision": "fp32",
            "resolution": [height, width],
            "tap": {**tap, "default": layer is None},
            "feature_map": [4, height // 8, width // 8],
            "units": [[height // 16, width // 16]],
            "center": center,
            "receptive_field": {
                "stride": [8, 8],
                "first": [-17, -17],
                "last": [23, 23],
                "unbounded": False,
                "basis": "dependency",
            },
            **setting,
        },
        (run,),
    )


def shape_bias_folder(folder: Path, name: str | None = None) -> Path:
    """Write the results of the published decision makers; AlexNet's under another name."""
    measure_decisions([], None, folder)
    if name is not None:
        quoted = '"' + name.replace('"', '""') + '"'
        for path in folder.glob("shape_bias*.csv"):
            path.write_text(path.read_text().replace("AlexNet (published)", quoted))
    return folder
