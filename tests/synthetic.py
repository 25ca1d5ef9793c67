"""Results made up for tests: maps in closed form, all else as a measurement says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from erf_tools.erf.maps import ERF, MeasuredImage
from erf_tools.erf.protocols import find_protocol
from erf_tools.failures import Failures
from erf_tools.reliance.changes import CHANGES
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.reliance.suppressions import chosen, variants
from erf_tools.studies import reliance
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


def with_weights(result: ERF, file: str, sha256: str) -> ERF:
    """Return a result as if it were of the weights of a file."""
    weights = {"kind": "file", "label": Path(file).name, "source": file, "sha256": sha256}
    model = {**result.setting["model"], "weights": weights}
    return replace(result, setting={**result.setting, "model": model})


def answers(name: str, cues: str = "gray,patch-shuffle", seed: int = 0) -> SuppressedAnswers:
    """Return answers of a network of ten classes to twelve images, most of them right."""
    rows = chosen(cues)
    generator = np.random.default_rng(seed)
    found = np.where(generator.random((12, 1 + len(list(variants(rows))))) < 0.8, 0, 3)
    return SuppressedAnswers(
        {
            "model": erf(name, np.ones((8, 8))).setting["model"],
            "suppressions": {row.name: row.record() for row in rows},
            "label_map": None,
            "output_key": None,
            "seed": 0,
            "view": "as it is",
            "versions": {"erf-tools": "0"},
        },
        {
            **{"source": "photographs", "order": "spread", "seed": 0},
            **{"count": 12, "selected": 12, "labels": None, "label_map": None},
        },
        tuple(f"{SCRIPT}{number}.png" for number in range(12)),
        tuple(f"{number:064x}" for number in range(12)),
        found,
        {"accuracy": found == 0},
        generator.random((*found.shape, len(CHANGES))),
        np.full(12, 0.1),
        generator.integers(0, 256, (7, 7, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1),
    )


def reliance_folder(folder: Path, *names: str) -> Path:
    """Write made-up results of ``erf-tools reliance``, without its figures."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("erf_tools.studies.written.save_figure", lambda *_: [])
        results = [answers(name, seed=seed) for seed, name in enumerate(names)]
        reliance.write_reliance(results, folder, Failures())
    return folder


def shape_bias_folder(folder: Path, name: str | None = None) -> Path:
    """Write the results of the published decision makers; AlexNet's under another name."""
    measure_decisions([], None, folder)
    if name is not None:
        quoted = '"' + name.replace('"', '""') + '"'
        for path in folder.glob("shape_bias*.csv"):
            path.write_text(path.read_text().replace("AlexNet (published)", quoted))
    return folder
