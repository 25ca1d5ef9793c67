"""Networks of transformers: a repository of the hub, a folder, or a kind with its own defaults."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import transformers
from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache
from torch import nn
from transformers import AutoConfig, AutoImageProcessor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_BACKBONE_MAPPING,
    MODEL_FOR_BACKBONE_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_MAPPING,
)
from transformers.utils import IMAGE_PROCESSOR_NAME, PROCESSOR_NAME

from erf_tools.errors import ErfToolsError, UsageError, suggestion
from erf_tools.features.channels import CHANNELS
from erf_tools.features.taps import Tap
from erf_tools.models.catalogue import Entry
from erf_tools.models.hub import HubWeights, hub_as_allowed
from erf_tools.models.libraries.image_processors import Processed, what_it_does
from erf_tools.models.libraries.library import Built, Form, Library, created
from erf_tools.models.sources import Unpublished
from erf_tools.preprocessing import Preprocessing
from erf_tools.text import first_line

#: Where the last map before the final norm is, in a network or in what its head is put on; the
#: first that is there. Of several modules in a row, the last.
_LAST = ("conv_1x1_exp", "conv_1x1", "encoder", "layers", "stages", "model.layer")
#: Tokens before the positions, beside registers.
_PREFIX_TOKENS = ("cls_token", "class_embedding", "distillation_token")
#: Heads for a training that is over, which do more than the network that was trained.
_PRETRAINING = re.compile(r"For(PreTraining|MaskedImageModeling)$")
#: Kinds that classify, or are backbones, and take something else than images alone.
_NOT_OF_IMAGES_ALONE = {"imagegpt", "perceiver", "siglip2"}
#: Kinds that hand on to timm, which has its own names for them.
_TIMMS = {"timm_backbone", "timm_wrapper"}
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w.-]+)?")


@dataclass(frozen=True)
class TransformersWeights(HubWeights):
    """Weights of a repository or folder, which transformers loads itself."""

    library: ClassVar[str] = "transformers"
    files: ClassVar[tuple[str, ...]] = (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    )

    @property
    def folder(self) -> Path | None:
        path = Path(self.architecture).expanduser()
        return path if path.is_dir() else None

    def create(self) -> Any:
        return _loaded(self.architecture, _configuration(self.architecture, 3, True))

    def known_repository(self) -> str:
        return self.architecture


class _Transformers(Library):
    def names(self) -> list[str]:
        kinds = {*MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, *MODEL_FOR_BACKBONE_MAPPING_NAMES}
        kinds -= _NOT_OF_IMAGES_ALONE | _TIMMS
        return [f"transformers:{kind}" for kind in sorted(kinds)]

    def entry(self, name: str) -> Entry:
        if name in CONFIG_MAPPING:
            return Entry(f"transformers:{name}", "", "transformers", name, 0, Unpublished())
        if not Path(name).expanduser().is_dir() and not _REPOSITORY.fullmatch(name):
            raise UsageError(
                f"transformers:{name} is no repository (as in transformers:facebook/dinov2-base), "
                f"no folder and no kind of network; {suggestion(name, list(CONFIG_MAPPING))}"
            )
        return Entry(f"transformers:{name}", "", "transformers", name, 0, TransformersWeights(name))

    def preprocessing(self, entry: Entry) -> Preprocessing:
        return created(entry, None, partial(_processed, entry.architecture)).preprocessing

    def build(self, entry: Entry, form: Form, hub: HubWeights | None) -> Built:
        name = entry.architecture
        configuration = created(
            entry, None, partial(_configuration, name, form.channels, bool(hub))
        )
        create = partial(_loaded if hub else _untrained, name, configuration)
        with _quiet():
            module = created(entry, hub, create)
        base = getattr(module, "base_model", module)
        preprocessing, swapped = created(entry, None, partial(_processed, name))
        if swapped and form.channels == 3:  # of others it is the luminance, or unknown
            module.register_forward_pre_hook(_reversed, with_kwargs=True)
        tied = _interpolates(base)
        if tied and form.size:
            base.register_forward_pre_hook(_interpolated, with_kwargs=True)
        own = getattr(getattr(base, "config", module.config), "image_size", None)
        own = (own, own) if isinstance(own, int) else own
        return Built(
            module,
            preprocessing,
            _tap(module, base),
            (form.size or tuple(own or (preprocessing.size,) * 2)) if tied else None,
            {"transformers": type(module).__name__},
            [name for name, _ in module.named_children() if name == "classifier"],
        )


LIBRARY = _Transformers()


def _configuration(name: str, channels: int, saved: bool) -> Any:
    """Return the configuration of what sees images in a network.

    Args:
        name: of the network.
        channels: that it is to take.
        saved: whether with its saved weights, which fit no other number of channels.

    Raises:
        UsageError: its code is not a part of transformers, or it takes no such images.
    """
    try:
        if name in CONFIG_MAPPING:
            found = AutoConfig.for_model(name)
        else:
            repository, revision = _place(name)
            with hub_as_allowed(asked=True):
                found = AutoConfig.from_pretrained(
                    repository, revision=revision, trust_remote_code=False
                )
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise _foreign(name) from error
    if getattr(found, "auto_map", None) and type(found) not in MODEL_MAPPING:
        raise _foreign(name)
    if name in _TIMMS:  # a folder or repository says which network it is
        raise UsageError(
            f"transformers:{name} is a network of timm's; give it by timm's own name, or as "
            "hf-hub:OWNER/NAME or local-dir:FOLDER"
        )
    # Hiera's encoder masks in its training alone.
    if getattr(found, "mask_ratio", 0) and found.model_type != "hiera":
        raise UsageError(
            f"transformers:{name} leaves most of an image out and shuffles the rest; run its "
            "encoder without masks in a factory, as in file.py:factory"
        )
    architectures = found.architectures
    if (seen := getattr(found, "vision_config", None)) is not None and "ImageClass" not in str(
        architectures
    ):
        found, architectures = seen, None
    found.architectures = architectures
    if _is_windowed(found):  # what it gives is read, and the norm of RF-DETR's is the last
        found.apply_layernorm = False
    if hasattr(found, "num_channels"):
        if saved and found.num_channels != channels:
            raise UsageError(
                f"transformers:{name} takes images of {found.num_channels} channels, not "
                f"{channels}; give --channels {found.num_channels}"
                if found.num_channels in CHANNELS
                else f"transformers:{name} takes images of {found.num_channels} channels, which no "
                "image has; write a factory that makes them of RGB, as in file.py:factory"
            )
        found.num_channels = channels
    elif channels != 3:
        raise UsageError(f"transformers:{name} has no choice of channels; leave --channels out")
    return found


def _foreign(name: str) -> UsageError:
    return UsageError(
        f"the code of transformers:{name} is in its repository, and is not run; import it yourself "
        "in a factory, as in file.py:factory"
    )


def _class(name: str, configuration: Any) -> Any:
    """Return the class that a network was saved with; without a head that only trained it.

    Raises:
        UsageError: it takes no images.
    """
    saved = (configuration.architectures or [""])[0]
    found = None if _PRETRAINING.search(saved) else getattr(transformers, saved, None)
    if found is None:
        found = _seeing(type(configuration))
    if found is None or getattr(found, "main_input_name", "") != "pixel_values":
        raise UsageError(f"transformers:{name} is no network that takes images alone")
    return found


def _seeing(kind: type) -> Any:
    """Return the class of a kind's networks without a head, by that of their configuration."""
    if kind in MODEL_MAPPING:
        return MODEL_MAPPING[kind]
    if kind in MODEL_FOR_BACKBONE_MAPPING:
        return MODEL_FOR_BACKBONE_MAPPING[kind]
    # That of MetaCLIP 2's images is in no mapping.
    return getattr(transformers, f"{kind.__name__.removesuffix('Config')}Model", None)


def _is_windowed(configuration: Any) -> bool:
    """Tell whether blocks see windows as if each were an image, as those of detectors do."""
    return getattr(configuration, "num_windows", 1) > 1


def _untrained(name: str, configuration: Any) -> nn.Module:
    found: nn.Module = _class(name, configuration)(configuration)
    return found


def _place(name: str) -> tuple[str, str]:
    """Return the repository, or folder, of a name, and the revision in it."""
    repository, _, revision = name.partition("@")
    return repository, revision or "main"


def _loaded(name: str, configuration: Any) -> nn.Module:
    """Return a network with the weights of its repository or folder.

    Raises:
        ErfToolsError: some of its weights are not there.
    """
    repository, revision = _place(name)
    module, said = _class(name, configuration).from_pretrained(
        repository,
        config=configuration,
        revision=revision,
        dtype="float32",
        output_loading_info=True,
    )
    # What pools is behind all maps, and often never saved.
    if missing := [key for key in said["missing_keys"] if "pooler" not in key]:
        raise ErfToolsError(
            f"transformers:{name} has no weights for {len(missing)} tensors of "
            f"{type(module).__name__} ({', '.join(sorted(missing)[:4])})"
        )
    found: nn.Module = module
    return found


def _interpolates(base: nn.Module) -> bool:
    """Tell whether a network is built for one size, and can be asked to interpolate positions."""
    return "interpolate_pos_encoding" in inspect.signature(base.forward).parameters


def _reversed(_module: nn.Module, arguments: Any, keywords: dict[str, Any]) -> tuple[Any, Any]:
    """Give a network images of blue, green and red instead of red, green and blue."""
    if arguments:
        images, *others = arguments
        return (images.flip(1), *others), keywords
    return arguments, {**keywords, "pixel_values": keywords["pixel_values"].flip(1)}


def _interpolated(_base: nn.Module, arguments: Any, keywords: dict[str, Any]) -> Any:
    return arguments, {**keywords, "interpolate_pos_encoding": True}


def _tap(module: Any, base: nn.Module) -> Tap:
    """Return the last map of a network of transformers; its own output where none is known."""
    names = {id(part): name for name, part in module.named_modules()}
    if _is_windowed(module.config):
        last = len(module.out_features) - 1
        return Tap("", output_key=f"feature_maps.{last}")
    tokens = _prefix_tokens(module, base) or None
    for path in _LAST:
        try:
            found: Any = base.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(found, nn.ModuleList):
            found = found[-1]
        return Tap(names[id(found)], prefix_tokens=tokens)
    return Tap(names[id(base)], prefix_tokens=tokens)


def _prefix_tokens(module: Any, base: Any) -> int:
    # What the network calls its base may be its encoder alone.
    embeddings = getattr(base, "embeddings", getattr(module, "embeddings", None))
    found = [getattr(embeddings, name, None) for name in _PREFIX_TOKENS]
    # [1, tokens, channels], or the channels of one.
    single = sum(token.numel() // token.shape[-1] for token in found if token is not None)
    configuration = getattr(base, "config", module.config)
    return single + int(getattr(configuration, "num_register_tokens", 0) or 0)


def _has_no_processor(repository: str, revision: str) -> bool:
    """Tell whether a repository, or folder, is known to have no image processor."""
    files = (IMAGE_PROCESSOR_NAME, PROCESSOR_NAME)
    if (folder := Path(repository).expanduser()).is_dir():
        return not any((folder / file).exists() for file in files)
    return all(
        try_to_load_from_cache(repository, file, revision=revision) is _CACHED_NO_EXIST
        for file in files
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from its report and its bar of what it loads."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
        transformers.logging.enable_progress_bar()


def _processed(name: str) -> Processed:
    """Return how a network wants its images: what its image processor does, else ImageNet's.

    Raises:
        ErfToolsError: it has an image processor that cannot be read, or it is not known here
            whether it has one.
    """
    if name in CONFIG_MAPPING:
        return Processed(Preprocessing())
    repository, revision = _place(name)
    try:
        with hub_as_allowed(asked=True):
            known = AutoImageProcessor.from_pretrained(
                repository, revision=revision, trust_remote_code=False
            )
    except OSError as error:  # the same where there is none as where it could not be had
        if _has_no_processor(repository, revision):
            return Processed(Preprocessing())
        said = (
            f"has an image processor that cannot be read ({first_line(error)}); save it anew"
            if Path(repository).expanduser().is_dir()
            else "may have an image processor of its own, which is not here or is damaged; connect "
            "to the network once, or give a folder with all of its files"
        )
        raise ErfToolsError(f"transformers:{name} {said}") from error
    return what_it_does(known, f"transformers:{name}")
