"""The command that remakes a result, from what the result says of itself."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from erf_tools.choices import declared, words
from erf_tools.cue_conflict.choices import Deciding, HeadFree, StimulusChoices
from erf_tools.erf.maps import ERF
from erf_tools.erf.procedure import PROCEDURE, Procedure
from erf_tools.errors import UsageError
from erf_tools.image_choices import ImageChoices
from erf_tools.images import are_given
from erf_tools.labels import ASKED
from erf_tools.models.requests import Layers
from erf_tools.perturbation.choices import CHECKING
from erf_tools.perturbation.result import PerturbationERF
from erf_tools.reliance.choices import Suppressing
from erf_tools.reliance.suppressions import asking_for, recorded

_SEED = re.compile(r"initialised with seed (\d+)")


def erf_command(result: ERF, check: PerturbationERF | None = None) -> str | None:
    """Return the ``erf-tools erf`` command that measures a result again, and checks it again.

    Paths are as they were given: it is to be run in the same folder. ``None`` where no single
    command does: merged results, networks, layers, images and protocols handed over in Python,
    inputs that are not square.

    Args:
        result: the result.
        check: of this result, where there is one.
    """
    setting = result.setting
    weights, layers = _weights(setting["model"]), Layers.recorded(setting["tap"])
    height, width = setting["resolution"]
    if weights is None or layers is None or height != width or len(result.runs) != 1:
        return None
    (run,) = result.runs
    source, order, drawn = (run["images"][key] for key in ("source", "order", "seed"))
    seed = _SEED.match(setting["model"]["weights"]["source"])
    if are_given(source) or (seed and int(seed[1]) != drawn):
        return None
    try:
        procedure = Procedure.recorded(setting).chosen
    except UsageError:
        return None
    images = ImageChoices(source, len(result.images), order, run.get("labels"))
    return shlex.join(
        [
            *_measuring("erf", setting["model"], weights),
            *words(declared(ImageChoices), vars(images)),
            *words(PROCEDURE, procedure),
            *words(declared(Layers), vars(layers)),
            *("--seed", str(drawn)),
            *(["--check", *words(CHECKING, check.setting["check"])] if check else ()),
        ]
    )


def shape_bias_command(record: Mapping[str, Any]) -> str | None:
    """Return the ``erf-tools shape-bias`` command that makes a decision maker's row again.

    Args:
        record: its provenance. ``None`` is returned for what comes with the package, for observers
            pooled, and for a ``--label-map``, of which only the content is kept.
    """
    if record.get("kind") == "published decisions":
        files = [word for file in record["files"] for word in ("--decisions", file)]
        if record.get("categories_file"):
            files += ["--categories", record["categories_file"]]
        return shlex.join(["erf-tools", "shape-bias", *files, "--no-reference"])
    if record.get("kind") != "network" or record.get("label_map"):
        return None
    deciding = {each.name: record.get(each.name) for each in declared(Deciding)}
    return _on_stimuli(record, words(declared(Deciding), deciding))


def head_free_command(record: Mapping[str, Any]) -> str | None:
    """Return the ``erf-tools shape-bias --head-free`` command that measures layers again.

    Args:
        record: provenance of a network's layers. ``None`` is returned for layers that only Python
            gives, as for :func:`erf_command`.
    """
    taps = record["layers"]
    named: list[str] = []
    # Stages, and the last map where there are none, are what is measured unasked.
    if not all(tap.get("default") or tap["stage"] is not None for tap in taps):
        for tap in taps:
            found = Layers.recorded({**tap, "default": False})
            if found is None or not found.layers:
                return None
            named += found.layers
    chosen = HeadFree(True, tuple(named), record["similarity"])
    deciding = Deciding(record["preset"], output_key=taps[0]["output_key"] if named else None)
    own = [each for each in declared(Deciding) if each.name in ("preset", "output_key")]
    choices = words(own, vars(deciding)) + words(declared(HeadFree), vars(chosen))
    return _on_stimuli(record, choices)


def _on_stimuli(record: Mapping[str, Any], choices: Sequence[str]) -> str | None:
    """Return a command about stimuli; ``None`` where no command gives the network or categories."""
    weights, stimuli = _weights(record["model"]), record["stimuli"]
    categories = stimuli.get("categories_file") or None
    if weights is None or (stimuli.get("categories") and not categories):
        return None
    shown = StimulusChoices(stimuli["source"], bool(stimuli["deviations"]), categories)
    seed = _SEED.match(record["model"]["weights"]["source"])
    return shlex.join(
        [
            *_measuring("shape-bias", record["model"], weights),
            *words(declared(StimulusChoices), vars(shown)),
            *choices,
            *(("--seed", seed[1]) if seed else ()),
        ]
    )


def reliance_command(setting: Mapping[str, Any], images: Mapping[str, Any]) -> str | None:
    """Return the ``erf-tools reliance`` command that lets a network answer again.

    Args:
        setting: all that its answers depend on but for the images.
        images: where these come from.

    ``None`` is returned where no single command does; see :func:`erf_command`.
    """
    model, drawn, weights = setting["model"], setting["seed"], _weights(setting["model"])
    seed = _SEED.match(model["weights"]["source"])
    if weights is None or setting["label_map"] or (seed and int(seed[1]) != drawn):
        return None
    if images.get("kind") == "cue conflict":
        chosen = StimulusChoices(images["source"], bool(images["deviations"]))
        shown = words(declared(StimulusChoices), vars(chosen))
    elif are_given(images["source"]) or images["order"] != "spread" or images["seed"] != drawn:
        return None
    else:
        shown = ["--images", images["source"], "--num-images", str(images["selected"])]
        options = {"--labels": images["labels"], "--label-map": images["label_map"]}
        shown += [word for option, file in options.items() if file for word in (option, file)]
    suppressing = Suppressing(asking_for(recorded(setting)), setting["output_key"])
    return shlex.join(
        [
            *_measuring("reliance", model, weights),
            *shown,
            *words(declared(Suppressing), vars(suppressing)),
            *("--seed", str(drawn)),
        ]
    )


def _measuring(command: str, model: Mapping[str, Any], weights: str) -> list[str]:
    """Return the words that each command about a network begins with."""
    channels = model.get("arguments", {}).get("channels")
    asked = ["--channels", str(channels)] if channels else []
    return ["erf-tools", command, "--model", model["name"], "--weights", weights, *asked]


def _weights(model: Mapping[str, Any]) -> str | None:
    """Return the value of ``--weights``; ``None`` for a network that was handed over in Python."""
    name, source = model["weights"]["kind"], model["weights"]["source"]
    if name in ASKED:
        return str(name)
    if name == "file":
        return str(source)
    return "pretrained" if ":" in model["name"] else None
