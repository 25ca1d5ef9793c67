"""The networks that are built here, for ``timm.create_model``.

They are registered by importing this module, once::

    import erf_tools.models.registered
    import timm

    network = timm.create_model("slak_t", features_only=True, out_indices=(1, 3))

As with timm's own networks, ``pretrained=True`` fetches weights, ``features_only=True`` gives the
maps of stages, :func:`timm.utils.reparameterize_model` merges kernels, and
:func:`timm.data.resolve_model_data_config` says how images are to be made ready.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import timm
from timm.models import register_model
from timm.models._features import FeatureGetterNet
from torch import nn

from erf_tools.errors import UsageError
from erf_tools.models.catalogue import ENTRIES, Entry
from erf_tools.models.loading import load_model
from erf_tools.models.model import CROP_MODES
from erf_tools.models.prefixes import LIBRARIES
from erf_tools.models.staged import NetworkFamily, family_of

#: What :func:`timm.create_model` hands to every network, and these have no use for.
_TIMMS_OWN = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def _entry_point(entry: Entry) -> Callable[..., nn.Module]:
    family = family_of(entry.library)

    def create(
        pretrained: bool = False,
        features_only: bool = False,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        merged: bool = False,
        **given: Any,
    ) -> nn.Module:
        unknown = [name for name, value in given.items() if value and name not in _TIMMS_OWN]
        if unknown:
            raise UsageError(
                f"{entry.name} has no argument {unknown[0]}; it takes pretrained, merged, "
                "features_only and out_indices"
            )
        if pretrained and merged:
            raise UsageError(
                f"{entry.name}: leave merged out with pretrained, and merge what was loaded by "
                "timm.utils.reparameterize_model"
            )
        network: Any = (
            load_model(entry.name).module
            if pretrained
            else family.build(entry.architecture, merged)
        )
        network.pretrained_cfg = network.default_cfg = _configuration(entry, family)
        return (
            FeatureGetterNet(network, out_indices=tuple(out_indices)) if features_only else network
        )

    create.__name__ = create.__qualname__ = entry.name
    create.__doc__ = f"Build {entry.summary}"
    return create


def _configuration(entry: Entry, family: NetworkFamily) -> dict[str, Any]:
    """Return what timm says of a network's weights and images."""
    own = entry.preprocessing
    return {
        "architecture": entry.name,
        "num_classes": 1000,
        "input_size": (3, own.size, own.size),
        "mean": own.mean,
        "std": own.std,
        "interpolation": own.interpolation,
        "crop_pct": own.crop_fraction,
        "crop_mode": next(mode for mode, resize in CROP_MODES.items() if resize == own.resize),
        "classifier": family.classifier,
    }


for _entry in ENTRIES.values():
    if _entry.library not in LIBRARIES and not timm.is_model(_entry.name):
        register_model(_entry_point(_entry))
