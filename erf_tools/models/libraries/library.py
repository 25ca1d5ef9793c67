"""What a library of networks is: how its names are found, built and loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.taps import Tap, default_tap
from erf_tools.models.catalogue import Entry
from erf_tools.models.checkpoints import Checkpoint, read_checkpoint
from erf_tools.models.digests import state_sha256
from erf_tools.models.fitting import Renaming, fit, load
from erf_tools.models.hub import HubWeights, hub_as_allowed
from erf_tools.models.initialisation import switch_on_branches
from erf_tools.models.model import Model, declared_preprocessing
from erf_tools.models.sources import WeightSource
from erf_tools.models.weights import Weights
from erf_tools.models.zero_shot import ClassTexts
from erf_tools.preprocessing import Preprocessing
from erf_tools.text import first_line


@dataclass(frozen=True)
class Form:
    """In which form a network is wanted.

    Attributes:
        size: height and width of the input; ``None`` is the network's own.
        channels: of the input.
        merged: with branches merged for inference, where it has such a form.
        keys: of the state dicts in the file that is to be loaded.
        texts: classes in words, for a head that compares images with them.
    """

    size: tuple[int, int] | None = None
    channels: int = 3
    merged: bool = False
    keys: Sequence[str] = ()
    texts: ClassTexts | None = None


@dataclass(frozen=True)
class Built:
    """A network as a library builds it.

    Attributes:
        module: the network.
        preprocessing: how its weights want their images; ``None`` for what it declares itself.
        tap: the default tap; ``None`` for that of :func:`~erf_tools.features.taps.default_tap`.
        input_size: height and width it is tied to, or ``None`` if it takes any.
        arguments: what it was built with, beyond its name.
        head: names of its classifier's layers.
        renamings: for files with names of others, to be tried in turn.
        whole: what the network is a part of, if files hold all of that.
        with_head: makes of what was loaded the network with a head of ``Form.texts``.
    """

    module: nn.Module
    preprocessing: Preprocessing | None = None
    tap: Tap | None = None
    input_size: tuple[int, int] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    head: Sequence[str] = ()
    renamings: Sequence[Renaming] = ()
    whole: nn.Module | None = None
    with_head: Callable[[], nn.Module] | None = None


class Library(ABC):
    """A library of networks; see :data:`erf_tools.models.prefixes.LIBRARIES`."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of its networks, as they are typed."""

    @abstractmethod
    def entry(self, name: str) -> Entry:
        """Return what is known of a network.

        Args:
            name: without the library's prefix.

        Raises:
            UsageError: there is none of that name; near names are suggested.
        """

    @abstractmethod
    def build(self, entry: Entry, form: Form, hub: HubWeights | None) -> Built:
        """Build a network, with the weights of a hub where they are asked for.

        Raises:
            UsageError: there is none in this form.
            ErfToolsError: it cannot be built, or its weights cannot be had.
        """

    def preprocessing(self, entry: Entry) -> Preprocessing:
        """Return how a network wants its images, without loading it.

        Raises:
            ErfToolsError: that is known when it is built only, and it cannot be.
        """
        return entry.preprocessing

    def load(self, entry: Entry, source: WeightSource | None, seed: int, form: Form) -> Model:
        """Return a network with its weights.

        Args:
            entry: the network.
            source: of its weights; ``None`` for random ones.
            seed: of the random initialisation.
            form: in which it is wanted.

        Raises:
            UsageError: there is none in this form.
            ErfToolsError: it cannot be built, or its weights are missing or do not fit.
        """
        hub = source if isinstance(source, HubWeights) else None
        found, weights = read(entry.name, source) if source and not hub else (None, None)
        keys = [key for part in found.parts for key in part.state] if found else []
        with _seeded(seed):
            built = self.build(entry, replace(form, keys=keys), hub)
        module, arguments = built.module, dict(built.arguments)
        whole = module if built.whole is None else built.whole
        if found is not None and weights is not None:
            weights, resized = filled(whole, found, weights, built.head, built.renamings)
            if resized:
                arguments["resized_by_timm"] = list(resized)
        elif hub:
            weights = hub.describe_network(module, state_sha256(module))
        else:
            start = f"initialised with seed {seed}{switch_on_branches(module)}"
            weights = Weights("random", start, state_sha256(module))
        classes: tuple[str, ...] = ()
        if form.texts is not None:
            if built.with_head is None:
                raise UsageError(f"{entry.name} compares no images with text")
            arguments["zero_shot"] = form.texts.record()
            classes, weights = tuple(form.texts.names), replace(weights, head=True)
            whole.eval()
            module = built.with_head()
        return Model(
            entry.name,
            module.eval(),
            weights,
            built.preprocessing or declared_preprocessing(module),
            built.tap or default_tap(module),
            built.input_size,
            arguments,
            classes,
        )


def filled(
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


def read(name: str, source: WeightSource) -> tuple[Checkpoint, Weights]:
    """Read the file of a model's weights, fetching it at first; return what to say of it too."""
    path = source.find() or source.fetch(name)
    if path is None:
        raise ErfToolsError(f"{name} has no file of weights at {source.place}")
    found = read_checkpoint(path, source.check)
    return found, source.describe(path, found.sha256)


def created(entry: Entry, hub: HubWeights | None, create: Callable[[], Any]) -> Any:
    """Return what a library creates: a network, with the weights of a hub or without.

    Raises:
        ErfToolsError: it cannot be created, or the weights cannot be had.
    """
    if hub:
        return hub.build(entry.name, create)
    try:
        with hub_as_allowed():
            return create()
    except ErfToolsError:
        raise
    except Exception as error:
        raise ErfToolsError(
            f"{entry.library} cannot build {entry.name}: {first_line(error)}"
        ) from error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch inside, and leave its generator as it was outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
