"""What the built-in networks with large kernels have in common: counts, names, fields, forms."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from loopback import Answer, Loopback
from reference import randomise
from timm.utils import reparameterize_model
from torch import nn

from erf_tools.kernels.folding import folded
from erf_tools.models import catalogue, slak, unireplknet, van, wtconvnext
from erf_tools.models.initialisation import switch_on_branches
from erf_tools.models.loading import load_model
from erf_tools.models.sources import PublishedFile

FAMILIES = {
    module.__name__.rpartition(".")[2]: module.FAMILY
    for module in (slak, unireplknet, van, wtconvnext)
}

#: By the authors' code: parameters in training form and, where there is one, in merged form; number
#: of names in the state dict, and how the SHA-256 of the sorted names, a line each, begins.
OFFICIAL: dict[tuple[str, str], tuple[int, int | None, int, str]] = {
    ("slak", "t"): (50_703_838, 60_577_702, 470, "074efe374729e64e"),
    ("slak", "t31"): (49_581_838, None, 470, "074efe374729e64e"),
    ("slak", "t61"): (51_264_838, None, 470, "074efe374729e64e"),
    ("slak", "s"): (91_131_820, None, 920, "df3501a4140d763e"),
    ("slak", "b"): (157_950_792, None, 920, "df3501a4140d763e"),
    ("unireplknet", "a"): (4_649_060, 4_437_300, 626, "33ec4159a77d3b8f"),
    ("unireplknet", "f"): (6_489_328, 6_235_216, 626, "33ec4159a77d3b8f"),
    ("unireplknet", "p"): (11_080_520, 10_741_704, 626, "33ec4159a77d3b8f"),
    ("unireplknet", "n"): (18_818_880, 18_318_560, 738, "dc4d934caaf26565"),
    ("unireplknet", "t"): (31_693_420, 31_037_980, 1116, "94684c918666e3ad"),
    ("unireplknet", "s"): (56_456_704, 55_645_984, 1305, "74c7e12e2873bf77"),
    ("unireplknet", "b"): (99_089_416, 98_008_456, 1305, "74c7e12e2873bf77"),
    ("unireplknet", "l"): (220_076_056, 218_454_616, 1305, "74c7e12e2873bf77"),
    ("unireplknet", "xl"): (388_690_984, 386_529_064, 1305, "74c7e12e2873bf77"),
    ("wtconvnext", "t"): (30_595_624, None, 356, "1d006e08c9a3ffd5"),
    ("wtconvnext", "s"): (54_448_936, None, 680, "beb281403ba65b10"),
    ("wtconvnext", "b"): (94_225_128, None, 680, "beb281403ba65b10"),
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


@pytest.mark.parametrize(
    ("name", "scales"),
    [("van_b0", 26), ("unireplknet_a", 12), ("slak_t", 18), ("wtconvnext_t", 18)],
)
def test_untrained_branches_are_switched_on(name: str, scales: int) -> None:
    model = load_model(name, "random")
    assert f"; {scales} LayerScales set to one" in model.weights.source
    last = "layer_scale_1" if name == "van_b0" else "gamma"
    values = [
        value
        for key, value in model.module.named_parameters()
        if key.endswith(f".{last}") and value.ndim == 1
    ]
    assert values
    assert all(torch.equal(value, torch.ones_like(value)) for value in values)


#: A small variant of each family with a merged form, every kind of block in it.
SMALL: dict[str, Any] = {
    "slak": slak.SLaKVariant((4, 5, 6, 7), (1, 1, 1, 1), (9, 7, 7, 5), 5),
    "unireplknet": replace(unireplknet.VARIANTS["t"], width=8, layers=(1, 1, 3, 1)),
}


def small(family: str) -> nn.Module:
    return randomise(FAMILIES[family].network(SMALL[family]))


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_merging_changes_nothing_but_rounding(
    family: str, dtype: torch.dtype, limit: float
) -> None:
    network = small(family).to(dtype)
    images = torch.randn(1, 3, 75, 96, dtype=dtype)
    expected = network(images)
    merged = reparameterize_model(network)
    assert not FAMILIES[family].is_merged(network.state_dict())
    whole, _ = folded(network, lambda net, shown: [net(shown)], (75, 96))
    assert whole is not network
    assert count(merged) < count(network)
    for other in (merged, whole):
        assert FAMILIES[family].is_merged(other.state_dict())
        assert (other(images) - expected).norm() <= limit * expected.norm()
    assert torch.equal(network(images), expected)  # the original is as it was


@pytest.mark.parametrize("family", SMALL)
def test_files_of_either_form_are_loaded(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small(family)
    variant, name = next(iter(FAMILIES[family].variants)), f"{family}_tiny"
    entry = replace(
        catalogue.ENTRIES[next(n for n, e in catalogue.ENTRIES.items() if e.library == family)],
        name=name,
    )
    monkeypatch.setitem(catalogue.ENTRIES, name, entry)
    monkeypatch.setitem(FAMILIES[family].variants, variant, SMALL[family])
    images = torch.randn(1, 3, 64, 64)
    for form in (network, reparameterize_model(network)):
        path = tmp_path / "file.pth"
        torch.save({"model": form.state_dict()}, path)
        model = load_model(name, path)
        assert torch.equal(model.module(images), form(images))
        assert model.arguments == ({} if form is network else {"merged": True})


def test_weights_of_a_row_are_fetched_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERF_TOOLS_CACHE", str(tmp_path))
    for name in ("ERF_TOOLS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    entry = catalogue.ENTRIES["van_b0"]
    source = entry.weights
    assert isinstance(source, PublishedFile)
    network = FAMILIES["van"].build("b0").eval().requires_grad_(False)
    buffer = io.BytesIO()
    torch.save({"epoch": 300, "arch": None, "state_dict": network.state_dict()}, buffer)
    images = torch.randn(1, 3, 64, 64)
    with Loopback() as server:
        path = urlsplit(source.address).path
        server.answers[path] = Answer(buffer.getvalue())
        served = replace(source, address=server.address(path))
        monkeypatch.setitem(catalogue.ENTRIES, "van_b0", replace(entry, weights=served))
        model = load_model("van_b0")
        assert torch.equal(model.module(images), network(images))
        assert [request.path for request in server.requests] == [path]
        load_model("van_b0")
        assert len(server.requests) == 1  # kept


#: Names a folder with the authors' repositories, or their files; they are no part of this one.
AUTHORS = os.environ.get("ERF_TOOLS_AUTHORS_CODE", "")


def authors(family: str, variant: str) -> nn.Module:
    paths = sorted(Path(AUTHORS).rglob(f"{family}.py"))
    assert paths, f"{AUTHORS} holds no {family}.py"
    spec = importlib.util.spec_from_file_location(f"authors_{family}", paths[0])
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setitem(sys.modules, spec.name, module)  # where timm looks for it
        warnings.simplefilter("ignore")  # they use timm's old names
        spec.loader.exec_module(module)
        return getattr(module, f"{family}_{variant}")()


@pytest.mark.skipif(not AUTHORS, reason="ERF_TOOLS_AUTHORS_CODE names no folder")
@pytest.mark.parametrize(("family", "variant"), [("van", "b0"), ("unireplknet", "a")])
def test_outputs_and_gradients_are_those_of_the_authors(family: str, variant: str) -> None:
    ours = FAMILIES[family].build(variant).double().eval()
    switch_on_branches(ours)
    theirs = authors(family, variant).double().eval()
    theirs.load_state_dict(ours.state_dict())
    for side in (96, 65):
        # Two images: of a single one, torch 2.14's BatchNorm gives wrong gradients on CPUs where
        # the gradient behind it has the strides that flatten(2).transpose(1, 2) gives back.
        images = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
        found = []
        for network in (ours, theirs):
            outputs = network(images)
            (gradient,) = torch.autograd.grad(outputs[:, :9].sum(), images)
            found.append((outputs.detach(), gradient))
        for actual, expected in zip(*found, strict=True):
            assert (actual - expected).norm() <= 1e-9 * expected.norm()
