"""Measures of decisions: every golden number, and laws on invented decisions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_two_way_variance
from scipy.stats import t

from erf_tools.cue_conflict import measures
from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.cue_conflict.decisions import Decisions, decision_frame, read_decisions
from erf_tools.cue_conflict.makers import decision_makers, paired_differences
from erf_tools.cue_conflict.published import PUBLICATIONS, published_counts
from erf_tools.cue_conflict.tables import notes, shape_bias_table
from erf_tools.errors import UsageError

# Published decisions: S, T, shape bias, coverage, mean of categories, kappa with humans.
GOLDEN = {
    "humans": (9236, 398, 0.9587, 0.803, 0.954, 0.331),
    "alexnet": (182, 537, 0.2531, 0.599, 0.233, None),
    "vgg16": (84, 828, 0.0921, 0.760, 0.087, None),
    "resnet50": (162, 572, 0.2207, 0.612, 0.195, 0.067),
    "resnet101": (180, 509, 0.2612, 0.574, 0.220, 0.070),
    "resnet152": (196, 569, 0.2562, 0.638, 0.227, 0.082),
    "squeezenet1_1": (133, 597, 0.1822, 0.608, 0.173, None),
    "densenet121": (163, 597, 0.2145, 0.633, 0.191, None),
}
OBSERVERS = (0.9617, 0.9438, 0.9673, 0.9191, 0.9640, 0.9760, 0.9408, 0.9577, 0.9866, 0.9589)
BY_CATEGORY = {
    "humans": "443/496 501/536 717/719 581/600 348/399 672/681 671/689 561/585 680/686 705/708 "
    "529/562 553/574 571/606 483/542 574/593 647/658",
    "resnet50": "0/40 2/40 6/31 1/45 5/39 36/64 21/51 2/40 4/45 37/52 10/49 2/39 6/50 0/43 6/45 "
    "24/61",
    "resnet101": "1/37 0/44 7/31 3/34 5/36 41/65 18/45 4/34 6/44 46/61 8/41 1/39 9/46 1/36 4/37 "
    "26/59",
    "resnet152": "1/43 6/48 6/30 6/44 3/41 36/68 19/48 8/48 6/39 48/63 9/47 3/46 8/52 2/46 6/37 "
    "29/65",
}


@pytest.fixture(scope="module")
def makers(published_decisions: Path) -> dict[str, object]:
    rows = decision_makers(read_decisions([published_decisions]), reference=False)
    return {row.name: row for row in rows}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_rows(name: str, makers: dict) -> None:
    shape, texture, bias, coverage, mean, kappa = GOLDEN[name]
    maker = makers[name]
    assert (maker.shape, maker.texture) == (shape, texture)
    assert maker.total == (12_000 if name == "humans" else 1_200)
    assert maker.bias.value == pytest.approx(bias, abs=1e-4)
    assert maker.coverage == pytest.approx(coverage, abs=6e-4)
    assert measures.mean_of_categories(maker.counts) == pytest.approx(mean, abs=6e-4)
    if kappa is not None:
        assert maker.kappa_human.value == pytest.approx(kappa, abs=6e-4)


def test_golden_observers(makers: dict) -> None:
    found = [makers[f"subject-{number:02}"].bias.value for number in range(1, 11)]
    assert found == pytest.approx(OBSERVERS, abs=1e-4)


@pytest.mark.parametrize("name", BY_CATEGORY)
def test_golden_categories(name: str, makers: dict) -> None:
    table = makers[name].counts.by_category
    hits = table["shape"] + table["texture"]
    found = [f"{shape}/{total}" for shape, total in zip(table["shape"], hits, strict=True)]
    assert found == BY_CATEGORY[name].split()
    assert list(table.index) == list(CATEGORIES)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_golden_intervals(seed: int, makers: dict) -> None:
    resnet50 = makers["resnet50"].counts
    clustered = measures.texture_bootstrap(resnet50, seed=seed)
    assert (clustered.low, clustered.high) == pytest.approx((0.160, 0.298), abs=0.01)
    wilson = measures.wilson(resnet50)
    assert (wilson.low, wilson.high) == pytest.approx((0.192, 0.252), abs=6e-4)
    paired = measures.difference(makers["resnet152"].counts, makers["resnet101"].counts)
    assert paired.value == pytest.approx(-0.005, abs=6e-4)


def test_the_bootstrap_of_few_hits_holds_the_truth() -> None:
    """Independent decisions, for the shape in one of a hundred: the bias is .01 / .51."""
    generator = np.random.default_rng(0)
    every = list(published_counts(PUBLICATIONS[0])["humans"].by_stimulus.index)
    samples, held, truth = 200, 0, 0.01 / 0.51
    for _ in range(samples):
        names = sorted(generator.choice(every, 80, replace=False).tolist())
        drawn = generator.random(80)
        table = {
            "category": "s",
            "shape": (drawn < 0.01).astype(int),
            "texture": ((drawn >= 0.01) & (drawn < 0.51)).astype(int),
            "total": 1,
        }
        counts = measures.ConflictCounts(pd.DataFrame(table, index=names))
        found = measures.texture_bootstrap(counts, draws=300)
        assert found.low <= found.value <= found.high
        assert found.high - found.low > 0.02
        held += found.low <= truth <= found.high
    assert held / samples >= 0.95  # it was 0.5: no draw of no hits has any


def test_the_bootstrap_has_no_interval_of_too_little() -> None:
    few = pd.DataFrame(
        {"category": "cat", "shape": 0, "texture": 1, "total": 1},
        index=["cat1-dog1", "cat2-dog1", "cat3-dog2", "cat4-dog3"],
    )
    found = measures.texture_bootstrap(measures.ConflictCounts(few))
    assert found.value == 0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    few["texture"] = 0
    more = few.set_axis(["cat1-dog1", "cat2-dog2", "cat3-dog3", "cat4-dog4"]).reindex(
        [f"cat{number}-dog{number}" for number in range(1, 9)], method="ffill"
    )
    found = measures.texture_bootstrap(measures.ConflictCounts(more))
    assert all(map(math.isnan, (found.value, found.low, found.high)))


def test_the_interval_of_published_decisions_by_another_way(makers: dict) -> None:
    """Derivatives by leaving a little of each stimulus out, sums pair by pair."""
    counts = makers["resnet50"].counts
    table = counts.by_stimulus
    shape, texture = (table[kind].to_numpy(dtype=float) for kind in ("shape", "texture"))
    step = 1e-6
    influence = []
    for index in range(len(table)):
        weight = np.ones(len(table))
        weight[index] += step
        bias = weight @ shape / (weight @ shape + weight @ texture)
        influence.append((bias - counts.shape / (counts.shape + counts.texture)) / step)
    images = [name.split("-") for name in table.index]
    some = [index for index, value in enumerate(influence) if abs(value) > 1e-9]
    first = [images[index][0] for index in some]
    second = [images[index][1] for index in some]
    variance = slow_two_way_variance(np.array(influence)[some], first, second)
    share, trials = 162 / 734, 734
    worth = trials / (variance / (share * (1 - share) / trials))
    quantile = 2.012  # Student's t for 48 texture images, from a printed table
    middle = (share + quantile**2 / (2 * worth)) / (1 + quantile**2 / worth)
    half = quantile / (1 + quantile**2 / worth)
    half *= math.sqrt(share * (1 - share) / worth + quantile**2 / (4 * worth**2))
    found = measures.clustered_bias(counts)
    assert found.value == share
    # Clusters in which nobody chose shape or texture count in the small-sample factor only.
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=2e-4)


def test_intervals_that_share_images_are_wider_than_those_of_independent_trials(
    makers: dict,
) -> None:
    for name in ("resnet50", "resnet101", "vgg16", "humans"):
        counts = makers[name].counts
        printed, textures, wilson = (
            found.high - found.low
            for found in (
                measures.clustered_bias(counts),
                measures.texture_bootstrap(counts),
                measures.wilson(counts),
            )
        )
        assert printed > textures > 1.3 * wilson


@pytest.mark.parametrize("year", [0, 1])
def test_counts_in_the_package_are_those_of_the_raw_data(
    year: int, makers: dict, published_decisions: Path
) -> None:
    publication = PUBLICATIONS[year]
    if year:
        files = [published_decisions, published_decisions.with_name("decisions-2025")]
        observers = sorted(files[0].glob("*subject*.csv"))
        rows = decision_makers(read_decisions([*observers, files[1]]), reference=False)
        makers = {row.name: row for row in rows}
    for name, counts in published_counts(publication).items():
        raw = makers[name].counts
        pd.testing.assert_frame_equal(
            counts.by_stimulus, raw.by_stimulus, check_names=False, check_dtype=False
        )
        kappa, row = makers[name].kappa_human, publication.rows[name]
        assert vars(row.kappa) == pytest.approx(vars(kappa), abs=6e-4)


def test_reference_rows_stand_in_for_what_is_not_given(published_decisions: Path) -> None:
    alone = decision_makers([])
    assert [row.name for row in alone][:2] == ["humans (published)", "AlexNet (published)"]
    assert len(alone) == 12
    assert not decision_makers([], reference=False)
    with_all = decision_makers(read_decisions([published_decisions]))
    published = [row.name for row in with_all if row.published]
    assert published == [row.name for row in PUBLICATIONS[1].rows.values()]


# --- laws on invented decisions ---------------------------------------------------------------

answers = st.sampled_from([*CATEGORIES, "na"])


@st.composite
def frames(draw: st.DrawFn, size: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    names, shapes, textures = [], [], []
    for number in range(size):
        shape, texture = generator.choice(CATEGORIES, 2)
        names.append(f"{shape}{number}-{texture}{generator.integers(1, 4)}")
        shapes.append(shape)
        textures.append(texture)
    return decision_frame(names, shapes, textures, [draw(answers) for _ in range(size)])


@given(frames())
def test_counts_equal_brute_force(frame: pd.DataFrame) -> None:
    shape = texture = total = 0
    for row in frame.itertuples():
        if row.shape == row.texture:
            continue
        total += 1
        shape += row.response == row.shape
        texture += row.response == row.texture
    counts = measures.count([frame])
    assert (counts.shape, counts.texture, counts.total) == (shape, texture, total)
    assert counts.by_texture["shape"].sum() == shape
    if shape + texture:
        assert measures.shape_bias(counts) == shape / (shape + texture)
        interval = measures.clustered_bias(counts)
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
    else:
        assert math.isnan(measures.shape_bias(counts))


@given(frames())
def test_swapping_answers_for_textures_mirrors_the_bias(frame: pd.DataFrame) -> None:
    swapped = frame.rename(columns={"shape": "texture", "texture": "shape"})
    bias, mirrored = (measures.shape_bias(measures.count([f])) for f in (frame, swapped))
    assert math.isnan(bias) or bias == pytest.approx(1 - mirrored)


@given(frames(), frames())
def test_differences_mirror_and_vanish(one: pd.DataFrame, other: pd.DataFrame) -> None:
    first = measures.count([one])
    same = measures.difference(first, first)
    if not math.isnan(same.value):
        assert same.value == 0
        assert same.low == pytest.approx(-same.high)
        assert same.high > 0  # others who decide alike on these stimuli may not on others
    second_frame = one.assign(response=other["response"].to_numpy())
    second = measures.count([second_frame])
    there = measures.difference(first, second)
    back = measures.difference(second, first)
    if not math.isnan(there.value):
        assert (back.value, back.low, back.high) == pytest.approx(
            (-there.value, -there.high, -there.low)
        )


def test_differences_need_the_same_stimuli() -> None:
    one = decision_frame(["cat1-dog1"], ["cat"], ["dog"], ["cat"])
    other = decision_frame(["cat1-dog2"], ["cat"], ["dog"], ["cat"])
    with pytest.raises(UsageError, match="different stimuli"):
        measures.difference(measures.count([one]), measures.count([other]))


@given(frames(), frames())
def test_error_consistency_equals_cohens_kappa(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Against the table of agreement, written out."""
    other = one.assign(response=other["response"].to_numpy())
    right = [(frame["response"] == frame["shape"]).to_numpy() for frame in (one, other)]
    table = np.array(
        [[np.sum((right[0] == a) & (right[1] == b)) for b in (False, True)] for a in (False, True)]
    )
    observed = np.trace(table) / table.sum()
    expected = float(table.sum(1) @ table.sum(0)) / table.sum() ** 2
    found = measures.consistency_with(one, [other]).value
    if observed == 1:
        assert found == 1
    else:
        assert found == pytest.approx((observed - expected) / (1 - expected))
        assert -1 <= found <= 1


@pytest.mark.parametrize("answer", ["cat", "dog"])
def test_two_who_are_always_right_or_always_wrong_agree_perfectly(answer: str) -> None:
    frame = decision_frame(["cat1-dog1", "cat2-dog1"], ["cat"] * 2, ["dog"] * 2, [answer] * 2)
    assert measures.consistency_with(frame, [frame]).value == 1
    assert math.isnan(measures.consistency_with(frame, [frame.iloc[:0]]).value)


def test_no_answer_is_wrong_on_both_counts_and_still_counts() -> None:
    frame = decision_frame(["cat1-dog1", "cat2-dog1"], ["cat"] * 2, ["dog"] * 2, ["na", "cat"])
    counts = measures.count([frame])
    assert (counts.shape, counts.texture, counts.total) == (1, 0, 2)


def test_a_part_is_compared_on_the_stimuli_in_common() -> None:
    names = ["cat1-dog1", "cat2-dog1", "cat3-dog2"]
    whole = decision_frame(names, ["cat"] * 3, ["dog"] * 3, ["cat", "dog", "dog"])
    made = [Decisions("whole", whole), Decisions("part", whole.iloc[:2])]
    rows = decision_makers(made, reference=False)
    table = paired_differences(rows)
    assert len(table) == 1
    assert table["difference"][0] == 0  # 1/2 on both of the common stimuli, 1/3 on the whole


def test_a_part_is_compared_with_published_counts_of_the_same_stimuli() -> None:
    published = published_counts(PUBLICATIONS[0])["resnet50"].by_stimulus.iloc[100:160]
    names = list(published.index)
    shapes, textures = zip(*(name.split("-") for name in names), strict=True)
    frame = decision_frame(
        names,
        [name.rstrip("0123456789") for name in shapes],
        [name.rstrip("0123456789") for name in textures],
        [name.rstrip("0123456789") for name in shapes],
    )
    rows = decision_makers([Decisions("part", frame)])
    table = paired_differences(rows).set_index(["model", "other"])
    share = published["shape"].sum() / published[["shape", "texture"]].to_numpy().sum()
    found = table.loc[("part", "ResNet-50 (published)"), "difference"]
    assert found == pytest.approx(1 - share)
    elsewhere = decision_frame(["cat91-dog1"], ["cat"], ["dog"], ["cat"])
    rows = decision_makers([Decisions("elsewhere", elsewhere)])
    assert "elsewhere" not in set(paired_differences(rows)["model"])


def weighted_kappa(right: list[np.ndarray], weights: np.ndarray) -> float:
    one, other = (float(weights @ answers / weights.sum()) for answers in right)
    observed = float(weights @ (right[0] == right[1]) / weights.sum())
    expected = one * other + (1 - one) * (1 - other)
    return (observed - expected) / (1 - expected)


@given(frames(), frames())
@settings(max_examples=10)
def test_the_interval_of_kappa_by_another_way(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Derivatives by weighing one stimulus a little more, sums pair by pair; four stimuli more."""
    other = one.assign(response=other["response"].to_numpy())
    right = [(frame["response"] == frame["shape"]).to_numpy(dtype=float) for frame in (one, other)]
    softened = [
        np.append(answers, kinds)
        for answers, kinds in zip(right, ([1, 1, 0, 0], [1, 0, 1, 0]), strict=True)
    ]
    even = np.ones(len(one) + 4)
    kappa, step = weighted_kappa(softened, even), 1e-6
    influence = np.array(
        [
            (weighted_kappa(softened, even + step * row) - kappa) / step
            for row in np.eye(len(one) + 4)
        ]
    )
    own, added = influence[:-4] - influence[:-4].mean(), influence[-4:]
    images = [name.split("-") for name in one.index]
    first, second = ([pair[way] for pair in images] for way in (0, 1))
    variance = slow_two_way_variance(own, first, second)
    shared = max(variance / (own @ own), 1) if own.any() else 1
    quantile = t.ppf(0.975, min(len(set(first)), len(set(second))) - 1)
    half = quantile * math.sqrt(variance + shared * (added @ added))
    found = measures.consistency_with(one, [other])
    if right[0].sum() * right[1].sum():
        assert found.value == pytest.approx(weighted_kappa(right, np.ones(len(one))))
    low, high = min(kappa - half, found.value), max(kappa + half, found.value)
    expected = (max(low, -1), min(high, 1))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def decided(names: list[str], answers: list[str]) -> pd.DataFrame:
    """Return decisions on stimuli, each for its ``shape``, its ``texture``, or ``na``."""
    shapes, textures = ([part.rstrip("0123456789") for part in way] for way in split(names))
    chosen = {"shape": shapes, "texture": textures, "na": ["na"] * len(names)}
    return decision_frame(
        names, shapes, textures, [chosen[answer][at] for at, answer in enumerate(answers)]
    )


def split(names: list[str]) -> tuple[list[str], list[str]]:
    """Return the shape image and the texture image of each stimulus."""
    first, second = zip(*(name.split("-") for name in names), strict=True)
    return list(first), list(second)


def test_no_difference_is_certain_at_the_ends() -> None:
    """Few decisions, all for the shape or all for the texture; each alone is far from sure."""
    names = list(published_counts(PUBLICATIONS[0])["humans"].by_stimulus.index)[:75]
    shape, texture = (
        measures.count([decided(names, [cue] * 5 + ["na"] * 70)]) for cue in ("shape", "texture")
    )
    apart = measures.difference(shape, texture)
    assert (apart.value, apart.high) == (1, 1)
    # No further from 1 than both own intervals together, [.49, 1] and [0, .51], would allow.
    assert 0 < apart.low < 0.8
    alike = measures.difference(texture, texture)
    assert alike.value == 0
    assert -0.8 < alike.low == -alike.high < -0.2


def test_intervals_of_kappa_end_at_one_and_are_wide_where_nearly_all_is_wrong() -> None:
    names = list(published_counts(PUBLICATIONS[0])["humans"].by_stimulus.index)
    every = decided(names, ["shape", "texture", "na"] * 400)
    once = every.copy()
    once.loc[names[1], "response"] = once.loc[names[1], "shape"]
    found = measures.consistency_with(every, [once])
    assert 0.98 < found.low < found.value < found.high == 1
    never = decided(names[:80], ["na"] * 80)
    found = measures.consistency_with(never, [never])
    assert (found.value, found.high) == (1, 1)
    assert found.low < 0


def test_an_observer_without_stimuli_in_common_is_left_out_and_that_is_said() -> None:
    names = list(published_counts(PUBLICATIONS[0])["humans"].by_stimulus.index)
    answers = ["shape", "texture", "na", "shape", "texture"] * 240
    network = decided(names[:600], answers[:600])
    one, other = decided(names[:600], answers[1:601]), decided(names[600:], answers[600:])
    made = [
        Decisions("network", network),
        Decisions("subject-01", one),
        Decisions("subject-02", other),
    ]
    makers = {maker.name: maker for maker in decision_makers(made, reference=False)}
    alone = measures.consistency_with(network, [one])
    assert not math.isnan(alone.value)
    assert makers["network"].kappa_human == alone
    assert makers["network"].kappa_over == "1 of 2 observers"
    assert math.isnan(makers["humans"].kappa_human.value)
    remarks = notes(shape_bias_table(list(makers.values())))
    assert any("kappa of network: the mean over 1 of 2 observers" in each for each in remarks)


def test_too_few_images_have_no_interval() -> None:
    names = ["cat1-dog1", "cat2-dog1", "cat3-dog2", "cat4-dog3"]
    frame = decision_frame(names, ["cat"] * 4, ["dog"] * 4, ["cat", "dog", "cat", "cat"])
    found = measures.clustered_bias(measures.count([frame]))
    assert found.value == 0.75
    assert math.isnan(found.low)
    assert math.isnan(found.high)
