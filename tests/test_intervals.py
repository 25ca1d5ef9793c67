"""Intervals: against brute force over whole maps, closed forms, and simulated truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic
import torch
from PIL import Image
from torch import nn

from analyses import coverage
from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.intervals import effective_number, jackknife, t_interval
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures import FAMILIES, MEASURES, Measures, measure
from erf_tools.erf.measures.families.moments import Moments
from erf_tools.erf.measures.families.squares import THRESHOLDS, areas_holding, smallest_area
from erf_tools.erf.measures.family import Summed
from erf_tools.erf.measures.frame import Frame
from erf_tools.erf.measures.sample import Sample, image_sums
from erf_tools.erf.parts import Part, join, load_parts, merge, save_parts
from erf_tools.erf.shown_tables import notes
from erf_tools.erf.tables import comparable, difference_table, erf_table

SUMMED = [family for family in FAMILIES if isinstance(family, Summed)]


def blobs(number: int, height: int, width: int) -> np.ndarray:
    """Maps that differ in width, place and strength by orders of magnitude."""
    generator = np.random.default_rng(number)
    y, x = np.mgrid[:height, :width]
    maps = []
    for _ in range(number):
        (sigma_y, sigma_x), (row, column) = generator.uniform(1, 9, 2), generator.normal(0, 2, 2)
        exponent = ((y - height / 2 - row) / sigma_y) ** 2 + (
            (x - width / 2 - column) / sigma_x
        ) ** 2
        strength = 10.0 ** generator.uniform(-3, 1)
        maps.append(strength * np.exp(-exponent / 2) * generator.random((height, width)))
    return np.stack(maps)


def sampled(maps: np.ndarray, center: tuple[float, float] | None = None) -> Sample:
    frame = Frame(maps.shape[1:], center)
    groups = list(maps.astype(np.float32))
    return Sample.of_groups(maps.sum(0), groups, [1] * len(maps), image_sums(maps, frame), frame)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("size", "center"),
    [
        ((64, 64), None),
        ((33, 50), (10.5, 20.0)),
        ((65, 40), (32.0, 19.5)),
        ((6, 7), (0.0, 2.0)),
        ((7, 6), (6.0, 4.5)),
        ((1, 1), None),
        ((1, 9), None),
    ],
)
def test_any_resampling_of_sums_equals_that_of_whole_maps(
    size: tuple[int, int], center: tuple[float, float] | None, library: str
) -> None:
    maps = blobs(7, *size)
    frame = Frame(size, center)
    if library == "numpy":
        sums = image_sums(maps, frame)
    else:
        found = image_sums(torch.as_tensor(maps), Frame(size, center, torch.as_tensor))
        sums = {name: own.numpy() for name, own in found.items()}
    weights = np.random.default_rng(1).multinomial(7, np.full(7, 1 / 7), size=5)
    for weight in [*weights, *(1 - np.eye(7, dtype=int))]:
        plain = measure(np.tensordot(weight, maps, axes=1), center)
        for family in SUMMED:
            values = family.of_sums(weight @ sums[family.name], frame)
            for value, each in zip(values, family.measures, strict=True):
                expected = getattr(plain, each.name)
                assert value == pytest.approx(expected, rel=1e-9, nan_ok=True), each.name


def test_participation_is_corrected_by_the_jackknife_over_whole_maps() -> None:
    maps = blobs(6, 20, 24)
    whole = measure(maps.mean(0)).participation
    without = [measure(np.delete(maps, i, axis=0).mean(0)).participation for i in range(6)]
    found = Measures(maps.mean(0), None, sampled(maps)).estimate("participation")
    assert found.value == pytest.approx(6 * whole - 5 * np.mean(without), rel=1e-5)


def test_the_jackknife_of_a_mean_is_the_textbook_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=12)
    without = ((values.sum() - values) / 11)[:, None]
    corrected, deviations = jackknife(values.mean(keepdims=True), without, np.ones(12))
    assert corrected == pytest.approx(values.mean())
    assert (deviations**2).sum() == pytest.approx(values.var(ddof=1) / 12)
    # n - 1 is the bias that it takes off a variance.
    plain = np.array([np.delete(values, i).var() for i in range(12)])[:, None]
    unbiased, _ = jackknife(values.var(keepdims=True), plain, np.ones(12))
    assert unbiased == pytest.approx(values.var(ddof=1))


def test_images_count_by_their_totals() -> None:
    assert effective_number(np.full(9, 3.0)) == pytest.approx(9)
    assert effective_number(np.array([1.0, 0, 0])) == 1
    narrow = t_interval(0.0, np.full(9, 0.1), 9.0)
    assert narrow.high == pytest.approx(2.306 * 0.3, rel=1e-3)
    assert t_interval(0.0, np.full(9, 0.1), 3.0).high > narrow.high


def test_intervals_hold_the_truth() -> None:
    """A small form of ``python -m analyses.coverage``: two networks, and their differences."""
    rows = coverage.simulated(images=10, samples=12)
    assert min(row["coverage"] for row in rows) >= 0.6
    assert np.mean([row["coverage"] for row in rows]) >= 0.9


def test_intervals_hold_their_own_values_and_stay_in_range() -> None:
    maps = coverage.simulated_images(10, np.random.default_rng(3))["cross"]
    found = coverage.measures_of(maps)
    for name, each in MEASURES.items():
        estimate = found.estimate(name)
        if each.interval:
            assert each.lowest <= estimate.low <= estimate.value <= estimate.high <= each.highest
        else:
            assert np.isnan([estimate.low, estimate.high]).all()
    assert found.extent == measure(maps.mean(0)).extent
    assert found.gaussian_r2 == measure(maps.mean(0)).gaussian_r2
    assert found.legacy_50 == measure(maps.mean(0)).legacy_50


@pytest.mark.parametrize("images", [1, 2, 4, 5, 10])
def test_fewer_than_five_images_have_no_interval_and_it_says_so(images: int) -> None:
    maps = blobs(images, 24, 24)
    found = Measures(maps.mean(0), None, sampled(maps))
    ends = [found.estimate(name).low for name in MEASURES]
    if images < 5:
        assert np.isnan(ends).all()
        assert found.without_intervals == f"{images} images are fewer than 5"
        assert found.participation == measure(maps.mean(0)).participation
    else:
        proven = [each.interval and each.fewest <= images for each in MEASURES.values()]
        assert np.isfinite(ends).tolist() == proven
        assert np.isfinite(found.estimate("participation").low) == (images >= 10)
        assert found.without_intervals == ""


def test_pairs_cancel_what_an_image_does_to_both() -> None:
    maps = blobs(12, 32, 32)
    one, other = (Measures(m.mean(0), None, sampled(m)) for m in (maps, 3 * maps))
    fewer = Measures(maps[:9].mean(0), None, sampled(maps[:9]))
    for name in ("effective_side", "linear_99", "radius", "anisotropy", "cross_share"):
        assert one.estimate(name).high > one.estimate(name).low
        same = one.difference(other, name)
        assert (same.low, same.value, same.high) == pytest.approx((0, 0, 0), abs=1e-9)
        assert np.isnan(one.difference(fewer, name).low)


def test_curves_narrow_with_the_number_of_images() -> None:
    maps = blobs(30, 32, 32)
    curve = Measures(maps.mean(0), None, sampled(maps)).convergence("effective_side")
    assert [images for images, _ in curve] == [1, 2, 5, 10, 20, 30]
    widths = [spread.high - spread.low for _, spread in curve]
    assert widths[-1] < widths[0] / 2


def test_maps_that_add_up_with_their_sign_have_no_intervals() -> None:
    network = nn.Conv2d(3, 4, 5, padding=2)
    signed, plain = (
        effective_receptive_field(network, num_images=6, resolution=16, protocol=protocol)
        for protocol in ("luo2016", "ding2022")
    )
    assert signed.sample is None
    assert np.isnan(signed.measures.estimate("radius").low)
    assert "add up with their sign" in " ".join(notes(erf_table([signed])))
    assert plain.measures.estimate("radius").low > 0
    assert plain.measures is plain.measures
    assert set(difference_table([plain, plain])["measure"]) == {*MEASURES}


def test_parts_hold_sums_and_add_up_alike(tmp_path: Path) -> None:
    network = nn.Conv2d(3, 4, 5, padding=2)
    whole = effective_receptive_field(network, num_images=6, resolution=16)
    save_parts(tmp_path / "one.npz", [Part.of_result(whole)])
    with np.load(tmp_path / "one.npz") as archive:
        assert not any(name.endswith("groups") for name in archive.files)  # the total is the group
    again = join(load_parts(tmp_path / "one.npz"))
    assert np.array_equal(again.total, whole.total)
    for name in ("linear_50", "radius", "anisotropy", "cross_share"):
        assert again.measures.estimate(name) == whole.measures.estimate(name)
    # Whole maps of single images are gone, and with them the spread of what needs them.
    assert np.isnan(again.measures.estimate("legacy_50").low)


def test_an_image_that_is_left_out_does_not_count() -> None:
    maps = blobs(6, 16, 16)
    full, fewer = sampled(maps), sampled(maps[:5])
    assert (len(full), len(fewer)) == (6, 5)
    assert full.counts == (1,) * 6


@pytest.mark.parametrize("away", [0.0, 1.0, 2.0, 3.0, 6.0])
def test_a_map_that_is_nearly_round_has_an_interval_that_holds(away: float) -> None:
    """The elongation is a vector's length: near zero it is not normal, and chance adds to it."""
    images, samples, spread = 20, 1000, 0.1
    generator = np.random.default_rng(int(away))
    truth = away * spread / np.sqrt(images)
    drawn = generator.normal((truth, 0.0), spread, (samples, images, 2))
    family, held = Moments(), []
    for elongation, slant in np.moveaxis(drawn, -1, 1):
        sums = np.zeros((images, 9))  # of y ** i x ** j A; mass and both variances add up to 1
        sums[:, 0], sums[:, 4] = 1, slant / 2
        sums[:, 2], sums[:, 6] = (1 - elongation) / 2, (1 + elongation) / 2
        found = family.interval(3, family.spread(sums, Frame((2, 2))), images)
        held.append(found.low <= np.sqrt((1 + truth) / (1 - truth)) <= found.high)
    assert 0.925 < np.mean(held) < 0.99


def test_a_result_from_before_a_measure_has_its_value_without_an_interval() -> None:
    maps = np.random.default_rng(0).random((12, 9, 9))
    arrays = sampled(maps).arrays()
    earlier = Sample.from_arrays(
        {name: kept for name, kept in arrays.items() if not name.endswith((".cross", ".legacy"))}
    )
    found, now = (Measures(maps.mean(0), sample=each) for each in (earlier, sampled(maps)))
    for name in ("cross_share", "legacy_50"):
        assert found.estimate(name).value == pytest.approx(now.estimate(name).value)
        assert np.isnan(found.estimate(name).low)
        assert np.isnan(found.difference(now, name).low)
        assert not found.convergence(name)
    assert found.estimate("effective_side") == now.estimate("effective_side")


def exact(maps: np.ndarray, name: str) -> np.ndarray:
    """Deviations by the jackknife over whole maps, all in float64."""

    def of(each: np.ndarray) -> np.ndarray:
        if name == "participation":
            return np.array([each.sum() ** 2 / (each.size * (each**2).sum())])
        frame = Frame(each.shape)
        rings = frame.rings(frame.fold(np.log1p(each)))
        return areas_holding(rings, THRESHOLDS, frame)[1] / each.size

    rest = [np.delete(maps, image, axis=0).mean(0) for image in range(len(maps))]
    without = np.stack([of(each) for each in rest])
    return jackknife(of(maps.mean(0)), without, np.ones(len(maps)))[1]


def test_a_map_of_one_image_has_values_and_no_interval() -> None:
    maps = np.zeros((12, 32, 32))
    maps[4] = blobs(1, 32, 32)[0]
    found, plain = Measures(maps.mean(0), None, sampled(maps)), measure(maps.mean(0))
    assert found.values() == pytest.approx(plain.values(), rel=1e-9)
    for name in MEASURES:
        estimate, same = found.estimate(name), found.difference(found, name)
        assert np.isnan([estimate.low, estimate.high, same.low, same.high]).all(), name
    assert found.without_intervals == "the maps of all but one of 12 images are zero"
    assert np.isnan(smallest_area(np.nan, Frame((32, 32))))


@pytest.mark.parametrize("scale", [1e-60, 1e-44, 1e-36, 1e-20, 1e20, 1e36, 1e60])
def test_gradients_of_any_size_have_the_same_participation(scale: float) -> None:
    maps = blobs(12, 32, 32)
    plain = measure(maps.mean(0)).participation
    with np.errstate(over="ignore"):  # float32 has no such values
        found = Measures(scale * maps.mean(0), None, sampled(scale * maps))
    held = Measures(maps.mean(0), None, sampled(maps)).estimate("participation")
    if 1e-30 < scale < 1e30:
        estimate = found.estimate("participation")
        assert estimate.columns("") == pytest.approx(held.columns(""), rel=1e-4)
    else:
        assert found.participation == pytest.approx(plain, rel=1e-9)
        for name in ("participation", "legacy_50"):
            assert np.isnan(found.estimate(name).low)
    why = "gradients are outside 1e-30 to 1e+30, where float32 does not hold the maps"
    assert found.without_whole_map_intervals == (why if not 1e-30 < scale < 1e30 else "")
    assert found.without_intervals == ""
    assert found.estimate("radius").columns("") == pytest.approx(
        Measures(maps.mean(0), None, sampled(maps)).estimate("radius").columns(""), rel=1e-9
    )


def test_tables_say_why_whole_maps_have_no_intervals() -> None:
    """Against the columns: a note stands where others have an interval and these have none."""
    maps = blobs(12, 32, 32)
    results = []
    for name, scale in (("small", 1e-36), ("usual", 1.0), ("large", 1e36)):
        scaled = scale * maps
        with np.errstate(over="ignore"):
            kept = sampled(scaled)
        results.append(replace(synthetic.erf(name, scaled.mean(0)), sample=kept))
    table = erf_table(results)
    missing = table["legacy_50_low"].isna() & table["linear_50_low"].notna()
    assert table["model"][missing].tolist() == ["small", "large"]
    assert table["participation_low"].isna().tolist() == missing.tolist()
    said = [note for note in notes(table) if "no intervals of" in note]
    assert said == [
        f"{name} has no intervals of legacy r and participation: gradients are outside 1e-30 to "
        "1e+30, where float32 does not hold the maps."
        for name in ("small", "large")
    ]


def test_groups_of_zeros_are_told_from_gradients_out_of_range() -> None:
    maps = np.zeros((40, 32, 32))
    maps[4:6] = blobs(2, 32, 32)
    frame = Frame(maps.shape[1:])
    groups = list(maps.reshape(20, 2, 32, 32).sum(1).astype(np.float32))
    sums = image_sums(maps, frame)
    found = Measures(
        maps.mean(0), None, Sample.of_groups(maps.sum(0), groups, [2] * 20, sums, frame)
    )
    assert np.isfinite(found.estimate("linear_50").low)
    assert np.isnan(found.estimate("legacy_50").low)
    assert found.without_whole_map_intervals == (
        "the maps of all but one of 20 groups of images are zero"
    )


@pytest.mark.parametrize("above", [1e6, 1e9, 1e12])
def test_an_image_far_above_all_others_can_be_left_out(above: float) -> None:
    maps = 1e3 * blobs(12, 32, 32)
    maps[3] *= above
    spreads = sampled(maps).spreads
    for name in ("participation", "legacy"):
        assert spreads[name].deviations == pytest.approx(exact(maps, name), rel=2e-3, abs=1e-5)


def test_measures_of_the_largest_maps_are_finite() -> None:
    map_ = blobs(1, 32, 32)[0]
    with np.errstate(all="raise", under="ignore"):
        largest = measure(1e305 * map_ / map_.max())
        for name in ("sigma_y", "sigma_x", "radius", "anisotropy", "linear_50", "cross_share"):
            assert getattr(largest, name) == pytest.approx(getattr(measure(map_), name))


class NotFinite(nn.Module):
    """A convolution whose maps of some images are not finite; these are known by a pixel."""

    def __init__(self, *images: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.images = nn.Conv2d(3, 4, 5, padding=2), images

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        number = ((image[:, :1, :1, :1] * 0.229 + 0.485) * 255 / 20).round()
        off = torch.isin(number, torch.tensor(self.images, dtype=number.dtype))
        return self.convolution(image) ** 2 * torch.where(off, torch.nan, 1.0)


def numbered(count: int) -> list[Image.Image]:
    """Return images of noise, each with its number in its first pixel."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    pixels[:, 0, 0] = 20 * np.arange(count)[:, None]
    return [Image.fromarray(each) for each in pixels]


def in_order(network: nn.Module, images: list[Image.Image]) -> ERF:
    return effective_receptive_field(network, images=images, order="sequential", resolution=32)


def test_only_means_over_the_same_images_are_compared() -> None:
    one, same, other = (in_order(NotFinite(off), numbered(12)) for off in (2, 2, 9))
    assert [image.outcome for image in other.images].index("nan") == 9
    assert comparable(one, same)
    assert not comparable(one, other)
    assert difference_table([one, other]).empty
    assert not difference_table([one, same]).empty
    for name in ("radius", "linear_50", "participation"):
        paired = one.measures.difference(same.measures, name)
        assert (paired.low, paired.high) == pytest.approx((0, 0), abs=1e-9)
        assert np.isnan(one.measures.difference(other.measures, name).low)


def test_groups_of_other_images_are_not_paired() -> None:
    images, network = numbered(12), NotFinite()

    def merged(*lengths: int) -> ERF:
        ends = np.cumsum(lengths)
        starts = zip(ends - lengths, ends, strict=True)
        return merge([in_order(network, images[start:end]) for start, end in starts])

    one, again, other = merged(3, 2, 2, 2, 3), merged(3, 2, 2, 2, 3), merged(1, 4, 2, 4, 1)
    assert one.averaged == other.averaged
    assert one.measures.estimate("legacy_50").low > 0
    assert one.measures.difference(again.measures, "legacy_50").low <= 0
    assert np.isnan(one.measures.difference(other.measures, "legacy_50").low)
    # Of sums of each image, groups do not matter.
    assert one.measures.difference(other.measures, "radius").high == pytest.approx(0, abs=1e-9)


def test_squares_about_another_centre_and_arithmetic_are_not_compared(tmp_path: Path) -> None:
    network = nn.Conv2d(3, 4, 5, padding=2)
    plain, at_unit = (
        effective_receptive_field(network, num_images=5, resolution=32, unit="3,3", square=square)
        for square in ("center", "unit")
    )
    assert difference_table([plain, at_unit]).empty
    assert not difference_table([at_unit, at_unit]).empty
    about = "The squares of linear r and of the side are centred at the unit"
    assert f"{about}." in notes(erf_table([at_unit, at_unit]))
    mixed = " in row 2 (Conv2d), and at the image's centre in all others."
    assert about + mixed in notes(erf_table([plain, at_unit]))
    coarse = replace(plain, setting={**plain.setting, "precision": "bf16"})
    assert not comparable(plain, coarse)
    plain.save(tmp_path / "erf.npz")
    assert comparable(plain, again := ERF.load(tmp_path / "erf.npz"))
    assert plain.measures.difference(again.measures, "radius").low == pytest.approx(0, abs=1e-9)
