"""The simulation of the intervals of reliance: its truth, and that they hold it."""

from __future__ import annotations

import numpy as np
import pytest

from analyses import reliance_coverage
from analyses.reliance_coverage import NETWORKS, combinations, coverage, true_value
from erf_tools.reliance import measures


@pytest.mark.parametrize("network", NETWORKS)
def test_true_values_are_those_of_a_very_large_sample(network: str) -> None:
    hits, _ = reliance_coverage._hits(np.random.default_rng(0), 100_000, stimuli=False)
    for each in combinations():
        found = measures.estimate(hits[network], each).value
        assert found == pytest.approx(true_value(network, each), abs=0.02)


def test_true_values_by_hand() -> None:
    values = {each.name: true_value("typical", each) for each in combinations()}
    shuffled = 0.75 - (0.75 - 0.02) * np.arange(1, 9) / 8
    assert values["relative_accuracy"] == pytest.approx(0.02 / 0.75)
    assert values["area_patch_shuffle"] == pytest.approx(shuffled.mean() / 0.75)
    assert values["global_shape"] == pytest.approx(1 - shuffled[:3].mean() / 0.75)
    assert values["local_shape"] == pytest.approx((shuffled[:3] - shuffled[-3:]).mean() / 0.75)
    assert true_value("robust", combinations()[1]) == pytest.approx(1)


@pytest.mark.parametrize(("images", "stimuli"), [(63, False), (300, True)])
def test_intervals_hold_the_truth(images: int, stimuli: bool) -> None:
    rows = coverage(images, stimuli, repetitions=100)
    assert len(rows) == len(combinations()) * (len(NETWORKS) + 1)
    assert min(row["coverage"] for row in rows) > 0.88  # .95 less three standard errors


def test_stimuli_taken_as_independent_would_hold_it_less_often() -> None:
    generator, combination = np.random.default_rng(0), combinations()[-1]
    truth, held = true_value("typical", combination), []
    for _ in range(60):
        hits, names = reliance_coverage._hits(generator, 1200, stimuli=True)
        ways = (names, None)
        found = [measures.estimate(hits["typical"], combination, way) for way in ways]
        held.append([each.low <= truth <= each.high for each in found])
    clustered, independent = np.mean(held, axis=0)
    assert clustered > 0.88
    assert independent < clustered
