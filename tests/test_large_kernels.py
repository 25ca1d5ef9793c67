"""What the built-in networks with large kernels have in common: counts, names, fields, forms."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn

from erf_tools.models import van
from erf_tools.models.loading import load_model

FAMILIES = {module.__name__.rpartition(".")[2]: module.FAMILY for module in (van,)}

#: By the authors' code: parameters in training form and, where there is one, in merged form; number
#: of names in the state dict, and how the SHA-256 of the sorted names, a line each, begins.
OFFICIAL: dict[tuple[str, str], tuple[int, int | None, int, str]] = {
    ("van", "b0"): (4_105_800, None, 402, "e0eae20582b66bbf"),
    ("van", "b1"): (13_861_800, None, 318, "1415b23480fed6ed"),
    ("van", "b2"): (26_578_472, None, 626, "5c51a88193bfacda"),
    ("van", "b3"): (44_765_608, None, 1102, "5698366b15ee446f"),
}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("family", "variant"), OFFICIAL)
def test_counts_and_names_are_the_official_ones(family: str, variant: str) -> None:
    training, merged, number, digest = OFFICIAL[family, variant]
    with torch.device("meta"):
        network = FAMILIES[family].build(variant)
    names = sorted(network.state_dict())
    found = hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert (count(network), len(names), found[:16]) == (training, number, digest)
    if merged:
        with torch.device("meta"):
            assert count(FAMILIES[family].build(variant, merged=True)) == merged


def test_no_variant_goes_unchecked() -> None:
    built = {(name, variant) for name in FAMILIES for variant in FAMILIES[name].variants}
    assert built == OFFICIAL.keys()


@pytest.mark.parametrize(("name", "scales"), [("van_b0", 26)])
def test_untrained_branches_are_switched_on(name: str, scales: int) -> None:
    model = load_model(name, "random")
    assert f"; {scales} LayerScales set to one" in model.weights.source
    values = [value for key, value in model.module.named_parameters() if "scale" in key]
    assert all(torch.equal(value, torch.ones_like(value)) for value in values)
