"""Measures of answers under suppression: closed forms, laws, and how often intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from erf_tools.errors import UsageError
from erf_tools.reliance import measures
from erf_tools.reliance.measures import Combination, areas, difference, estimate, profile, single
from erf_tools.reliance.suppressions import chosen, variants

ROWS = chosen("patch-shuffle,gray,channels")
COUNT = len(list(variants(ROWS)))


def hits(*columns: list[int]) -> np.ndarray:
    return np.array(columns, dtype=bool).T


def test_relative_accuracy_is_a_ratio_of_sums() -> None:
    answers = hits([1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 1])
    assert estimate(answers, single(0, 1)).value == 3 / 4
    assert np.isnan(estimate(hits([0] * 6, [1] * 6), single(0, 1)).value)
    assert np.isnan(estimate(answers[:4], single(0, 1)).low)


def test_nothing_lost_is_one_and_the_interval_is_not_empty() -> None:
    same = hits([1] * 15 + [0] * 5, [1] * 15 + [0] * 5)
    found = estimate(same, single(0, 1))
    assert found.value == 1
    assert 0.7 < found.low < 1 < found.high < 1.3
    nothing = estimate(hits([1] * 20, [0] * 20), single(0, 1))
    assert (nothing.value, nothing.low) == (0, 0)
    assert 0 < nothing.high < 0.3


def test_areas_are_means_over_strengths_and_profiles_what_they_leave() -> None:
    answers = np.zeros((10, 1 + COUNT), dtype=bool)
    answers[:, 0] = True
    answers[:, 1:4] = True  # shuffles of 2, 4 and 6
    answers[:5, 9:14] = True  # grey
    found = {each.name: estimate(answers, each).value for each in (*areas(ROWS), *profile(ROWS))}
    assert found["area_patch_shuffle"] == pytest.approx(3 / 8)
    assert found["area_gray"] == pytest.approx(1 / 2)
    assert found["area_channels"] == 0
    assert found["global_shape"] == pytest.approx(0)
    assert found["local_shape"] == pytest.approx(1)
    assert found["color"] == pytest.approx(3 / 4)
    assert "texture" not in found


def test_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        clean = generator.random(40) < 0.75
        changed = np.where(clean, generator.random(40) < 0.6, generator.random(40) < 0.05)
        found = estimate(np.column_stack([clean, changed]), single(0, 1))
        held += found.low <= 0.6 + 0.25 * 0.05 / 0.75 <= found.high
    assert held / 400 > 0.92


def test_differences_are_paired() -> None:
    generator = np.random.default_rng(0)
    one = generator.random((60, 3)) < 0.6
    one[:, 0] |= generator.random(60) < 0.5
    combination = Combination("a", "a", np.array([0.5, 0.5]))
    alone = estimate(one, combination)
    same = difference(one, one, combination)
    assert same.value == 0
    assert same.high - same.low < 0.4 * (alone.high - alone.low)
    other = generator.random((60, 3)) < 0.6
    forth, back = difference(one, other, combination), difference(other, one, combination)
    assert forth.value == -back.value
    assert forth.low == pytest.approx(-back.high)
    with pytest.raises(UsageError, match="different images"):
        difference(one, other[1:], combination)


def test_stimuli_that_share_images_widen_the_interval() -> None:
    """Each answer counts ten times: the interval is that of a tenth of the stimuli."""
    generator = np.random.default_rng(0)
    few = generator.random((12, 2)) < 0.6
    few[:, 0] |= True
    names = [f"cat{i}-dog{j}" for i in range(12) for j in range(10)]
    many = np.repeat(few, 10, axis=0)
    clustered = estimate(many, single(0, 1), names)
    independent = estimate(many, single(0, 1))
    assert clustered.value == independent.value
    assert clustered.high - clustered.low > 2 * (independent.high - independent.low)


@pytest.mark.parametrize(
    ("accuracy", "guess", "low"),
    [
        (0.75, 0.001, False),
        (0.05, 0.001, True),
        (0.52, 0.5, True),
        (0.6, 0.5, False),
        (float("nan"), 0.1, True),
    ],
)
def test_accuracy_near_guessing_is_low(accuracy: float, guess: float, low: bool) -> None:
    assert measures.is_low(accuracy, guess) == low
