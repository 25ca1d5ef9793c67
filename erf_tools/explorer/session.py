"""Networks at hand, and what they answer to a click; nothing here knows of a page."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import get_args

import numpy as np
import timm
import torch
from timm.data import ImageNetInfo

from erf_tools.cue_conflict.categories import CATEGORIES, IMAGENET_CLASSES
from erf_tools.cue_conflict.classify import category_scores
from erf_tools.cue_conflict.showing import PRESETS
from erf_tools.erf.contributions import Contributions
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError, UsageError, suggestion
from erf_tools.explorer.answers import (
    Answer,
    CheckedUnit,
    Decision,
    Point,
    WeightsChoice,
    nearest_unit,
)
from erf_tools.explorer.checking import check_unit
from erf_tools.explorer.pictures import Picture
from erf_tools.features.copies import probe_copy, random_states_kept
from erf_tools.features.inputs import floating_type
from erf_tools.features.proof import find_map_layers
from erf_tools.features.taps import Tap, stage_taps
from erf_tools.kernels.devices import (
    check_device,
    choose_device,
    normalise,
    tf32_allowed,
)
from erf_tools.models import catalogue
from erf_tools.models.failures import explained
from erf_tools.models.heads import IMAGENET_HEAD, find_logits, probabilities
from erf_tools.models.loading import load_model
from erf_tools.models.model import Model
from erf_tools.models.names import resolve

_KEPT = 3
_LIKELIEST = 5


@dataclass
class _Loaded:
    """A network, its layers by name, and those that have been made ready for gradients.

    Attributes:
        model: frozen, on ``device``.
        device: where it is.
        size: height and width of its images.
        taps: layers by name.
        prepared: those that were looked from.
        checkable: the one that was checked last, with faster ways prepared.
        contradicted: sizes of fields that were found and that maps reach beyond, by layer.
    """

    model: Model
    device: torch.device
    size: tuple[int, int]
    taps: dict[str, Tap]
    prepared: dict[str, Contributions] = field(default_factory=dict)
    checkable: dict[str, Contributions] = field(default_factory=dict)
    contradicted: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def procedure(self) -> Procedure:
        """What is measured."""
        return Procedure(resolution=self.size, square="unit")

    def ready(self, layer: str, fast: bool) -> Contributions:
        """Return the network made ready for a layer.

        Folding for the next few clicks would take longer than it saves; a check has hundreds of
        passes. It has a copy of the network, so only that of the last layer is kept.
        """
        known = self.checkable if fast else self.prepared
        if layer not in known:
            self.checkable.clear()
            fixed = self.model.input_size is not None
            taps = [self.taps[layer]]
            known[layer] = Contributions(
                self.model.module, taps, self.procedure, self.size, fixed, fast
            )
            if layer in self.contradicted:
                known[layer] = known[layer].without_fields([0])
        return known[layer]

    def contradict(self, layer: str, size: tuple[int, int]) -> None:
        """Have the field of a layer not known from now on."""
        self.contradicted[layer] = size
        self.checkable.clear()
        self.prepared[layer] = self.prepared[layer].without_fields([0])


class Session:
    """The networks that may be asked, the last few of them kept in memory.

    Args:
        first: names to offer before the others.
        allow_any_model: offer all of timm's networks, not only the catalogue's.
        device: on which networks are run; see :func:`erf_tools.effective_receptive_field`.

    Attributes:
        offered: names, in order.
        any_model: whether other names of timm may be typed.

    Raises:
        UsageError: there is no model of a name, or it is no name but a place; or no such device.
    """

    def __init__(
        self, first: Sequence[str] = (), allow_any_model: bool = False, device: str = "auto"
    ) -> None:
        self.any_model, self._device = allow_any_model, device
        if device != "auto":
            check_device(device)
        for name in first:
            _check_name(name)
        others = timm.list_models() if allow_any_model else []
        self.offered = list(dict.fromkeys([*first, *catalogue.ENTRIES, *others]))
        self._kept: OrderedDict[tuple[str, str], _Loaded] = OrderedDict()
        self._lock = Lock()
        self._waiting = 0
        self._counting = Lock()

    def weights_here(self, name: str) -> bool:
        """Tell whether a model's trained weights are on this machine."""
        return resolve(name).weights.find() is not None

    def layers(self, name: str, weights: str) -> list[str]:
        """Return the layers of a network that can be looked from, the default one first.

        Raises:
            UsageError: the network is not offered, or no such weights.
            ErfToolsError: it cannot be loaded or run.
        """
        with self._turn():
            return list(self._load(name, weights).taps)

    def look(self, name: str, weights: str, layer: str, picture: Picture, point: Point) -> Answer:
        """Return the ERF of the unit nearest to a point of an image, and what is seen in it.

        Args:
            name: one of ``offered``; with ``allow_any_model`` any timm name, with a tag as well.
            weights: ``pretrained`` or ``random``.
            layer: one of :meth:`layers`.
            picture: warped to the network's own size.
            point: in the image.

        Raises:
            UsageError: something cannot be looked at as asked.
            ErfToolsError: the network cannot be loaded or run.
        """
        with self._turn(), self._running(name, weights, layer) as loaded:
            return self._look(loaded, layer, picture, point)

    def check(
        self,
        name: str,
        weights: str,
        layer: str,
        picture: Picture,
        point: Point,
        done: Callable[[int, int], object] = lambda cells, of: None,
    ) -> CheckedUnit:
        """Replace cells of an image, and compare what becomes of the unit with its map.

        That takes a while: it ends as soon as anything else is asked.

        Args:
            name: see :meth:`look`, as for all that is not named here.
            weights: see there.
            layer: see there.
            picture: see there.
            point: see there.
            done: is told how many cells have been replaced, and of how many, again and again.

        Raises:
            UsageError: something cannot be looked at as asked.
            ErfToolsError: the network cannot be loaded, run or checked, or something else was
                asked.
        """

        def go_on(cells: int, of: int) -> None:
            if self._waiting:
                raise ErfToolsError(
                    "the check was stopped, since something else was asked; press the button again"
                )
            done(cells, of)

        with self._turn(), self._running(name, weights, layer) as loaded:
            answer = self._look(loaded, layer, picture, point)
            row, column = answer.unit
            contributions = loaded.ready(layer, fast=True).looking_from(f"{row},{column}")
            return check_unit(loaded.model, contributions, loaded.procedure, answer, go_on)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until nobody else runs networks."""
        with self._counting:
            self._waiting += 1
        with self._lock:
            with self._counting:
                self._waiting -= 1
            yield

    @contextmanager
    def _running(self, name: str, weights: str, layer: str) -> Iterator[_Loaded]:
        """Give a network with this layer, to be run inside."""
        loaded = self._load(name, weights)
        if layer not in loaded.taps:
            raise UsageError(f"{name} has no layer {layer!r}: {suggestion(layer, loaded.taps)}")
        with (
            explained(loaded.model.name, loaded.model.module, loaded.size),
            random_states_kept(),
            tf32_allowed(False),
        ):
            yield loaded

    def _look(
        self,
        loaded: _Loaded,
        layer: str,
        picture: Picture,
        point: Point,
    ) -> Answer:
        model, size, target = loaded.model, loaded.size, loaded.device
        dtype = floating_type(model.module)
        own = model.preprocessing
        pixels = np.array(loaded.procedure.view(own)(picture.image))
        inputs = normalise(pixels[None], own.mean, own.std, target, dtype)
        contributions = loaded.ready(layer, fast=False)
        if not contributions.units:
            contributions.choose_units(inputs)
        units = contributions.units[0]
        rows, columns = units.shape[1:]
        pixel = tuple(share * length - 0.5 for share, length in zip(point, size, strict=True))
        unit = nearest_unit(units.field, (rows, columns), (pixel[0], pixel[1]))
        looking = contributions.looking_from(f"{unit[0]},{unit[1]}")
        contribution = looking.maps(inputs)[0][0].cpu().numpy().astype(np.float64)
        if found := looking.contradicted_by({0: [contribution]}):
            loaded.contradict(layer, found[0])  # and where units are is no longer known
            return self._look(loaded, layer, picture, point)
        predictions, decision = _predicted(model, picture, target, dtype)
        return Answer(
            model.name,
            model.weights.trained,
            loaded.taps[layer].name,
            picture,
            pixels,
            contribution,
            unit,
            (rows, columns),
            units.field,
            loaded.contradicted.get(layer),
            predictions,
            decision,
        )

    def _load(self, name: str, weights: str) -> _Loaded:
        if weights not in get_args(WeightsChoice):
            raise UsageError(f"weights are {weights!r}; they are pretrained or random")
        if name not in self.offered:
            if not self.any_model:
                raise UsageError(
                    f"{name!r} is not offered: {suggestion(name, self.offered)} "
                    "`erf-tools app --allow-any-model` offers every timm model"
                )
            _check_name(name)
        key = (name, weights)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        try:
            model = load_model(name, weights)
        except ErfToolsError as error:
            if weights == "pretrained" and not self.weights_here(name):
                raise ErfToolsError(
                    f"the trained weights of {name} are not on this machine and cannot be fetched; "
                    f"choose random ones, or run `erf-tools weights fetch {name}` with a network"
                ) from error
            raise
        size = model.input_size or (model.preprocessing.size,) * 2
        target = choose_device(self._device, model.module)
        with explained(model.name, model.module, size):
            model.module.eval().requires_grad_(False).to(target)
            found = _Loaded(model, target, size, _layers(model, target, size))
        self._kept[key] = found
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found


def _check_name(name: str) -> None:
    """Refuse what is not the name of a model: factories, folders and repositories."""
    if ":" in name or "/" in name or "\\" in name:
        raise UsageError(
            f"{name!r} is a place, not the name of a model; the page takes names of "
            "`erf-tools models` and of timm"
        )
    resolve(name)


def _layers(model: Model, device: torch.device, size: tuple[int, int]) -> dict[str, Tap]:
    """Return taps by their names: the default one, the stages, then modules."""
    try:
        stages = stage_taps(model.module)
    except UsageError:
        stages = []
    images = torch.zeros(1, 3, *size, dtype=floating_type(model.module), device=device)
    fixed_size = model.input_size is not None
    modules = find_map_layers(probe_copy(model.module), images, fixed_size=fixed_size)
    taps: dict[str, Tap] = {}
    for tap in [model.tap, *stages, *modules]:
        taps.setdefault(tap.name, tap)
    return taps


def _predicted(
    model: Model, picture: Picture, target: torch.device, dtype: torch.dtype
) -> tuple[tuple[tuple[str, float], ...], Decision | None]:
    """Return what a trained ImageNet-1K network takes the image for, as `shape-bias` shows it."""
    if not model.weights.trained or not model.weights.head:
        return (), None
    own = model.preprocessing
    pixels = np.array(PRESETS["direct"].view(picture.image, own))
    with torch.inference_mode():
        output = model.module(normalise(pixels[None], own.mean, own.std, target, dtype))
    logits = find_logits(output)
    if logits is None or tuple(logits.shape) != (1, IMAGENET_HEAD):
        return (), None
    shares = probabilities(logits)
    if not shares.isfinite().all():
        return (), None
    likeliest = shares[0].topk(_LIKELIEST)
    names = ImageNetInfo()
    predictions = tuple(
        (names.index_to_description(index), probability)
        for probability, index in zip(
            likeliest.values.tolist(), likeliest.indices.tolist(), strict=True
        )
    )
    if not picture.cues:
        return predictions, None
    winner = int(category_scores(logits, "mean", IMAGENET_CLASSES).argmax())
    return predictions, Decision(CATEGORIES[winner], *picture.cues)
