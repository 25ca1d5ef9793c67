"""erf-tools: what a vision network looks at.

Effective receptive fields (ERF) by gradients, shape bias on cue-conflict stimuli, and reliance on
cues that are suppressed. Names below are loaded when they are first used: importing this package
does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erf_tools.cue_conflict.classify import shape_bias as shape_bias
    from erf_tools.cue_conflict.decisions import Decisions as Decisions
    from erf_tools.cue_conflict.decisions import read_decisions as read_decisions
    from erf_tools.erf.gradients import effective_receptive_field as effective_receptive_field
    from erf_tools.erf.maps import ERF as ERF
    from erf_tools.erf.measures import measure as measure
    from erf_tools.erf.notebook import Comparison as Comparison
    from erf_tools.erf.notebook import compare as compare
    from erf_tools.erf.parts import merge as merge
    from erf_tools.errors import ErfToolsError as ErfToolsError
    from erf_tools.errors import UsageError as UsageError
    from erf_tools.features.taps import Tap as Tap
    from erf_tools.kernels.depthwise import DepthwiseConv2d as DepthwiseConv2d
    from erf_tools.models.loading import load_model as load_model
    from erf_tools.models.model import Model as Model
    from erf_tools.models.model import as_model as as_model
    from erf_tools.perturbation.measuring import perturbation_erf as perturbation_erf
    from erf_tools.perturbation.result import PerturbationERF as PerturbationERF
    from erf_tools.preprocessing import Preprocessing as Preprocessing
    from erf_tools.reliance.measuring import feature_reliance as feature_reliance
    from erf_tools.reliance.result import SuppressedAnswers as SuppressedAnswers

_HOMES = {
    "Comparison": "erf_tools.erf.notebook",
    "Decisions": "erf_tools.cue_conflict.decisions",
    "DepthwiseConv2d": "erf_tools.kernels.depthwise",
    "ERF": "erf_tools.erf.maps",
    "ErfToolsError": "erf_tools.errors",
    "Model": "erf_tools.models.model",
    "PerturbationERF": "erf_tools.perturbation.result",
    "Preprocessing": "erf_tools.preprocessing",
    "SuppressedAnswers": "erf_tools.reliance.result",
    "Tap": "erf_tools.features.taps",
    "UsageError": "erf_tools.errors",
    "as_model": "erf_tools.models.model",
    "compare": "erf_tools.erf.notebook",
    "effective_receptive_field": "erf_tools.erf.gradients",
    "feature_reliance": "erf_tools.reliance.measuring",
    "load_model": "erf_tools.models.loading",
    "measure": "erf_tools.erf.measures",
    "merge": "erf_tools.erf.parts",
    "perturbation_erf": "erf_tools.perturbation.measuring",
    "read_decisions": "erf_tools.cue_conflict.decisions",
    "shape_bias": "erf_tools.cue_conflict.classify",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'erf_tools' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
