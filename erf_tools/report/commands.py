"""The command that remakes a result, from what the result says of itself."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from erf_tools.erf.maps import ERF

_SEED = re.compile(r"initialised with seed (\d+)")
_GIVEN_IMAGES = re.compile(r"\d+ given images")


def erf_command(result: ERF) -> str | None:
    """Return the ``erf-tools erf`` command that measures a result again.

    Paths are as they were given: it is to be run in the same folder. ``None`` where no single
    command does: merged results, networks and images handed over in Python, inputs that are not
    square.
    """
    setting = result.setting
    weights = _weights(setting["model"])
    height, width = setting["resolution"]
    if weights is None or height != width or len(result.runs) != 1:
        return None
    images = result.runs[0]["images"]
    seed = _SEED.match(setting["model"]["weights"]["source"])
    if _GIVEN_IMAGES.fullmatch(images["source"]) or (seed and int(seed[1]) != images["seed"]):
        return None
    name, *changes = setting["protocol"]["name"].split("+")
    words = ["erf-tools", "erf", "--model", result.name, "--weights", weights]
    words += ["--images", images["source"], "--num-images", str(len(result.images))]
    words += ["--order", images["order"], "--seed", str(images["seed"])]
    words += ["--resolution", str(height), "--protocol", name]
    for change in changes:
        choice, _, value = change.partition("=")
        words += [f"--{choice}", value]
    words += _layer(setting["tap"])
    words += ["--unit", setting["unit"], "--square", setting["square"]]
    words += ["--precision", setting["precision"]]
    if labels := result.runs[0].get("labels"):
        words += ["--labels", labels]
    return shlex.join(words)


def shape_bias_command(record: Mapping[str, Any]) -> str | None:
    """Return the ``erf-tools shape-bias`` command that makes a decision maker's row again.

    Args:
        record: its provenance. ``None`` is returned for what comes with the package, for observers
            pooled, and for a ``--label-map``, of which only the content is kept.
    """
    if record.get("kind") == "published decisions":
        files = [word for file in record["files"] for word in ("--decisions", file)]
        return shlex.join(["erf-tools", "shape-bias", *files, "--no-reference"])
    if record.get("kind") != "network" or record.get("label_map"):
        return None
    weights, stimuli = _weights(record["model"]), record["stimuli"]
    if weights is None:
        return None
    words = ["erf-tools", "shape-bias", "--model", record["model"]["name"], "--weights", weights]
    words += ["--stimuli", stimuli["source"], *(["--allow-partial"] * bool(stimuli["deviations"]))]
    words += ["--preset", record["preset"], "--aggregation", record["aggregation"]]
    if seed := _SEED.match(record["model"]["weights"]["source"]):
        words += ["--seed", seed[1]]
    return shlex.join(words)


def _weights(model: Mapping[str, Any]) -> str | None:
    """Return the value of ``--weights``; ``None`` for a network that was handed over in Python."""
    kind = model["weights"]["kind"]
    if kind == "file":
        return str(model["weights"]["source"])
    if kind == "given":
        return "pretrained" if ":" in model["name"] else None
    return str(kind)


def _layer(tap: Mapping[str, Any]) -> list[str]:
    if tap["default"]:
        return []
    if tap["stage"] is not None:
        return ["--stages"]
    key = [] if tap["output_key"] is None else ["--output-key", tap["output_key"]]
    return ["--layer", tap["path"], *key]
