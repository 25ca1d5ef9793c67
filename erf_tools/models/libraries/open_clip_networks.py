"""Networks of open_clip: the visual towers of CLIP and its relatives."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import open_clip
import torch
from open_clip.transformer import VisionTransformer
from torch import nn

from erf_tools.errors import UsageError, suggestion
from erf_tools.features.taps import Tap, default_tap
from erf_tools.models.catalogue import Entry
from erf_tools.models.hub import HubWeights
from erf_tools.models.libraries.library import Built, Form, Library, created
from erf_tools.models.sources import Unpublished, WeightSource
from erf_tools.models.zero_shot import ClassTexts, ZeroShot, class_features
from erf_tools.preprocessing import Preprocessing, Resize

#: What open_clip calls the ways of resizing.
_RESIZED: dict[str, Resize] = {"shortest": "short", "squash": "both", "longest": "long"}


@dataclass(frozen=True)
class OpenClipWeights(HubWeights):
    """Weights that open_clip loads itself, of the architecture ``NAME/TAG``."""

    library: ClassVar[str] = "open_clip"
    files: ClassVar[tuple[str, ...]] = (
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.bin",
        "model.safetensors",
        "pytorch_model.bin",
    )

    @property
    def folder(self) -> None:
        return None

    def create(self) -> Any:
        architecture, _, tag = self.architecture.partition("/")
        return open_clip.create_model(architecture, tag)

    def known_repository(self) -> str:
        known = open_clip.get_pretrained_cfg(*self.architecture.split("/"))
        return str(known.get("hf_hub", "")).strip("/")


class _OpenClip(Library):
    def names(self) -> list[str]:
        tagged = (f"{name}/{tag}" for name, tag in open_clip.list_pretrained())
        return [f"open_clip:{name}" for name in (*open_clip.list_models(), *tagged)]

    def entry(self, name: str) -> Entry:
        architecture, _, tag = name.partition("/")
        if architecture not in (known := open_clip.list_models()):
            raise UsageError(
                f"open_clip has no model {architecture!r}: {suggestion(architecture, known)}"
            )
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        if tag and tag not in tags:
            raise UsageError(
                f"open_clip has no weights {tag!r} of {architecture}: {suggestion(tag, tags)}"
                if tags
                else f"{architecture} has no published weights; leave {tag!r} out"
            )
        source: WeightSource = Unpublished()
        if tag or len(tags) == 1:
            source = OpenClipWeights(f"{architecture}/{tag or tags[0]}")
        return Entry(f"open_clip:{name}", "", "open_clip", name, 0, source)

    def preprocessing(self, entry: Entry) -> Preprocessing:
        with torch.device("meta"):
            return _preprocessing(self.whole(entry, Form(), None), entry)

    def build(self, entry: Entry, form: Form, hub: HubWeights | None) -> Built:
        clip = self.whole(entry, form, hub)
        tower = clip.visual
        trunk = getattr(tower, "trunk", None)  # a network of timm's
        tap = default_tap(trunk) if trunk is not None else Tap("layer4")
        tied = trunk is None  # for its positions, or the pooling of a ResNet
        if isinstance(tower, VisionTransformer):
            tap = Tap("transformer", "NLC", prefix_tokens=1)
        elif trunk is not None:
            tied = bool(trunk.pretrained_cfg.get("fixed_input_size"))
        preprocessing = _preprocessing(clip, entry)
        return Built(
            trunk if trunk is not None else tower,
            preprocessing,
            tap,
            (form.size or (preprocessing.size,) * 2) if tied else None,
            {"open_clip": entry.architecture},
            whole=clip if form.texts else None,
            with_head=partial(_with_head, clip, entry, form.texts) if form.texts else None,
        )

    def whole(self, entry: Entry, form: Form, hub: HubWeights | None) -> Any:
        """Return the whole of a network, with its text tower; see :meth:`build`."""
        if form.channels != 3:
            raise UsageError(f"{entry.name} takes images of 3 channels; leave --channels out")
        architecture = entry.architecture.partition("/")[0]
        size: Any = form.size
        if size and size[0] == size[1]:
            (size, _) = size  # its ResNets take a number alone
        create = partial(
            open_clip.create_model,
            architecture,
            hub.architecture.partition("/")[2] if hub else None,
            load_weights=hub is not None,
            pretrained_text=False,
            force_image_size=size,
            device=torch.get_default_device(),
        )
        with _quiet():
            return created(entry, hub, create)


LIBRARY = _OpenClip()


def _with_head(clip: Any, entry: Entry, texts: ClassTexts) -> nn.Module:
    """Return the image tower with a head of classes in words, which the text tower has read.

    Raises:
        ErfToolsError: the text tower, or what makes its words of texts, cannot be had.
    """
    architecture = entry.architecture.partition("/")[0]
    tokenizer = created(entry, None, partial(open_clip.get_tokenizer, architecture))
    features = class_features(
        texts, lambda own: clip.encode_text(tokenizer(own), normalize=True).float()
    )
    return ZeroShot(clip.visual, features, float(clip.logit_scale.detach().exp()))


def _vision(architecture: str) -> dict[str, Any]:
    known: dict[str, Any] = open_clip.get_model_config(architecture)
    return known["vision_cfg"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from warning that a network without weights has none."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _preprocessing(clip: Any, entry: Entry) -> Preprocessing:
    known = open_clip.get_model_preprocess_cfg(clip)
    size = _vision(entry.architecture.partition("/")[0])["image_size"]
    return Preprocessing(
        size if isinstance(size, int) else size[0],
        tuple(known["mean"]),
        tuple(known["std"]),
        "bilinear" if known["interpolation"] == "bilinear" else "bicubic",
        crop_fraction=1.0,
        resize=_RESIZED[known.get("resize_mode") or "shortest"],
        fill=(known.get("fill_color") or 0,) * 3,
    )
