"""Measures of decisions: every golden number, and laws on invented decisions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erf_tools.cue_conflict import measures
from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.cue_conflict.decisions import Decisions, decision_frame, read_decisions
from erf_tools.cue_conflict.makers import decision_makers, paired_differences
from erf_tools.cue_conflict.published import KAPPA, published_counts
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
        assert maker.kappa_human == pytest.approx(kappa, abs=6e-4)


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
    clustered = measures.bootstrap(resnet50, seed=seed)
    assert (clustered.low, clustered.high) == pytest.approx((0.160, 0.298), abs=0.01)
    wilson = measures.wilson(resnet50)
    assert (wilson.low, wilson.high) == pytest.approx((0.192, 0.252), abs=6e-4)
    paired = measures.difference(makers["resnet152"].counts, makers["resnet101"].counts, seed=seed)
    assert paired.value == pytest.approx(-0.005, abs=6e-4)
    assert (paired.low, paired.high) == pytest.approx((-0.045, 0.031), abs=0.01)


def test_clustered_interval_is_wider_than_one_of_independent_trials(makers: dict) -> None:
    for name in ("resnet50", "resnet101", "vgg16", "humans"):
        clustered = measures.bootstrap(makers[name].counts)
        wilson = measures.wilson(makers[name].counts)
        assert clustered.high - clustered.low > 1.3 * (wilson.high - wilson.low)


def test_counts_in_the_package_are_those_of_the_raw_data(makers: dict) -> None:
    for name, counts in published_counts().items():
        raw = makers[name].counts
        pd.testing.assert_frame_equal(
            counts.by_category, raw.by_category, check_names=False, check_dtype=False
        )
        pd.testing.assert_frame_equal(
            counts.by_texture, raw.by_texture, check_names=False, check_dtype=False
        )
        assert makers[name].kappa_human == pytest.approx(KAPPA[name], abs=6e-4)


def test_reference_rows_stand_in_for_what_is_not_given(published_decisions: Path) -> None:
    alone = decision_makers([])
    assert [row.name for row in alone][:2] == ["humans (published)", "AlexNet (published)"]
    assert len(alone) == 8
    assert not decision_makers([], reference=False)
    with_all = decision_makers(read_decisions([published_decisions]))
    assert not [row.name for row in with_all if row.published]


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
        interval = measures.bootstrap(counts, draws=200)
        assert 0 <= interval.low <= interval.high <= 1
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
    same = measures.difference(first, first, draws=200)
    if not math.isnan(same.value):
        assert same.value == 0
        assert (same.low, same.high) == (0, 0)
    second_frame = one.assign(response=other["response"].to_numpy())
    second = measures.count([second_frame])
    there = measures.difference(first, second, draws=200)
    back = measures.difference(second, first, draws=200)
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
    found = measures.error_consistency(one, other)
    if observed == 1:
        assert found == 1
    else:
        assert found == pytest.approx((observed - expected) / (1 - expected))
        assert -1 <= found <= 1


@pytest.mark.parametrize("answer", ["cat", "dog"])
def test_two_who_are_always_right_or_always_wrong_agree_perfectly(answer: str) -> None:
    frame = decision_frame(["cat1-dog1", "cat2-dog1"], ["cat"] * 2, ["dog"] * 2, [answer] * 2)
    assert measures.error_consistency(frame, frame) == 1
    assert math.isnan(measures.error_consistency(frame, frame.iloc[:0]))


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
    # Published counts are of all stimuli: no part can be taken of them.
    assert len(paired_differences([rows[1], *decision_makers([])[:1]])) == 0
