"""The simulation that the intervals of decisions are chosen by: its truth, and what it shows."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.decision_coverage import EFFECTS, coverage, true_values


@pytest.mark.parametrize("effects", EFFECTS)
def test_true_values_are_those_of_a_very_large_sample(effects: str) -> None:
    generator = np.random.default_rng(0)
    shape, texture = (size * generator.normal(size=1_000_000) for size in EFFECTS[effects])
    for_shape, for_texture = np.exp(-1.1 + shape), np.exp(0.2 + texture)
    for_shape, for_texture = (
        each / (1 + for_shape + for_texture) for each in (for_shape, for_texture)
    )
    sampled = for_shape.mean() / (for_shape.mean() + for_texture.mean())
    assert true_values(EFFECTS[effects])["shape bias, network"] == pytest.approx(sampled, abs=1e-3)


def test_intervals_hold_the_truth_where_shape_images_matter() -> None:
    rows = coverage("shape effects", repetitions=80)
    printed = [row for row in rows if row["interval"] == "printed"]
    assert all(0.9 <= row["coverage"] <= 1 for row in printed)
    network = {row["interval"]: row for row in rows if row["measure"] == "shape bias, network"}
    assert network["texture images alone"]["coverage"] < 0.9


def test_intervals_hold_the_truth_where_shapes_are_hardly_ever_seen() -> None:
    """Of few stimuli, and few hits: without pseudo-observations differences were held by half."""
    rows = coverage("both effects", stimuli=80, repetitions=60)
    of_blind = [row for row in rows if "blind" in row["measure"]]
    assert len(of_blind) == 6
    assert all(row["coverage"] >= 0.88 for row in of_blind), of_blind
