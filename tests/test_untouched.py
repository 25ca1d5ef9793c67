"""A network that was measured is as before, and so are the random states; its map is right."""

from __future__ import annotations

import functools
import random
import sys
import threading
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from reference import ding2022_map, randomise_norms
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from analyses.network_state import identities, random_states, state
from erf_tools.erf.cautions import cautions
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.errors import ErfToolsError
from erf_tools.images import select
from erf_tools.kernels.devices import copy_on_device
from erf_tools.models.layers import describe_layers
from erf_tools.models.model import as_model
from erf_tools.preprocessing import Preprocessing

PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), size=64)


class Stem(nn.Module):
    """Two convolutions, between which other networks do something that leaves a trace."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.second = nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.between(self.first(images)).tanh())

    def between(self, features: Tensor) -> Tensor:
        return features


class Norms(Stem):
    """BatchNorms in training mode, one of them frozen, and one parameter that is."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Dropout())
        self.train()
        self.norms[1].eval()
        self.second.bias.requires_grad_(False)
        self.first.weight.grad = torch.ones_like(self.first.weight)

    def between(self, features: Tensor) -> Tensor:
        return self.norms(features)


class AlwaysTraining(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> AlwaysTraining:
        return super().train(True)


class NeverEvaluating(Stem):
    def __init__(self) -> None:
        super().__init__()
        self.norm = AlwaysTraining(4)

    def between(self, features: Tensor) -> Tensor:
        return self.norm(features)


class RunningMean(Stem):
    """Follows its inputs in every mode: a buffer in place, and one that is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("largest", torch.zeros(()))

    def between(self, features: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean.lerp_(features.mean((0, 2, 3)), 0.1)
            self.largest = torch.maximum(self.largest, features.amax())
        return features


class AveragedWeights(Stem):
    """Writes to its parameters behind torch's back."""

    def between(self, features: Tensor) -> Tensor:
        self.second.weight.data.mul_(0.9)
        self.second.bias.detach().numpy()[:] += features.detach().mean().item()
        return features


class Counting(Stem):
    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen = 0, []
        self.statistics: dict[str, Any] = {"sizes": {}}

    def between(self, features: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(features.detach())
        self.statistics["sizes"][tuple(features.shape)] = self.calls
        return features


class TablePerSize(Stem):
    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[Any, Tensor] = {}

    def between(self, features: Tensor) -> Tensor:
        size = tuple(features.shape[2:])
        if size not in self.tables:
            self.tables[size] = torch.linspace(0, 1, size[1], dtype=features.dtype)
        return features * self.tables[size]


class TableOfTheFirstSize(Stem):
    """What it is shown first decides how it sees from then on."""

    table: Tensor | None = None

    def between(self, features: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.linspace(0, 1, features.shape[3], dtype=features.dtype)
        table = F.interpolate(self.table[None, None], features.shape[3], mode="linear")
        return features * table.roll(len(self.table) % 5)


class ShrinkingWindows(Stem):
    """Windows become smaller for good on a small image, as those of transformers' Swin do."""

    def __init__(self) -> None:
        super().__init__()
        self.window = 16

    def between(self, features: Tensor) -> Tensor:
        self.window = min(self.window, *features.shape[2:])
        rows, columns = (side // self.window for side in features.shape[2:])
        windows = features.unflatten(2, (rows, self.window)).unflatten(4, (columns, self.window))
        return (windows + windows.mean((3, 5), keepdim=True)).flatten(4).flatten(2, 3)


class FirstCall(Stem):
    """Settles its scale on the first batch, as ActNorm does."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(4))
        self.register_buffer("settled", torch.tensor(False))

    def between(self, features: Tensor) -> Tensor:
        if not self.settled:
            self.shift.data.copy_(features.detach().mean((0, 2, 3)))
            self.settled.fill_(True)
        return features - self.shift[:, None, None]


class Unseeded(Stem):
    """Draws from every generator there is, and from torch's where dropout is never switched off."""

    def between(self, features: Tensor) -> Tensor:
        drawn = random.random() + np.random.rand() + torch.rand(())
        return F.dropout(features, 0.5, training=True) + 0 * drawn


class Locked(RunningMean):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.calls, self.norm = threading.Lock(), [0], AlwaysTraining(4)
        self.window = 3

    def between(self, features: Tensor) -> Tensor:
        with self.lock:
            self.calls[0] += 1
            self.window = min(self.window, features.shape[2])
        return self.norm(super().between(features))


class ClosedOver(Stem):
    """A copy of the function in it would go on using the parts of the original."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.run = lambda features: self.norm(features) + self.first.bias[:, None, None]

    def between(self, features: Tensor) -> Tensor:
        return self.run(features)


class Remembering(Stem):
    """Keeps what its hooks see, as feature extractors do, with its history."""

    def __init__(self) -> None:
        super().__init__()
        self.features: dict[str, Tensor] = {}
        self.second.register_forward_hook(self.keep)
        self(torch.ones(1, 3, 8, 8))

    def keep(self, _layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        self.features["second"] = output


class Normed(Stem):
    """Weight norm keeps a tensor with history; both kinds of spectral norm keep vectors."""

    def __init__(self) -> None:
        super().__init__()
        nn.utils.weight_norm(self.first)
        self.old = nn.utils.spectral_norm(nn.Conv2d(4, 4, 3, padding=1))
        self.new = parametrizations.spectral_norm(nn.Conv2d(4, 4, 3, padding=1))

    def between(self, features: Tensor) -> Tensor:
        return self.new(self.old(features))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    name: network
    for name, network in globals().items()
    if isinstance(network, type) and issubclass(network, Stem)
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return randomise_norms(NETWORKS[name]().double())


@pytest.mark.parametrize("name", NETWORKS)
def test_network_and_random_states_are_as_before(name: str) -> None:
    network = made(name).float()
    model = as_model(network, preprocessing=PLAIN)
    before = state(network), identities(network), random_states()
    effective_receptive_field(model, num_images=2, resolution=64)
    assert (state(network), identities(network), random_states()) == before
    describe_layers(model)
    assert (state(network), identities(network), random_states()) == before
    image = torch.rand(1, 3, 64, 64)
    fresh = made(name).float()
    torch.manual_seed(1)
    expected = fresh(image)
    torch.manual_seed(1)
    assert torch.equal(network(image), expected)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"Unseeded"}))
def test_its_map_is_that_of_a_network_that_was_never_probed(name: str) -> None:
    network, fresh = made(name), made(name).eval()
    selection = select("builtin", 1)
    result = effective_receptive_field(
        as_model(network, preprocessing=PLAIN), selection, resolution=64
    )
    image = selection.images[0].open()
    expected = ding2022_map(fresh, image, 64, PLAIN.mean, PLAIN.std, torch.float64)
    np.testing.assert_allclose(result.map, expected, rtol=1e-9, atol=1e-12 * expected.max())


def test_a_network_that_draws_is_measured_alike_each_time() -> None:
    network = made("Unseeded")
    first, second = (
        effective_receptive_field(network, num_images=1, resolution=64) for _ in range(2)
    )
    np.testing.assert_array_equal(first.map, second.map)


@pytest.mark.parametrize("choices", [{}, {"exact": True}, {"batch_size": 4}], ids=str)
@pytest.mark.parametrize(
    "draw",
    [
        lambda features: F.dropout(features, 0.5, training=True),
        lambda features: features * torch.rand(features.shape),
        lambda features: features * np.random.rand(),
        lambda features: features * random.random(),
    ],
    ids=["dropout", "torch", "NumPy", "Python"],
)
def test_of_a_network_that_draws_it_is_said(
    draw: Callable[[Tensor], Tensor], choices: dict[str, Any]
) -> None:
    network = Stem()
    network.between = draw  # type: ignore[method-assign]
    states = []
    for seed in range(2):
        for own in (torch.manual_seed, np.random.seed, random.seed):
            own(seed)
        result = effective_receptive_field(network, num_images=8, resolution=64, **choices)
        assert result.runs[0]["draws"]
        assert "random draws" in [each.kind for each in cautions(result)]
        assert "see each other" not in result.runs[0]["refused"]
        states.append(result.map)
    assert np.abs(states[0] - states[1]).max() > 0.1 * states[0].max()  # as it is said


def test_draws_that_decide_nothing_are_not_said_where_that_is_shown() -> None:
    network = Stem()
    network.between = lambda features: features + 0 * torch.rand(())  # type: ignore[method-assign]
    shown = effective_receptive_field(network, num_images=8, resolution=64)
    assert shown.runs[0]["largest_difference"] is not None
    assert not shown.runs[0]["draws"]
    assert effective_receptive_field(network, num_images=2, resolution=64).runs[0]["draws"]


class OwnGenerator(Stem):
    """Draws from a generator that nobody else knows of."""

    def between(self, features: Tensor) -> Tensor:
        return features * float(np.random.default_rng().random())


def test_a_generator_of_its_own_is_seen_where_a_faster_way_is_tried() -> None:
    result = effective_receptive_field(OwnGenerator(), num_images=8, resolution=64)
    assert result.runs[0]["draws"]
    assert "something else for the same image" in result.runs[0]["refused"]


def test_inside_inference_mode() -> None:
    outside = effective_receptive_field(made("Norms"), num_images=1, resolution=64)
    with torch.inference_mode():
        inside = effective_receptive_field(made("Norms"), num_images=1, resolution=64)
        assert torch.is_inference_mode_enabled()
    np.testing.assert_array_equal(inside.map, outside.map)


#: What functions of this module, or any others, find by themselves.
HELD: dict[str, nn.Module] = {}


def run(norm: Any, features: Tensor) -> Tensor:
    return nn.BatchNorm2d.forward(norm, features)


def bound(norm: nn.BatchNorm2d) -> Any:
    """Return the usual patch: the method as it was, in a function of one's own."""
    own = norm.forward
    return lambda features: own(features)


def wrapped(norm: nn.BatchNorm2d) -> Any:
    own = norm.forward
    return functools.wraps(own)(lambda features: own(features))


def by_keyword(norm: nn.BatchNorm2d) -> Any:
    def forward(features: Tensor, *, norm: nn.BatchNorm2d = norm) -> Tensor:
        statistics = norm.running_mean, norm.running_var, norm.weight, norm.bias
        return F.batch_norm(features, *statistics, norm.training)

    return forward


def in_list(norm: nn.BatchNorm2d) -> Any:
    held = {"norms": [norm]}
    return lambda features: run(held["norms"][0], features)


def in_set(norm: nn.BatchNorm2d) -> Any:
    held = {norm}
    return lambda features: run(next(iter(held)), features)


def in_object(norm: nn.BatchNorm2d) -> Any:
    held = SimpleNamespace(norm=norm)
    return lambda features: run(held.norm, features)


def weakly(norm: nn.BatchNorm2d) -> Any:
    held = weakref.ref(norm)
    return lambda features: run(held(), features)


def by_global(norm: nn.BatchNorm2d) -> Any:
    HELD["norm"] = norm
    return lambda features: by_name(features)


def by_name(features: Tensor) -> Tensor:
    return run(HELD["norm"], features)


def hidden(norm: nn.BatchNorm2d) -> Any:
    HELD["norm"] = norm
    return lambda features: run(vars(sys.modules[__name__])["HE" + "LD"]["norm"], features)


def patched(way: Callable[[nn.BatchNorm2d], Any] | None) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), norm, nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 4, 3, 2, 1)
    )
    randomise_norms(network).train()
    if way:
        norm.forward = way(norm)  # type: ignore[method-assign]
    return network


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "way", [bound, wrapped, by_keyword, in_list, in_set, in_object, weakly, by_global]
)
def test_functions_that_refer_to_parts(way: Callable[[nn.BatchNorm2d], Any], half: bool) -> None:
    """They see the copy's parts, or the network itself is measured, without its field."""
    network, plain = patched(way), patched(None)
    if half:
        network, plain = network.half(), plain.half()
    before = state(network), identities(network)
    selection = select("builtin", 5)  # enough for the faster ways
    found = effective_receptive_field(
        as_model(network, preprocessing=PLAIN), selection, resolution=64, device="cpu"
    )
    assert (state(network), identities(network)) == before
    plain.double().eval()
    expected = sum(
        ding2022_map(plain, image.open(), 64, PLAIN.mean, PLAIN.std, torch.float64)
        for image in selection.images
    ) / len(selection)
    np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-5 * expected.max())
    # By hand: a kernel of 3 with stride 2, and one of 3 behind it.
    expected_words = "not known" if way in (weakly, by_global) else "7"
    assert found.receptive_field.in_words == expected_words


def test_a_part_that_nobody_could_see_is_given_back_its_state() -> None:
    network = patched(hidden)
    before = state(network), identities(network)
    with pytest.raises(ErfToolsError, match=r"changed the network itself.*has been given back"):
        effective_receptive_field(network, num_images=1, resolution=64, device="cpu")
    assert (state(network), identities(network)) == before
    network.eval()
    found = effective_receptive_field(network, num_images=1, resolution=64, device="cpu")
    assert found.receptive_field.in_words == "7"


def test_a_training_that_goes_on_meanwhile_is_left_alone() -> None:
    network = patched(None)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    with copy_on_device(network, torch.device("cpu")):
        network(torch.rand(2, 3, 16, 16)).sum().backward()
        optimizer.step()
        trained = state(network)
    assert state(network) == trained
