"""Networks are told apart by all that they are but the values of their weights."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from erf_tools import load_model
from erf_tools.features.architecture import architecture_sha256


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3, padding=1)
    )


def set_hook(network: nn.Sequential) -> None:
    network[0].register_forward_hook(F.relu)


#: Each makes another network of the same weights' shapes, or of nearly the same.
CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "stride": lambda network: setattr(network[0], "stride", (2, 2)),
    "dilation": lambda network: setattr(network[3], "dilation", (2, 2)),
    "padding mode": lambda network: setattr(network[3], "padding_mode", "circular"),
    "another activation": lambda network: network.__setitem__(2, nn.SiLU()),
    "its argument": lambda network: setattr(network[2], "approximate", "tanh"),
    "order": lambda network: network._modules.update({"1": network[2], "2": network[1]}),
    "training": lambda network: network.train(),
    "a part left out": lambda network: network.__delitem__(1),
    "an attribute": lambda network: setattr(network, "window", 7),
    "a function": lambda network: setattr(network, "pool", F.max_pool2d),
    "a function's arguments": lambda network: setattr(network, "pool", partial(F.relu, inplace=1)),
    "a hook": set_hook,
    "type": lambda network: network.double(),
    "a buffer": lambda network: network.register_buffer("places", torch.arange(4)),
    "one part twice": lambda network: network.__setitem__(
        3, nn.Conv2d(8, 8, 3, padding=1, groups=8)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_network_changes_its_digest(change: str) -> None:
    network = plain().eval()
    before = architecture_sha256(network)
    CHANGES[change](network)
    assert before is not None
    assert architecture_sha256(network) not in (None, before)


def test_integers_in_buffers_count_and_values_of_weights_do_not() -> None:
    def with_places(places: list[int]) -> str | None:
        network = plain()
        network.register_buffer("places", torch.tensor(places))
        return architecture_sha256(network)

    assert with_places([0, 1]) == with_places([0, 1])
    assert with_places([0, 1]) != with_places([1, 0])


@pytest.mark.parametrize(
    "name", ["unireplknet_a", "van_b0", "resnet18", "swin_tiny_patch4_window7_224"]
)
def test_one_kind_of_network_has_one_digest_whatever_it_has_run(name: str) -> None:
    one, other = (load_model(name, "random", seed=seed).module for seed in (0, 1))
    with torch.no_grad():
        one.eval()(torch.zeros(1, 3, 224, 224))
    copied = copy.deepcopy(one)
    digests = {architecture_sha256(network.eval()) for network in (one, other, copied)}
    assert len(digests) == 1
    assert None not in digests


def test_relatives_differ() -> None:
    names = ["resnet18", "resnet18d", "seresnet18", "resnet34", "efficientnet_lite0", "mobilevit_s"]
    networks = [timm.create_model(name) for name in names]
    networks.append(timm.create_model("resnet18", output_stride=16))
    digests = [architecture_sha256(network) for network in networks]
    assert None not in digests
    assert len(set(digests)) == len(networks)


class OwnPartial(partial):
    """It may do something else with what it holds."""


class OwnTensor(Tensor):
    """Likewise."""


class Own(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


UNTOLD: dict[str, object] = {
    "a part of one's own": Own(),
    "a function of one's own": lambda x: x,
    "it with arguments": partial(lambda x: x, 1),
    "a partial of one's own": OwnPartial(F.relu),
    "a tensor of one's own": torch.zeros(3).as_subclass(OwnTensor),
    "a method": Own().forward,
    "a class": Own,
    "deep inside": [{"deep": (Own(),)}],
    "an iterator": iter([1]),
    "a random state": torch.Generator(),
}


@pytest.mark.parametrize("held", UNTOLD)
def test_what_cannot_be_told_apart_has_no_digest(held: str) -> None:
    network = plain()
    vars(network)["held"] = UNTOLD[held]
    assert architecture_sha256(network) is None


#: Each changes what every network does.
REPLACED = {
    "a function of torch": (torch, "relu"),
    "a function of torch.nn": (F, "conv2d"),
    "a method of tensors": (Tensor, "relu"),
}


@pytest.mark.parametrize("what", REPLACED)
def test_with_a_function_in_place_of_torchs_there_is_none(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = REPLACED[what]
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *inputs, **options: original(*inputs, **options))
    assert architecture_sha256(plain()) is None


class OwnFunctions(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class OwnOperations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [OwnFunctions, OwnOperations])
def test_inside_of_a_mode_there_is_none(mode: type) -> None:
    with mode():
        assert architecture_sha256(plain()) is None
    assert architecture_sha256(plain()) is not None


def larger(part: nn.Conv2d, images: Tensor) -> Tensor:
    return F.conv2d(images, part.weight, padding=part.padding)[..., 1:, 1:]


def test_code_that_was_put_in_place_of_a_librarys_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert architecture_sha256(plain()) is not None
    with monkeypatch.context() as patched:
        patched.setattr(nn.Conv2d, "forward", larger)
        assert architecture_sha256(plain()) is None
    with monkeypatch.context() as patched:
        patched.setattr(nn.Conv2d, "forward", torch.no_grad()(larger))
        assert architecture_sha256(plain()) is None
    with monkeypatch.context() as patched:
        patched.setattr(nn.Conv2d, "forward", functools.partialmethod(larger))
        assert architecture_sha256(plain()) is None
    network = plain()
    network[0].forward = functools.wraps(network[0].forward)(lambda images: images)
    assert architecture_sha256(network) is None
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert architecture_sha256(plain()) is None
    handle.remove()
    assert architecture_sha256(plain()) is not None


@pytest.mark.parametrize("module", ["queue", "builtins", "torch.nn.modules.conv"])
def test_code_is_known_by_where_it_lies(module: str) -> None:
    """Not by a module's name, which many a folder of networks has too."""
    scope: dict[str, type[nn.Module]] = {}
    exec("class Conv2d(base):\n    pass", {"base": nn.Conv2d, "__name__": module}, scope)
    assert scope["Conv2d"].__module__ == module
    network = nn.Sequential(scope["Conv2d"](3, 4, 3))
    assert architecture_sha256(network) is None


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_hooks_are_told_by_what_they_do() -> None:
    """Not by the number that torch counts them by."""
    one, other = (torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3)) for _ in range(2))
    assert architecture_sha256(one) == architecture_sha256(other) is not None


def test_parametrised_networks_have_none() -> None:
    network = plain()
    weight_norm(network[0])
    assert architecture_sha256(network) is None


def test_what_holds_itself_is_described_once() -> None:
    network = plain()
    ring: list[object] = [network]
    ring.append(ring)
    vars(network)["ring"] = ring
    assert architecture_sha256(network) is not None
