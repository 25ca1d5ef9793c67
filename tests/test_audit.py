"""An audit gives what runs of their own give, shares their passes, and says where orders flip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from synthetic import blob, erf, with_weights
from torch import Tensor, nn

import erf_tools
from erf_tools.erf.audit import agreement_table, flip_table, flips_in_words, kendall
from erf_tools.erf.maps import ERF
from erf_tools.erf.measuring import measurable
from erf_tools.erf.parts import group_lengths, join
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.protocols import PROTOCOLS, Protocol
from erf_tools.erf.shown_audit import agreement_matrix, notes
from erf_tools.erf.tables import erf_table
from erf_tools.errors import UsageError
from erf_tools.failures import Failures
from erf_tools.images import Selection, select
from erf_tools.models.model import as_model
from erf_tools.report.content import collect
from erf_tools.report.results import Results
from erf_tools.studies.audit import protocols_for


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, 2, 2), nn.Tanh(), nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6)
    ).eval()


def wide() -> nn.Module:
    """Return a network for the command line."""
    return nn.Conv2d(3, 4, 9, 1, 4)


@pytest.fixture(scope="module")
def selection() -> Selection:
    return select("builtin", 6)


def together(model: erf_tools.Model, images: Selection, protocols: list[Protocol]) -> list[ERF]:
    procedure = Procedure(protocols[0], resolution=32)
    with measurable(model, procedure, [model.tap], images=len(images)) as ready:
        lengths = group_lengths(len(images), (32, 32))
        return [join([part]) for part in ready.under(protocols).measure(images, lengths)]


@pytest.mark.parametrize("unit", ["center", "grid:2"])
def test_what_shares_passes_is_what_a_run_of_its_own_gives(selection: Selection, unit: str) -> None:
    model = as_model(network(), name="net")
    # All at one transform, so that all of them share the forward pass.
    protocols = [replace(each, transform="warp", of_output=False) for each in PROTOCOLS.values()]
    procedure = Procedure(protocols[0], unit=unit, resolution=32)
    with measurable(model, procedure, [model.tap], images=len(selection)) as ready:
        shared = ready.under(protocols).measure(selection, group_lengths(6, (32, 32)))
    for protocol, part in zip(protocols, shared, strict=True):
        alone = erf_tools.effective_receptive_field(
            model, selection, procedure=replace(procedure, protocol=protocol)
        )
        found = join([part])
        np.testing.assert_allclose(found.total, alone.total, rtol=1e-5, atol=1e-9)
        assert found.setting == alone.setting
        ours, theirs = (each.measures.estimate("effective_side") for each in (found, alone))
        np.testing.assert_allclose([*vars(ours).values()], [*vars(theirs).values()], rtol=1e-4)


class Counted(nn.Module):
    """A network that counts passes forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 5, 2, 2)
        self.forwards, self.backwards = 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += 1
        found = self.inner(images)
        if found.requires_grad:
            found.register_hook(self._count)
        return found

    def _count(self, _: Tensor) -> None:
        self.backwards += 1


def test_gradients_are_taken_once_for_all_that_differ_after_them() -> None:
    from erf_tools.erf.passes import Pass, aligned_means
    from erf_tools.features.taps import Tap

    counted = Counted()
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    run = Pass(counted, images)
    (features,) = run.features([Tap("")])
    maps = aligned_means(
        run, Tap(""), [(8, 8)], [(0, 0)], features, list(PROTOCOLS.values()), keep_graph=False
    )
    assert len(maps) == len(PROTOCOLS)
    # relu-sum; and the sum, of which the mean is a multiple.
    assert (counted.forwards, counted.backwards) == (1, 2)


def test_noise_is_the_same_for_an_image_and_not_normalised(selection: Selection) -> None:
    seen: list[Tensor] = []

    class Seeing(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach().clone())
            return super().forward(images)

    model = as_model(Seeing(3, 4, 3, 1, 1), name="seeing")
    first, second = (
        erf_tools.effective_receptive_field(
            model, selection, protocol="cvpods", resolution=64, exact=True
        )
        for _ in range(2)
    )
    assert np.array_equal(first.total, second.total)
    shown = seen[-1]
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert shown.mean() == pytest.approx(0.5, abs=0.01)
    assert shown.var() == pytest.approx(1 / 12, rel=0.02)  # of a uniform value
    assert len({tuple(each.flatten()[:9].tolist()) for each in seen[-6:]}) == 6


class Restoring(nn.Module):
    """Images to images of twice the size: each output pixel is 3 of the nearest input pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(3, 3, 3, 1, 1, bias=False)
        nn.init.constant_(self.kernel.weight, 1.0)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.interpolate(self.kernel(images), scale_factor=2.0, mode="nearest")


def test_mambair2024_reads_the_middle_of_the_image_that_comes_out(selection: Selection) -> None:
    model = as_model(Restoring(), name="restoring")
    found = erf_tools.effective_receptive_field(
        model, selection, protocol="mambair2024", resolution=12
    )
    # Output pixel 12 of 24 comes of input pixel 6: nine pixels, each by 3 x 3 pairs of channels.
    expected = np.zeros((12, 12))
    expected[5:8, 5:8] = 9
    np.testing.assert_allclose(found.map, expected)
    assert found.setting["protocol"]["display"] == "fourth-root"
    assert "mambair2024" in [each.name for each in protocols_for(model)]


def test_mambair2024_is_refused_where_features_are_measured() -> None:
    model = erf_tools.load_model("resnet18", weights="random")
    assert len(protocols_for(model)) == 7
    with pytest.raises(UsageError, match="mambair2024 reads the image that a network gives"):
        erf_tools.effective_receptive_field(
            model, num_images=1, protocol="mambair2024", resolution=32
        )


def with_protocols(name: str, sigmas: dict[str, float], **setting: Any) -> list[ERF]:
    away = np.arange(65) - 32
    return [
        erf(
            name,
            np.exp(-(away[:, None] ** 2 + away**2) / (2 * sigma**2)),
            protocol=protocol,
            **setting,
        )
        for protocol, sigma in sigmas.items()
    ]


def test_flips_and_agreement_are_as_counted_by_hand() -> None:
    results = [
        *with_protocols("one", {"ding2022": 4, "kim2023": 8, "luo2016": 4}),
        *with_protocols("two", {"ding2022": 6, "kim2023": 7, "luo2016": 6}),
        *with_protocols("three", {"ding2022": 9, "kim2023": 6, "luo2016": 9}),
    ]
    agreement = agreement_table(results).set_index(["measure", "protocol", "other_protocol"])
    # one < two < three by ding2022, three < two < one by kim2023: all three pairs differ.
    assert agreement.loc[("effective_side", "ding2022", "kim2023"), "tau"] == -1
    assert agreement.loc[("effective_side", "ding2022", "luo2016"), "tau"] == 1
    flips = flip_table(results)
    own = flips[flips["measure"] == "effective_side"]
    assert len(own) == 9  # three pairs, by three protocols
    assert not own["settled"].any()  # two images have no intervals
    (first, *_) = flips_in_words(flips, "effective_side")
    assert first == (
        "one (untrained) is above two (untrained) by kim2023, and below by ding2022, luo2016; the "
        "flip may be chance: there are no paired intervals."
    )
    said = notes(erf_table(results), agreement_table(results), flips)
    assert any("effective side: lowest tau -1.00" in note for note in said)
    assert "too few for intervals" in said[0]
    assert not any("draws random numbers" in note for note in said)
    drawn = [
        replace(result, runs=({**result.runs[0], "draws": result.name == "two"},))
        for result in results
    ]
    (warning,) = [
        note
        for note in notes(erf_table(drawn), agreement_table(drawn), flip_table(drawn))
        if "draws random numbers" in note
    ]
    assert warning.startswith("warning: two: it draws random numbers")
    maps = [note for note in said if "define the same map" in note]
    assert maps == []  # these three differentiate or reduce differently
    both = with_protocols("one", {"ding2022": 4, "slak2023": 4, "kim2023": 4})
    (same,) = [
        note
        for note in notes(erf_table(both), agreement_table(both), flip_table(both))
        if "define the same map" in note
    ]
    assert same.startswith("ding2022 and slak2023 define the same map")
    unknown = agreement_table(results)
    unknown.loc[unknown["other_protocol"] == "luo2016", "tau"] = np.nan
    said = notes(erf_table(results), unknown, flips)
    some = "effective side: lowest tau -1.00 (1 of 3 pairs of protocols have one)"
    assert any(some in note for note in said)
    matrix = agreement_matrix(agreement_table(results)).set_index("tau")
    assert matrix.loc["kim2023", "ding2022"] == matrix.loc["ding2022", "kim2023"] == "-1.00"
    assert matrix.loc["ding2022", "ding2022"] == "1.00"


@pytest.mark.parametrize("seed", range(5))
def test_kendalls_tau_is_that_of_counting_pairs(seed: int) -> None:
    draw = np.random.default_rng(seed)
    pairs = [(float(one), float(other)) for one, other in draw.integers(0, 5, (7, 2))]
    agree = differ = ties_one = ties_other = 0
    for index, (x, y) in enumerate(pairs):
        for u, v in pairs[:index]:
            product = (x - u) * (y - v)
            agree, differ = agree + (product > 0), differ + (product < 0)
            ties_one += x != u
            ties_other += y != v
    expected = (agree - differ) / np.sqrt(ties_one * ties_other)
    assert kendall(pairs) == pytest.approx(expected)


def test_networks_without_a_value_are_not_counted_behind_tau() -> None:
    protocols = {"ding2022": 4, "kim2023": 8, "luo2016": 4}
    results = [
        each
        for number, name in enumerate(["one", "two", "three"])
        for each in with_protocols(name, {key: own + number for key, own in protocols.items()})
    ]
    agreement = agreement_table(results)
    assert set(agreement["networks"]) == {3}
    assert not any("not all of them" in note for note in _said(results))
    results[1] = erf("one", np.zeros((65, 65)), protocol="kim2023")
    agreement = agreement_table(results).set_index(["measure", "protocol", "other_protocol"])
    known = agreement.loc["effective_side", "networks"]
    assert known.to_dict() == {
        ("ding2022", "kim2023"): 2,
        ("ding2022", "luo2016"): 3,
        ("kim2023", "luo2016"): 2,
    }
    (note,) = [note for note in _said(results) if "not all of them" in note]
    assert note.startswith("Taus by effective side, linear r at 20 %")
    assert "are over 2 to 3 of 3 networks" in note


def _said(results: list[ERF]) -> list[str]:
    return notes(erf_table(results), agreement_table(results), flip_table(results))


def test_what_holds_of_some_protocols_only_is_said_of_these(selection: Selection) -> None:
    model = as_model(network(), name="net")
    protocols = [PROTOCOLS[name] for name in ("ding2022", "luo2016", "cvpods")]
    results = [found for each in protocols for found in together(model, selection, [each])]
    table = erf_table(results)
    assert table["effective_side_low"].isna().tolist() == [False, True, False]
    said = notes(table, agreement_table(results), flip_table(results))
    assert said[0].endswith("linear measures with 95 % intervals but for luo2016.")
    assert said[1] == "cvpods shows noise in place of each of the images."
    none = [table["protocol"] == "ding2022"]
    (first, *others) = notes(table[none[0]], agreement_table(results), flip_table(results))
    assert first.endswith("on the same images, linear measures with 95 % intervals.")
    assert not any("noise" in note for note in others)
    zero = pd.concat([table, table[none[0]].assign(model="zero", effective_side_low=np.nan)])
    (first, *_) = notes(zero, agreement_table(results), flip_table(results))
    assert first.endswith("95 % intervals but for luo2016 and single networks.")
    varied = table.assign(protocol=["ding2022", "luo2016+transform=noise", "cvpods"])
    said = notes(varied, agreement_table(results), flip_table(results))
    assert (
        said[1] == "luo2016+transform=noise and cvpods show noise in place of each of the images."
    )


def test_fewer_than_two_networks_have_no_order() -> None:
    assert np.isnan(kendall([]))
    assert np.isnan(kendall([(1.0, 2.0)]))
    assert np.isnan(kendall([(1.0, 2.0), (float("nan"), 3.0)]))


def test_a_flip_beyond_the_intervals_is_told_from_one_within(selection: Selection) -> None:
    """Paired: what an image does to both networks cancels."""
    torch.manual_seed(0)
    models = [as_model(nn.Conv2d(3, 4, side, 1, side // 2), name=str(side)) for side in (9, 5)]
    protocols = [PROTOCOLS["ding2022"], PROTOCOLS["kim2023"]]
    results = [found for each in models for found in together(each, selection, protocols)]
    assert flip_table(results).empty
    # The second protocol's networks take each other's place: each is first once.
    records = {found.name: found.setting["model"] for found in results}
    turned = []
    for found in results:
        model = found.setting["model"]
        if found.setting["protocol"]["name"] == "kim2023":
            model = records[{"9": "5", "5": "9"}[found.name]]
        turned.append(replace(found, setting={**found.setting, "model": model}))
    flips = flip_table(turned)
    assert flips["settled"].all()
    own = flips[flips["measure"] == "effective_side"].set_index("protocol")
    paired = results[0].measures.difference(results[2].measures, "effective_side")
    assert own.loc["ding2022", "difference_low"] == paired.low > 0
    assert own.loc["kim2023", "difference"] < 0
    # Where one of the two left out an image, what images do to both does not cancel.
    left_out = replace(turned[2].images[0], outcome="nan")
    turned[2] = replace(turned[2], images=(left_out, *turned[2].images[1:]))
    flips = flip_table(turned)
    assert not flips["settled"].any()
    has_none = flips.groupby("protocol")["difference_low"].agg(lambda low: low.isna().all())
    assert has_none.to_dict() == {"ding2022": True, "kim2023": False}
    said = notes(erf_table(turned), agreement_table(turned), flips)[0]
    assert said.startswith("Every protocol on the same images but those whose map is not finite,")


def test_the_command_writes_all_of_it_and_goes_on(tmp_path: Path, run_command: Command) -> None:
    models = ["--models", "test_audit:network,test_audit:wide"]
    line = ["audit", *models, "--resolution", "32", "--num-images", "5", "--output", str(tmp_path)]
    code, printed, _ = run_command(*line)
    assert code == 0
    assert "Kendall's tau" in printed
    for name in ("audit.png", "audit.pdf", "audit.md", "audit.tex", "audit_flips.csv"):
        assert (tmp_path / name).is_file()
    table = pd.read_csv(tmp_path / "audit.csv")
    assert len(table) == 16  # these networks' own output is their map
    assert pd.read_csv(tmp_path / "audit_agreement.csv")["networks"].eq(2).all()
    archive = tmp_path / "test_audit_network" / "kim2023" / "erf.npz"
    kept = archive.read_bytes()
    code, _, err = run_command(*line)
    assert code == 0
    assert "test_audit:network: measured before" in err
    assert archive.read_bytes() == kept
    code, _, err = run_command(*line, "--square", "unit")
    assert code == 2
    assert "holds another result of test_audit:network" in err


def test_the_page_shows_networks_that_several_protocols_have_measured() -> None:
    results = [
        *with_protocols("one", {"ding2022": 4, "kim2023": 8}),
        *with_protocols("two", {"ding2022": 6, "kim2023": 7}),
    ]
    (shown,) = collect(Results(results), Failures())["audit"]
    assert shown["protocols"] == ["ding2022", "kim2023"]
    assert shown["tau"] == [[1, -1], [-1, 1]]
    assert [row["label"] for row in shown["rows"]] == ["one (untrained)", "two (untrained)"]
    sides = [[side["effective_side"] for side in row["sides"]] for row in shown["rows"]]
    assert sides == [[r.measures.effective_side for r in results[i : i + 2]] for i in (0, 2)]
    assert any("is above two" in note for note in shown["notes"])
    assert collect(Results(with_protocols("one", {"ding2022": 4})), Failures())["audit"] == []


def on_other_images(results: list[ERF]) -> list[ERF]:
    return [
        replace(
            found, images=tuple(replace(each, sha256=f"x{each.sha256}") for each in found.images)
        )
        for found in results
    ]


def opposed(**setting: Any) -> list[list[ERF]]:
    """Return two networks by two protocols that order them the other way round."""
    sigmas = {"one": {"ding2022": 4, "kim2023": 8}, "two": {"ding2022": 6, "kim2023": 7}}
    return [with_protocols(name, own, **setting) for name, own in sigmas.items()]


@pytest.mark.parametrize(
    "setting", [{"unit": "0,0"}, {"square": "unit"}, {"precision": "bf16"}, {}], ids=str
)
def test_the_page_sets_nothing_side_by_side_that_was_measured_otherwise(
    setting: dict[str, str],
) -> None:
    (one, *_), (two, *_) = opposed()
    (_, *one_otherwise), (_, *two_otherwise) = opposed(**setting)
    otherwise = [*one_otherwise, *two_otherwise]
    if not setting:
        otherwise = on_other_images(otherwise)
    assert collect(Results([one, two, *otherwise]), Failures())["audit"] == []
    with pytest.raises(UsageError, match="same images, resolution, unit, square and precision"):
        agreement_table([one, two, *otherwise])


def test_networks_on_different_images_are_audits_of_their_own() -> None:
    one, two = opposed()
    first, second = collect(Results([*one, *on_other_images(two)]), Failures())["audit"]
    assert [[row["label"] for row in shown["rows"]] for shown in (first, second)] == [
        ["one (untrained)"],
        ["two (untrained)"],
    ]
    said = "65x65, unit center, square at the center, fp32, 2 images of builtin, spread, seed 0"
    assert [shown["conditions"] for shown in (first, second)] == [f"{said}, 1", f"{said}, 2"]
    assert not any("above" in note for shown in (first, second) for note in shown["notes"])


def test_networks_of_one_name_are_rows_of_their_own() -> None:
    results = [
        with_weights(found, f"{folder}/w.pth", folder)
        for folder, own in zip("ab", opposed(), strict=True)
        for found in own
    ]
    results = [
        replace(r, setting={**r.setting, "model": {**r.setting["model"], "name": "net"}})
        for r in results
    ]
    (shown,) = collect(Results([*results, *reversed(results)]), Failures())["audit"]
    sides = {row["label"]: [s["effective_side"] for s in row["sides"]] for row in shown["rows"]}
    assert sides == {
        "net w.pth, a/w.pth": [found.measures.effective_side for found in results[:2]],
        "net w.pth, b/w.pth": [found.measures.effective_side for found in results[2:]],
    }
    assert shown["tau"] == [[1, -1], [-1, 1]]
    (sentence, *others) = flips_in_words(flip_table(results), "effective_side")
    assert others == []
    assert sentence.startswith("net (w.pth, a/w.pth) is above net (w.pth, b/w.pth) by kim2023")
    # The same file in another place is the same network.
    moved = with_weights(results[1], "c/w.pth", "a")
    (again,) = collect(Results([results[0], moved, *results[2:]]), Failures())["audit"]
    assert {row["label"]: row["sides"] for row in again["rows"]} == {
        row["label"]: row["sides"] for row in shown["rows"]
    }
    with pytest.raises(UsageError, match=r"net w\.pth is there twice by ding2022"):
        flip_table([*results, results[0]])


def test_a_map_of_zeros_is_no_reason_to_fail() -> None:
    results = [erf(name, total) for name, total in (("a", np.zeros((32, 32))), ("b", blob(32, 3)))]
    assert flip_table(results).empty
    assert agreement_table(results).empty
