"""What is said of networks that fail: what happened, and a remedy only where it can help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import Command
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from erf_tools import effective_receptive_field, shape_bias
from erf_tools.computing import Computing
from erf_tools.cue_conflict.stimulus_sets import StimulusSet
from erf_tools.erf.measuring import measurable
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.models.failures import OutOfMemory, explained
from erf_tools.models.model import as_model

SIDE = 16

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{said}")
    for said in (".*torch.jit", "torch.ao.quantization", "Please use quant_min", ".*quantize_per")
]


class Own(nn.Module):
    """A convolution, and what a user's forward makes of it and of the images."""

    def __init__(self, made: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.made = made

    def forward(self, images: Any) -> Any:
        return self.made(self.conv, images)


def conv(channels: int = 3, made: int = 4) -> nn.Conv2d:
    return nn.Conv2d(channels, made, 3, 2, 1)


def without_gradient(layer: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(images)


def raising(error: BaseException) -> nn.Module:
    def raise_it(layer: nn.Module, images: Tensor) -> Tensor:
        raise error

    return Own(raise_it)


def overwriting(layer: nn.Module, images: Tensor) -> Tensor:
    features = layer(images).exp()
    found = features * features
    features.add_(1)
    return found


class OneWay(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor) -> Tensor:  # type: ignore[override]
        return images * 2


class TwoImages(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right


class ByName(nn.Module):
    def forward(self, *, pixel_values: Tensor) -> Tensor:
        return pixel_values


class NoForward(nn.Module):
    pass


class OwnError(Exception):
    pass


def quantised() -> nn.Module:
    network = torch.ao.quantization.QuantWrapper(nn.Sequential(conv(), nn.ReLU())).eval()
    network.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    network = torch.ao.quantization.prepare(network)
    network(torch.randn(1, 3, SIDE, SIDE))
    return torch.ao.quantization.convert(network)


def exported() -> Any:
    return torch.export.export(nn.Sequential(conv()).eval(), (torch.randn(2, 3, SIDE, SIDE),))


#: A network, what is said of it, and whether its size is to blame.
CAUSES: dict[str, tuple[Callable[[], Any], str]] = {
    "no_grad": (lambda: Own(without_gradient), "no gradient reaches the image.*name a layer"),
    "detach": (lambda: Own(lambda c, x: c(x).detach()), "no gradient reaches the image"),
    "rounding": (lambda: Own(lambda c, x: c(x).long()), "no gradient reaches the image"),
    "NumPy": (
        lambda: Own(lambda c, x: torch.from_numpy(c(x).numpy())),
        "computes with NumPy.*compute that step with torch",
    ),
    "re-entrant checkpoints": (
        lambda: Own(lambda c, x: checkpoint(c, x, use_reentrant=True)),
        "re-entrant.*use_reentrant=False",
    ),
    "overwritten values": (lambda: Own(overwriting), "overwrites, in place.*inplace=False"),
    "no backward": (lambda: Own(lambda c, x: OneWay.apply(c(x))), "has no gradient"),
    "not of the image": (
        lambda: Own(lambda c, x: torch.ones(len(x), 2, 8, 8, requires_grad=True)),
        "does not depend on the image.*another layer",
    ),
    "one channel": (lambda: nn.Sequential(conv(1)), r"\(RGB\).*give --channels 1 or 4"),
    "four channels": (lambda: nn.Sequential(conv(4)), r"\(RGB\).*give --channels 1 or 4"),
    "two inputs": (TwoImages, "takes something else.*missing 1 required.*wrap it"),
    "by name": (ByName, "takes something else.*wrap it"),
    "dictionary": (lambda: Own(lambda c, x: c(x["image"])), "dictionary.*wrap it"),
    "object": (lambda: Own(lambda c, x: c(x.pixel_values)), "dictionary or an object.*wrap it"),
    "volumes": (lambda: nn.Sequential(nn.Conv3d(3, 4, 3)), "no network for images"),
    "signals": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3)), "no network for images"),
    "tokens": (lambda: nn.Sequential(nn.Embedding(10, 3)), "no network for images"),
    "NameError": (lambda: Own(lambda c, x: nonsense), "NameError.*nonsense.*test_failures.py"),  # type: ignore[name-defined] # noqa: F821
    "KeyError": (lambda: Own(lambda c, x: {}["scale"]), "KeyError: 'scale'.*test_failures.py"),
    "StopIteration": (lambda: Own(lambda c, x: next(iter([]))), r"StopIteration \(test_failures"),
    "division": (lambda: Own(lambda c, x: 1 / 0), "ZeroDivisionError.*--debug"),
    "AttributeError": (lambda: Own(lambda c, x: c.missing), "AttributeError.*'missing'"),
    "silent assertion": (lambda: raising(AssertionError()), r"AssertionError \(test_failures"),
    "own exception": (lambda: raising(OwnError("one\ntwo")), r"OwnError: one \(test_failures"),
    "sys.exit": (lambda: raising(SystemExit(0)), "ends the program"),
    "no forward": (NoForward, "has no forward"),
    "endless": (lambda: raising(RecursionError("depth exceeded")), "calls itself without end"),
    "package": (lambda: Own(lambda c, x: __import__("nosuch_package")), "'nosuch_package'.*instal"),
    "file": (
        lambda: Own(lambda c, x: Path("nowhere.bin").read_bytes()),
        "file or an address.*nowhere.bin",
    ),
    "memory": (lambda: raising(MemoryError()), "does not fit into memory.*lower --resolution"),
    "allocation": (lambda: Own(lambda c, x: torch.empty(1 << 46)), "does not fit into memory"),
    "ScriptModule": (lambda: torch.jit.script(nn.Sequential(conv())), "TorchScript.*from which"),
    "frozen script": (
        lambda: torch.jit.freeze(torch.jit.script(nn.Sequential(conv()).eval())),
        "TorchScript.*from which",
    ),
    "scripted part": (
        lambda: nn.Sequential(conv(), torch.jit.script(conv(4))),
        "a part that is, which cannot be looked into.*from which",
    ),
    "traced part": (
        lambda: nn.Sequential(conv(), torch.jit.trace(conv(4), torch.ones(1, 4, 8, 8))),
        "a part that is, which cannot be looked into.*from which",
    ),
    "torch.export": (exported, "torch.export program; give the nn.Module"),
    "exported module": (lambda: exported().module(), "torch.export.*give the nn.Module"),
    "quantised": (quantised, "quantised layers.*floating point"),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), "lazy layers.*call it once"),
    "8 bits": (lambda: conv().to(torch.float8_e5m2), r"8 bits \(weight, float8_e5m2\); give"),
    "meta": (lambda: nn.Sequential(conv()).to("meta"), "meta device.*load its weights"),
    "partly meta": (lambda: nn.Sequential(conv(), conv(4).to("meta")), r"meta device.*1\.weight"),
    "float64 inside": (lambda: nn.Sequential(conv(), conv(4).double()), r"types.*\.float\(\)"),
    "complex": (lambda: Own(lambda c, x: torch.fft.fft2(c(x))), "type of numbers"),
    "sparse": (lambda: Own(lambda c, x: c(x).to_sparse()), r"not dense.*\.to_dense\(\)"),
    "batch statistics": (
        lambda: Own(lambda c, x: nn.BatchNorm2d(4)(c(x).mean((2, 3), keepdim=True))),
        "statistics of the batch.*eval",
    ),
    "class": (lambda: NoForward, "the class NoForward; give an instance"),
    "function": (lambda: F.relu, "no nn.Module; give a module whose forward calls it"),
    "state dict": (lambda: conv().state_dict(), "a state dict as its weights|dictionary"),
    "with transform": (lambda: (conv(), None), "tuple of 2; give the nn.Module in it alone"),
    "settings": (argparse.Namespace, "a Namespace, not an nn.Module"),
}

#: Here the size is to blame, and only here is it said so.
SIZES: dict[str, Callable[[], nn.Module]] = {
    "built for 224": lambda: timm.create_model("vit_tiny_patch16_224", depth=1),
    "flattened": lambda: nn.Sequential(conv(), nn.Flatten(), nn.Linear(7, 2)),
    "concatenation": lambda: Own(lambda c, x: torch.cat([c(x), x[:, :, :7, :7]], 1)),
    "sum": lambda: Own(lambda c, x: c(x) + x[:, :1, :7, :7]),
    "kernel": lambda: nn.Sequential(nn.Conv2d(3, 4, 31)),
    "pooling": lambda: nn.Sequential(nn.AvgPool2d(32)),
    "view": lambda: Own(lambda c, x: c(x).view(len(x), 4, 7, 7)),
    "reflection": lambda: nn.Sequential(nn.ReflectionPad2d(20)),
}


def measure(network: Any) -> None:
    effective_receptive_field(network, num_images=1, resolution=SIDE, device="cpu")


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_has_its_sentence(cause: str) -> None:
    network, said = CAUSES[cause]
    with pytest.raises(ErfToolsError, match=f"(?s){said}") as caught:
        measure(network())
    assert "\n" not in str(caught.value)
    assert "trained at" not in str(caught.value)


@pytest.mark.parametrize("cause", SIZES)
def test_another_resolution_is_advised_where_the_size_is_to_blame(cause: str) -> None:
    with pytest.raises(ErfToolsError, match="try the resolution it was trained at"):
        measure(SIZES[cause]())


def test_the_device_is_to_blame() -> None:
    if torch.cuda.is_available():
        pytest.skip("a machine with CUDA has it")
    with pytest.raises(ErfToolsError, match=r"asks for CUDA, which is not here.*remove \.cuda\(\)"):
        measure(Own(lambda c, x: c(x.cuda())))
    with pytest.raises(UsageError, match="no such device here; use auto or cpu"):
        effective_receptive_field(nn.Sequential(conv()), resolution=SIDE, device="cuda")


def test_what_was_raised_stays_the_cause() -> None:
    error = OwnError("mine")
    with pytest.raises(ErfToolsError) as caught:
        measure(raising(error))
    assert caught.value.__cause__ is error


def test_networks_of_libraries_are_not_the_users_to_mend() -> None:
    """halonet_h1 at 160 and 224 has an assertion without words."""
    for network, remedy in [
        (timm.create_model("resnet18"), "try another --resolution"),
        (raising(AssertionError()), "mend that"),
    ]:
        said = (
            rf"net failed on inputs of 8x8: AssertionError.*; {remedy}, or see the traceback with"
        )
        with pytest.raises(ErfToolsError, match=said), explained("net", network, (8, 8)):
            raise AssertionError


def test_memory_that_runs_out_can_be_handled() -> None:
    """On any device: a batch of fewer images may fit."""
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")):
        with pytest.raises(OutOfMemory), explained("net", nn.Identity(), (8, 8)):
            raise error


def test_what_goes_wrong_elsewhere_is_not_the_networks_fault() -> None:
    """While a network is ready, the caller may write files."""
    model = as_model(nn.Sequential(conv()))
    with (
        pytest.raises(FileNotFoundError),
        measurable(model, Procedure(resolution=SIDE), [model.tap], Computing(device="cpu")),
    ):
        raise FileNotFoundError


@pytest.mark.parametrize(
    ("state", "other"),
    [({"steps": 1}, {"steps": 2}), (torch.ones(2), torch.zeros(2)), ([None, b"x"], [None, b"y"])],
)
def test_extra_state_is_measured_and_is_part_of_the_digest(state: Any, other: Any) -> None:
    class Extra(nn.Sequential):
        def __init__(self, extra: Any) -> None:
            super().__init__(nn.Conv2d(3, 4, 3))
            nn.init.ones_(self[0].weight)
            nn.init.zeros_(self[0].bias)
            self.extra = extra

        def get_extra_state(self) -> Any:
            return self.extra

        def set_extra_state(self, state: Any) -> None:
            self.extra = state

    digests = [as_model(Extra(extra)).weights.sha256 for extra in (state, state, other)]
    assert digests[0] == digests[1] != digests[2]
    measure(Extra(state))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: raising(KeyError("scale")), "KeyError: 'scale'"),
        (TwoImages, "takes something else"),
        (lambda: nn.Sequential(conv(1)), r"\(RGB\)"),
        (lambda: raising(StopIteration()), "StopIteration"),
    ],
)
def test_decisions_fail_with_the_same_sentences(
    network: Callable[[], nn.Module], said: str, published_stimuli: StimulusSet
) -> None:
    with pytest.raises(ErfToolsError, match=said):
        shape_bias(network(), published_stimuli, device="cpu")


FACTORIES = """
from torch import nn

class Lookup(nn.Module):
    def forward(self, images):
        return self.table[images]

class Both(nn.Module):
    def forward(self, images, depth):
        return images

def gray():
    return nn.Sequential(nn.Conv2d(1, 4, 3))
"""


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("Lookup", "AttributeError: 'Lookup' object has no attribute 'table'"),
        ("Both", "missing 1 required positional argument: 'depth'"),
        ("gray", "does not take images of three channels (RGB)"),
    ],
)
@pytest.mark.parametrize("command", ["erf", "layers"])
def test_commands_say_it_in_one_line(
    command: str,
    factory: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_command: Command,
) -> None:
    (tmp_path / "failing_networks.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "failing_networks", raising=False)
    name = f"failing_networks:{factory}"
    asked = (name,) if command == "layers" else ("--model", name, "--num-images", "1")
    code, _, error = run_command(command, *asked, "--resolution", str(SIDE))
    assert code == 1
    assert said in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    _, _, error = run_command(command, *asked, "--resolution", str(SIDE), "--debug")
    assert "Traceback" in error
