"""From a name and a choice of weights to a network ready to be measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, list_pretrained, split_model_name_tag
from torch import nn

from erf_tools.errors import ErfToolsError, UsageError, suggestion
from erf_tools.features.taps import Tap, default_tap
from erf_tools.models import catalogue, replknet
from erf_tools.models.catalogue import Entry
from erf_tools.models.checkpoints import Checkpoint, read_checkpoint
from erf_tools.models.digests import state_sha256
from erf_tools.models.factories import call_factory
from erf_tools.models.failures import check_network
from erf_tools.models.fitting import Renaming, fit, load
from erf_tools.models.hub import HubWeights, hub_as_allowed
from erf_tools.models.renamings import efficientnet_to_timm, mmpretrain_to_official, timm_filter
from erf_tools.models.requests import HUB, is_factory
from erf_tools.models.sources import WeightSource
from erf_tools.models.weights import Weights
from erf_tools.numbers import LARGEST_RESOLUTION, LARGEST_SEED, side_or_sides, whole_number
from erf_tools.preprocessing import Preprocessing
from erf_tools.text import first_line


@dataclass(frozen=True, eq=False)
class Model:
    """A network with all that has to be known to measure it and to trace the result.

    Attributes:
        name: what it was asked for by.
        module: the network, in evaluation mode.
        weights: what it was loaded with.
        preprocessing: how these weights want their images.
        tap: the default tap.
        input_size: height and width it is tied to, or ``None`` if it takes any.
        arguments: what it was built with, beyond its name.
    """

    name: str
    module: nn.Module
    weights: Weights
    preprocessing: Preprocessing
    tap: Tap
    input_size: tuple[int, int] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return what identifies the network in a result, as JSON values."""
        return {
            "name": self.name,
            "arguments": dict(self.arguments),
            "parameters": sum(parameter.numel() for parameter in self.module.parameters()),
            "weights": {
                **vars(self.weights),
                "notes": list(self.weights.notes),
                "label": self.weights.label,
            },
            "preprocessing": self.preprocessing.record(),
        }


def load_model(
    name: str,
    weights: str | Path = "pretrained",
    seed: int = 0,
    resolution: int | tuple[int, int] | None = None,
) -> Model:
    """Build a network by name and load its weights.

    Args:
        name: a name of the catalogue, a timm name with or without tag (``hf-hub:`` too), or
            ``package.module:factory`` for a function without arguments that returns an
            ``nn.Module``.
        weights: ``pretrained``, ``random``, a file, or an https address of one. A factory's
            network keeps its own weights with ``pretrained``.
        seed: of the random initialisation.
        resolution: side of the input, or height and width. Needed for networks that are built for
            one size (Swin, ViT): timm then builds them for this one. Others take any size.

    Raises:
        UsageError: no such model, or it cannot be had in that way.
        ErfToolsError: its weights are missing or do not fit.
    """
    if resolution is not None:
        resolution = side_or_sides(resolution, "--resolution", LARGEST_RESOLUTION)
    size = (resolution, resolution) if isinstance(resolution, int) else resolution
    seed = whole_number(seed, "--seed", 0, LARGEST_SEED)
    if is_factory(name):
        return _load_factory(name, weights)
    entry, source = resolve(name), catalogue.source_of(name, weights)
    if entry.library == "replknet":
        return _load_replknet(entry, source, seed)
    return _load_timm(entry, source, seed, size)


def as_model(
    module: nn.Module,
    name: str | None = None,
    preprocessing: Preprocessing | None = None,
    tap: Tap | None = None,
) -> Model:
    """Describe a network the user has built.

    Args:
        module: the network. What ``torch.compile`` and data parallelism put around one is taken
            off: layers have the names they have without.
        name: for tables; its class name by default.
        preprocessing: by default timm's, where the network carries it, else ImageNet's.
        tap: by default :func:`erf_tools.features.taps.default_tap`.

    Raises:
        UsageError: it is no ``nn.Module``, or has parameters without values.
    """
    module = _unwrapped(check_network(module, name or "what is given as a network"))
    return Model(
        name=name or type(module).__name__,
        module=module,
        weights=Weights("given", "as given", state_sha256(module)),
        preprocessing=preprocessing or _timm_preprocessing(module),
        tap=tap or default_tap(module),
    )


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return a network without what is around it."""
    if isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):  # torch.compile
        return _unwrapped(inner)
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return _unwrapped(module.module)
    return module


def without_values(name: str, size: tuple[int, int] | None) -> nn.Module:
    """Build a network on torch's ``meta`` device: shapes without values, and so without memory.

    Args:
        name: as for :func:`load_model`, but no factory.
        size: height and width of the input, for networks that are built for one; ``None`` is their
            own.

    Raises:
        ErfToolsError: there is no such model, or timm cannot build it.
    """
    entry = resolve(name)
    with torch.device("meta"):
        if entry.library == "replknet":
            return replknet.build(entry.architecture, merged=True).eval()
        module: nn.Module = _create_timm(entry, None, size_arguments(entry.architecture, size))
        return module.eval()


def own_preprocessing(name: str) -> Preprocessing:
    """Return how a network of :func:`load_model` wants its images, without its weights.

    Raises:
        ErfToolsError: there is no such model, or timm cannot build it.
    """
    entry = resolve(name)
    if entry.library == "replknet":
        return entry.preprocessing
    return _timm_preprocessing(without_values(name, None))


def resolve(name: str) -> Entry:
    """Return the catalogue's entry for a name, or one made for a timm name.

    Raises:
        UsageError: neither knows the name; near names are suggested.
    """
    if name in catalogue.ENTRIES:
        return catalogue.ENTRIES[name]
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


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch inside, and leave its generator as it was outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _load_replknet(entry: Entry, source: WeightSource | None, seed: int) -> Model:
    found, loaded = _read(entry.name, source) if source else (None, None)
    keys = [key for part in found.parts for key in part.state] if found else []
    merged = any(".lkb_reparam." in key for key in keys)
    with _seeded(seed):
        module = replknet.build(entry.architecture, merged)
    if found is not None and loaded is not None:
        head, renamings = ("head",), (mmpretrain_to_official,)
        loaded, _ = _filled(module, found, loaded, head, renamings)
    else:
        loaded = Weights("random", f"initialised with seed {seed}", state_sha256(module))
    return Model(
        entry.name,
        module.eval(),
        loaded,
        entry.preprocessing,
        default_tap(module),
        arguments={"merged": True} if merged else {},
    )


def _load_timm(
    entry: Entry, source: WeightSource | None, seed: int, size: tuple[int, int] | None
) -> Model:
    hub = source if isinstance(source, HubWeights) else None
    found, loaded = _read(entry.name, source) if source and not hub else (None, None)
    arguments = size_arguments(entry.architecture, size)
    with _seeded(seed):
        module = _create_timm(entry, hub, arguments)
    cfg = module.pretrained_cfg
    resized: Sequence[str] = ()
    if found is not None and loaded is not None:
        names = cfg.get("classifier") or ()
        head = (names,) if isinstance(names, str) else tuple(names)
        renamings = (efficientnet_to_timm, timm_filter)
        loaded, resized = _filled(module, found, loaded, head, renamings)
    elif hub:
        loaded = hub.describe_network(cfg, state_sha256(module))
    else:
        start = f"initialised with seed {seed}{_undo_zero_norms(module)}"
        loaded = Weights("random", start, state_sha256(module))
    tied = bool(cfg.get("fixed_input_size"))
    return Model(
        name=entry.name,
        module=module.eval(),
        weights=loaded,
        preprocessing=_timm_preprocessing(module),
        tap=default_tap(module),
        input_size=(size or tuple(cfg["input_size"][-2:])) if tied else None,
        arguments={
            "timm": entry.architecture,
            **arguments,
            **_windows(module),
            **({"resized_by_timm": list(resized)} if resized else {}),
        },
    )


def _load_factory(name: str, weights: str | Path) -> Model:
    if weights == "random":
        raise UsageError(
            f"--weights random is for models that erf-tools builds; {name} decides its own "
            "initialisation: leave --weights out, or give a file"
        )
    module = call_factory(name)
    model = as_model(module, name)
    module = model.module
    source = catalogue.source_of(name, weights)
    if source is None:
        return replace(model, module=module.eval())
    found, loaded = _read(name, source)
    loaded, _ = _filled(module, found, loaded)
    return replace(model, module=module.eval(), weights=loaded)


def _filled(
    module: nn.Module,
    found: Checkpoint,
    weights: Weights,
    head: Sequence[str] = (),
    renamings: Sequence[Renaming] = (),
) -> tuple[Weights, Sequence[str]]:
    """Load a file into a network; return what to say of it, and which keys timm resized."""
    fitted = fit(found, module, head, renamings)
    load(fitted, module, head, weights.source)
    return replace(weights, notes=fitted.notes, head=fitted.classes != 0), fitted.resized


def _read(name: str, source: WeightSource) -> tuple[Checkpoint, Weights]:
    """Read the file of a model's weights, fetching it at first; return what to say of it too."""
    path = source.find() or source.fetch(name)
    if path is None:
        raise ErfToolsError(f"{name} has no file of weights at {source.place}")
    found = read_checkpoint(path, source.check)
    return found, source.describe(path, found.sha256)


def _create_timm(entry: Entry, hub: HubWeights | None, arguments: Mapping[str, Any]) -> Any:
    """Build a network by timm, with the hub's weights where they are asked for."""
    create = partial(timm.create_model, entry.architecture, pretrained=bool(hub), **arguments)
    if hub:
        return hub.build(entry.name, create)
    try:
        with hub_as_allowed():
            return create()
    except Exception as error:
        raise ErfToolsError(f"timm cannot build {entry.name}: {first_line(error)}") from error


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


def _undo_zero_norms(module: nn.Module) -> str:
    """Set norm scales that are initialised to zero to one, and say how many.

    timm starts the last BatchNorm of each residual block at zero, so that an untrained ResNet is
    nearly the identity: its ERF is that of the stem.
    """
    norms = [
        submodule
        for submodule in module.modules()
        if "norm" in type(submodule).__name__.lower()
        and isinstance(getattr(submodule, "weight", None), nn.Parameter)
        and not submodule.weight.any()  # type: ignore[operator, union-attr]
    ]
    for norm in norms:
        nn.init.ones_(norm.weight)  # type: ignore[arg-type]
    return f"; {len(norms)} zero-initialised norm scales set to one" if norms else ""


def _timm_preprocessing(module: nn.Module) -> Preprocessing:
    cfg = getattr(module, "pretrained_cfg", None)
    if not cfg:
        return Preprocessing()
    return Preprocessing(
        size=int(cfg["input_size"][-1]),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        interpolation=cfg["interpolation"],
        crop_fraction=float(cfg["crop_pct"]),
    )
