"""Names, weights and input sizes: from what the user typed to a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.models import catalogue
from erf_tools.models.libraries.library import Form
from erf_tools.models.loading import load_model
from erf_tools.models.model import CROP_MODES
from erf_tools.models.names import open_library, resolve
from erf_tools.models.prefixes import LIBRARIES


@pytest.mark.parametrize("name", catalogue.ENTRIES)
def test_catalogue_rows_are_true(name: str) -> None:
    """Each row's claims against the network that it names."""
    entry = catalogue.ENTRIES[name]
    if entry.library not in LIBRARIES:
        with torch.device("meta"):
            module = open_library(entry.library).build(entry, Form(), None).module
    else:
        import timm

        with torch.device("meta"):
            module = timm.create_model(entry.architecture)
        cfg = module.pretrained_cfg
        assert entry.weights.licence.lower() == cfg["license"]
        assert entry.preprocessing.size == cfg["input_size"][-1]
        assert entry.preprocessing.mean == tuple(cfg["mean"])
        assert entry.preprocessing.std == tuple(cfg["std"])
        assert entry.preprocessing.interpolation == cfg["interpolation"]
        assert entry.preprocessing.crop_fraction == cfg["crop_pct"]
        assert entry.preprocessing.resize == CROP_MODES[cfg.get("crop_mode", "center")]
    assert sum(parameter.numel() for parameter in module.parameters()) == entry.parameters


def test_paper_baselines_are_the_torchvision_weights() -> None:
    assert resolve("resnet101").architecture == "resnet101.tv_in1k"
    assert resolve("resnet152").architecture == "resnet152.tv_in1k"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("replknet31", "replknet31b"),
        ("resnet_101", "resnet101"),
        ("swin-b", "swin_b"),
        ("resnet50.a2_in1k_", "resnet50.a2_in1k"),
    ],
)
def test_unknown_names_suggest_near_ones(name: str, near: str) -> None:
    with pytest.raises(UsageError, match="did you mean") as caught:
        resolve(name)
    assert near in str(caught.value)


def test_random_weights_follow_the_seed_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    digests = [load_model("resnet18", "random", seed).weights.sha256 for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.rand(3), expected)


def test_untrained_resnet_is_not_nearly_the_identity() -> None:
    model = load_model("resnet18", "random")
    assert model.weights.label == "untrained"
    assert "8 zero-initialised norm scales set to one" in model.weights.source
    scales = [m.weight for m in model.module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(scale.abs().min() > 0 for scale in scales)
    # The trap: what timm gives by itself has residual branches that do nothing.
    import timm

    assert not timm.create_model("resnet18").layer4[1].bn2.weight.any()


def test_networks_are_in_evaluation_mode() -> None:
    for name in ("resnet18", "replknet3"):
        assert not any(module.training for module in load_model(name, "random").module.modules())


def test_swin_runs_at_the_size_asked_for_and_the_record_says_how() -> None:
    model = load_model("swin_t", "random", resolution=512)
    assert model.input_size == (512, 512)
    assert model.arguments["img_size"] == [512, 512]
    # img_size shifts the last stage's windows, as the official code does at this size ...
    assert model.arguments["windows"][-1] == {"window": [7, 7], "shift": [3, 3]}
    # ... which is another network than the one at 224, whose last stage is one window.
    native = load_model("swin_t", "random")
    assert native.input_size == (224, 224)
    assert native.arguments["windows"][-1] == {"window": [7, 7], "shift": [0, 0]}


def test_weights_from_a_file(tmp_path: Path) -> None:
    first = load_model("resnet18", "random", seed=3)
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": first.module.state_dict()}, path)
    second = load_model("resnet18", path)
    assert second.weights.kind == "file"
    assert second.weights.label == "mine.pth"
    assert torch.equal(second.module.conv1.weight, first.module.conv1.weight)


def test_the_control_was_never_published() -> None:
    with pytest.raises(ErfToolsError, match="no weights of replknet3 were ever published"):
        load_model("replknet3")


FACTORY = """
import torch

def network():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))

def number():
    return 7

def broken():
    raise RuntimeError("no such dataset")

def leaves():
    raise SystemExit(0)

def wants(width):
    return torch.nn.Conv2d(3, width, 3)

def kind():
    return torch.nn.ReLU

def pair():
    return network(), None

def diverged():
    made = network()
    torch.nn.init.constant_(made[0].bias, float("nan"))
    return made

table = {}
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in the current folder."""
    (tmp_path / "my_networks.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return tmp_path


def test_own_factory(factory: Path) -> None:
    model = load_model("my_networks:network")
    assert model.weights.kind == "given"
    assert not model.module.training
    torch.save(model.module.state_dict(), factory / "own.pth")
    assert load_model("my_networks:network", "own.pth").weights.label == "own.pth"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("my_networks:absent", UsageError, "has no 'absent'"),
        ("nowhere.at_all:network", UsageError, "cannot import"),
        ("my_networks:number", UsageError, "returned a int"),
        ("my_networks:broken", ErfToolsError, "no such dataset"),
        ("my_networks:leaves", ErfToolsError, "failed: SystemExit: 0"),
        ("my_networks:wants", ErfToolsError, "missing 1 required positional argument: 'width'"),
        ("my_networks:kind", UsageError, "returned the class ReLU; give an instance of it"),
        ("my_networks:pair", UsageError, "returned a tuple of 2; give the nn.Module in it alone"),
        ("my_networks:diverged", UsageError, r"not finite \(NaN or infinity\) in 0.bias"),
        ("my_networks:table", UsageError, "is a dict, not a function; name one"),
        ("my_networks:", UsageError, "has no ''"),
        ("sys:exit", ErfToolsError, "sys:exit failed: SystemExit$"),
    ],
)
def test_factories_that_do_not_work(
    factory: Path, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_model(name)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def network(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import nosuch_package", "cannot import.*nosuch_package"),
        ("raise KeyError('DATA')", "KeyError: 'DATA'"),
        ("a = chr(0)\nopen(a)", "ValueError: embedded null"),
    ],
)
def test_modules_that_fail_when_they_are_imported(factory: Path, code: str, said: str) -> None:
    (factory / "my_networks.py").write_text(code)
    with pytest.raises(ErfToolsError, match=f"my_networks.*{said}"):
        load_model("my_networks:network")


def test_random_weights_are_not_ours_to_make_for_a_factory(factory: Path) -> None:
    with pytest.raises(UsageError, match="decides its own"):
        load_model("my_networks:network", "random")
