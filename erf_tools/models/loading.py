"""From a name and a choice of weights to a network ready to be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from erf_tools.errors import UsageError
from erf_tools.features.channels import check_channels, taking_rgb
from erf_tools.models.factories import call_factory
from erf_tools.models.libraries.library import Form, filled, read
from erf_tools.models.model import Model, as_model
from erf_tools.models.names import open_library, resolve, source_of
from erf_tools.models.prefixes import is_factory
from erf_tools.models.zero_shot import ClassTexts
from erf_tools.numbers import LARGEST_RESOLUTION, LARGEST_SEED, side_or_sides, whole_number
from erf_tools.preprocessing import Preprocessing


def load_model(
    name: str,
    weights: str | Path = "pretrained",
    seed: int = 0,
    resolution: int | tuple[int, int] | None = None,
    channels: int = 3,
    texts: ClassTexts | None = None,
) -> Model:
    """Build a network by name and load its weights.

    Args:
        name: a name of the catalogue; a timm name with or without tag (``hf-hub:`` too); the name
            of another library after its prefix, as in ``torchvision:resnet50``; or
            ``package.module:factory`` or ``file.py:factory`` for a function that returns an
            ``nn.Module``, with its arguments as in ``file.py:factory?depth=50``.
        weights: ``pretrained``, ``random``, a file, or an https address of one. A factory's
            network keeps its own weights with ``pretrained``.
        seed: of the random initialisation.
        resolution: side of the input, or height and width. Needed for networks that are built for
            one size (Swin, ViT): they are then built for this one. Others take any size.
        channels: that it takes; see :func:`erf_tools.features.channels.taking_rgb`.
        texts: classes in words: a network of ``open_clip:`` then decides among them.

    Raises:
        UsageError: no such model, or it cannot be had in that way.
        ErfToolsError: its weights are missing or do not fit.
    """
    if resolution is not None:
        resolution = side_or_sides(resolution, "--resolution", LARGEST_RESOLUTION)
    size = (resolution, resolution) if isinstance(resolution, int) else resolution
    seed = whole_number(seed, "--seed", 0, LARGEST_SEED)
    check_channels(channels)
    if is_factory(name):
        if texts is not None:
            raise UsageError(f"{name} compares no images with text")
        model = _load_factory(name, weights)
    else:
        entry, source = resolve(name), source_of(name, weights)
        form = Form(size, channels, texts=texts)
        model = open_library(entry.library).load(entry, source, seed, form)
    if channels == 3:
        return model
    arguments = {**model.arguments, "channels": channels}
    return replace(model, module=taking_rgb(model.module, channels), arguments=arguments)


def without_values(name: str, size: tuple[int, int] | None) -> nn.Module:
    """Build a network on torch's ``meta`` device: shapes without values, and so without memory.

    Args:
        name: as for :func:`erf_tools.load_model`, but no factory.
        size: height and width of the input, for networks that are built for one; ``None`` is their
            own.

    Raises:
        ErfToolsError: there is no such model, or it cannot be built.
    """
    entry = resolve(name)
    with torch.device("meta"):
        return open_library(entry.library).build(entry, Form(size, merged=True), None).module.eval()


def own_preprocessing(name: str) -> Preprocessing:
    """Return how a network of :func:`erf_tools.load_model` wants its images, without its weights.

    Raises:
        ErfToolsError: there is no such model, or it cannot be built.
    """
    entry = resolve(name)
    return open_library(entry.library).preprocessing(entry)


def _load_factory(name: str, weights: str | Path) -> Model:
    if weights == "random":
        raise UsageError(
            f"--weights random is for models that erf-tools builds; {name} decides its own "
            "initialisation: leave --weights out, or give a file"
        )
    module, code_sha256 = call_factory(name)
    model = as_model(module, name)
    arguments = {"code_sha256": code_sha256}
    model = replace(model, module=model.module.eval(), arguments=arguments)
    source = source_of(name, weights)
    if source is None:
        return model
    found, loaded = read(name, source)
    loaded, _ = filled(model.module, found, loaded)
    return replace(model, weights=loaded, state_sha256="")  # which the file has changed
