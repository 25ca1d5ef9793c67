"""Networks of timm: its registered names, and those of its hub."""

from __future__ import annotations

from functools import partial
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, list_pretrained, split_model_name_tag
from torch import nn

from erf_tools.errors import UsageError, suggestion
from erf_tools.models import catalogue
from erf_tools.models.catalogue import Entry
from erf_tools.models.hub import HubWeights
from erf_tools.models.libraries.library import Built, Form, Library, created
from erf_tools.models.model import declared_preprocessing
from erf_tools.models.prefixes import HUB
from erf_tools.models.renamings import efficientnet_to_timm, timm_filter
from erf_tools.preprocessing import Preprocessing


class _Timm(Library):
    def names(self) -> list[str]:
        return [*timm.list_models(), *list_pretrained()]

    def entry(self, name: str) -> Entry:
        if not name.startswith(HUB):
            architecture, tag = split_model_name_tag(name)
            if not timm.is_model(architecture):
                known = [*catalogue.ENTRIES, *timm.list_models()]
                raise UsageError(f"there is no model {name!r}: {suggestion(name, known)}")
            if tag and name not in (tagged := list_pretrained(f"{architecture}.*")):
                raise UsageError(
                    f"{architecture} has no weights tagged {tag!r}: {suggestion(name, tagged)}"
                    if tagged
                    else f"{architecture} has no published weights; leave the tag {tag!r} out"
                )
        return Entry(name, "", "timm", name, 0, HubWeights(name))

    def preprocessing(self, entry: Entry) -> Preprocessing:
        with torch.device("meta"):
            return declared_preprocessing(self.build(entry, Form(), None).module)

    def build(self, entry: Entry, form: Form, hub: HubWeights | None) -> Built:
        arguments = size_arguments(entry.architecture, form.size)
        channels = {} if form.channels == 3 else {"in_chans": form.channels}
        create = partial(timm.create_model, pretrained=bool(hub), **arguments, **channels)
        module = created(entry, hub, partial(create, entry.architecture))
        cfg = module.pretrained_cfg
        names = cfg.get("classifier") or ()
        tied = bool(cfg.get("fixed_input_size"))
        return Built(
            module,
            input_size=(form.size or tuple(cfg["input_size"][-2:])) if tied else None,
            arguments={"timm": entry.architecture, **arguments, **_windows(module)},
            head=(names,) if isinstance(names, str) else tuple(names),
            renamings=(efficientnet_to_timm, timm_filter),
        )


LIBRARY = _Timm()


def size_arguments(architecture: str, size: tuple[int, int] | None) -> dict[str, Any]:
    """Return what timm needs to build a network for an input size.

    Args:
        architecture: a timm name.
        size: height and width; ``None`` is the network's own.

    Returns:
        ``img_size`` for a network that is built for one size; nothing for one that takes any.
    """
    if size is None or architecture.startswith(HUB):
        return {}
    cfg = get_pretrained_cfg(architecture, allow_unregistered=True)
    if cfg is None or not cfg.fixed_input_size:
        return {}
    return {"img_size": list(size)}


def _windows(module: nn.Module) -> dict[str, Any]:
    """Record windows and shifts per stage of a Swin.

    With ``img_size=1024`` timm shifts the windows of the last stage by 3; with
    ``strict_img_size=False`` it does not, as at 224: two different networks.
    """
    windows = []
    for stage in getattr(module, "layers", []):
        blocks = [block for block in getattr(stage, "blocks", []) if hasattr(block, "shift_size")]
        if blocks:
            shift = max(tuple(block.shift_size) for block in blocks)
            windows.append({"window": list(blocks[0].window_size), "shift": list(shift)})
    return {"windows": windows} if windows else {}
