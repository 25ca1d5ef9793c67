"""Networks that are built here, by timm's own functions."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from timm.models._registry import _clear_model_entries
from timm.utils import reparameterize_model
from torch import nn

from erf_tools.errors import UsageError
from erf_tools.models.catalogue import ENTRIES
from erf_tools.models.loading import load_model
from erf_tools.models.prefixes import LIBRARIES

OWN = [entry for entry in ENTRIES.values() if entry.library not in LIBRARIES]


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Register them while this module's tests run; nothing else has."""
    assert not timm.is_model("slak_t")
    import erf_tools.models.registered

    yield
    for entry in OWN:
        _clear_model_entries(entry.name)
    del sys.modules[erf_tools.models.registered.__name__]


@pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry.name)
def test_each_is_built_by_timm_with_its_official_count(entry) -> None:
    assert timm.is_model(entry.name)
    with torch.device("meta"):
        network = timm.create_model(entry.name)
    assert sum(parameter.numel() for parameter in network.parameters()) == entry.parameters
    config = resolve_model_data_config(network)
    own = entry.preprocessing
    assert config["input_size"] == (3, own.size, own.size)
    assert config["mean"] == own.mean
    assert config["crop_pct"] == own.crop_fraction


def test_it_is_the_network_that_is_measured() -> None:
    torch.manual_seed(0)
    network = timm.create_model("van_b0").eval()
    ours = load_model("van_b0", "random").module
    ours.load_state_dict(network.state_dict(), strict=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), ours(images))


@pytest.mark.parametrize("name", ["unireplknet_a", "van_b0"])
def test_the_maps_of_stages_and_merged_kernels(name: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, features_only=True, out_indices=(1, 3)).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = network(images)
        assert [each.shape[-1] for each in maps] == [8, 2]
        assert network.feature_info.channels() == [each.shape[1] for each in maps]
        again = reparameterize_model(network)(images)
    for own, other in zip(maps, again, strict=True):
        assert float((own - other).norm() / own.norm()) < 1e-5


def test_what_it_does_not_take_is_told() -> None:
    with pytest.raises(UsageError, match="no argument num_classes"):
        timm.create_model("van_b0", num_classes=10)
    with pytest.raises(UsageError, match="reparameterize_model"):
        timm.create_model("slak_t", pretrained=True, merged=True)


def test_timms_own_networks_stay_as_they_are() -> None:
    assert type(timm.create_model("resnet18")).__module__.startswith("timm")
    assert isinstance(timm.create_model("replknet13_120e", merged=True), nn.Module)
