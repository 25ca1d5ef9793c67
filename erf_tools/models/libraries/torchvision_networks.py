"""Networks of torchvision: classifiers, segmentation, and the backbones of detectors."""

from __future__ import annotations

import inspect
from typing import Any
from urllib.parse import urlsplit

from torch import nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from erf_tools.errors import UsageError, suggestion
from erf_tools.features.taps import Tap
from erf_tools.models.catalogue import Entry
from erf_tools.models.checkpoints import StateDict
from erf_tools.models.hub import HubWeights
from erf_tools.models.libraries.library import Built, Form, Library, created
from erf_tools.models.sources import PublishedFile, Unpublished
from erf_tools.preprocessing import Preprocessing, crop_fraction

#: The last map before pooling and before the final norm, by the module of torchvision that a
#: network is defined in.
_TAPS = {
    "resnet": Tap("layer4"),
    "googlenet": Tap("inception5b"),
    "inception": Tap("Mixed_7c"),
    "shufflenetv2": Tap("conv5"),
    "mnasnet": Tap("layers"),
    "regnet": Tap("trunk_output"),
    "maxvit": Tap("blocks.3"),
    "swin_transformer": Tap("features", "NHWC"),
    "vision_transformer": Tap("encoder.layers", "NLC", prefix_tokens=1),
}
_FEATURES, _SCORES, _FINEST = Tap("features"), Tap("classifier"), Tap("", output_key="0")

#: Packages of torchvision whose networks take no single image, and why.
_OTHERS = {
    "video": "takes videos",
    "optical_flow": "takes two images",
    "quantization": "is quantised, and has no gradient",
}


class _Torchvision(Library):
    def names(self) -> list[str]:
        return [f"torchvision:{name}" for name in models.list_models() if not _refused(name)]

    def entry(self, name: str) -> Entry:
        architecture, at, wanted = name.partition("@")
        if architecture not in (known := models.list_models()):
            raise UsageError(
                f"torchvision has no model {architecture!r}: {suggestion(architecture, known)}"
            )
        if said := _refused(architecture):
            raise UsageError(
                f"{architecture} of torchvision {said}; write a factory for the part that takes "
                "one image, as in file.py:factory"
            )
        published = models.get_model_weights(architecture)
        if at and wanted not in published.__members__:
            raise UsageError(
                f"{architecture} of torchvision has no weights {wanted!r}: "
                f"{suggestion(wanted, list(published.__members__))}"
            )
        if not len(published):
            return Entry(f"torchvision:{name}", "", "torchvision", name, 0, Unpublished())
        weights = published[wanted] if wanted else published.DEFAULT
        file = urlsplit(weights.url).path.rpartition("/")[2]
        # A file's name ends in digits of its digest.
        digits = file.rpartition(".")[0].rpartition("-")[2]
        return Entry(
            f"torchvision:{name}",
            "",
            "torchvision",
            name,
            0,
            PublishedFile(weights.url, file, digits),
            preprocessing=_preprocessing(weights.transforms()),
        )

    def build(self, entry: Entry, form: Form, hub: HubWeights | None) -> Built:
        if form.channels != 3:
            raise UsageError(
                f"{entry.name} takes images of 3 channels; timm: builds networks for others"
            )
        name = entry.architecture.partition("@")[0]
        builder = models.get_model_builder(name)
        arguments = _arguments(builder, form)
        module: Any = created(entry, None, lambda: builder(**arguments))
        size = form.size if {"image_size", "input_size"} & {*arguments} else None
        tap = _tap(name)
        if "detection" in builder.__module__:
            module = module.backbone  # the rest resizes images, and gives boxes
        elif getattr(module, "aux_logits", False):
            module.eval()
        tied = tap.path in ("encoder.layers", "blocks.3")
        return Built(
            module,
            entry.preprocessing,
            tap,
            (size or (entry.preprocessing.size,) * 2) if tied else None,
            {"torchvision": name},
            _head(module),
            (_resized_positions,),
        )


LIBRARY = _Torchvision()


def _refused(name: str) -> str:
    """Return why a network cannot be measured; empty if it can."""
    package = models.get_model_builder(name).__module__.split(".")[2]
    return _OTHERS.get(package, "")


def _tap(name: str) -> Tap:
    _, _, *package, defined = models.get_model_builder(name).__module__.split(".")
    if package == ["detection"]:
        return _FINEST
    return _SCORES if package else _TAPS.get(defined, _FEATURES)


def _arguments(builder: Any, form: Form) -> dict[str, Any]:
    """Return what a network is built with: no weights, for the size, and as its weights want it."""
    taken = inspect.signature(builder).parameters
    arguments: dict[str, Any] = {"weights": None}
    if "weights_backbone" in taken:
        arguments["weights_backbone"] = None
    defined = builder.__module__.rpartition(".")[2]
    if defined in ("googlenet", "inception") and form.keys:
        arguments |= {"aux_logits": True, "transform_input": True, "init_weights": False}
    if defined == "vision_transformer" and form.size:
        if form.size[0] != form.size[1]:
            raise UsageError("vision transformers of torchvision are built for square images")
        arguments["image_size"] = form.size[0]
    if defined == "maxvit" and form.size:
        arguments["input_size"] = form.size
    return arguments


def _head(module: nn.Module) -> list[str]:
    """Return the name of the last linear layer, if that is a classifier's."""
    linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    return [name for name in linear[-1:] if name.split(".")[0] in ("fc", "classifier", "heads")]


def _resized_positions(state: StateDict, module: nn.Module) -> StateDict:
    """Interpolate a vision transformer's positions to the size that it is built for."""
    network: Any = module
    return dict(interpolate_embeddings(network.image_size, network.patch_size, dict(state)))


def _preprocessing(transforms: Any) -> Preprocessing:
    """Return how weights want their images, from torchvision's own transforms."""
    known = vars(transforms)
    if "mean" not in known:  # detectors normalise with ImageNet's values
        return Preprocessing()
    (short,) = known["resize_size"]
    (size,) = known.get("crop_size", known["resize_size"])
    interpolation = transforms.interpolation.value
    return Preprocessing(
        size,
        tuple(known["mean"]),
        tuple(known["std"]),
        interpolation,
        crop_fraction(size, short),
    )
