"""Excess kurtosis against closed forms, and against a slow separate calculation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kurtosis
from synthetic import blob

from erf_tools.erf.measures import measure


def test_a_uniform_map_has_the_closed_form_of_its_side() -> None:
    found = measure(np.ones((7, 12)))
    # Of n places alike: -6 (n ** 2 + 1) / (5 (n ** 2 - 1)).
    assert found.kurtosis_y == pytest.approx(-6 * 50 / (5 * 48))
    assert found.kurtosis_x == pytest.approx(-6 * 145 / (5 * 143))


def test_a_gaussian_has_none_wherever_it_lies_and_however_large() -> None:
    away = np.arange(101)
    map_ = np.exp(-((away[:, None] - 47) ** 2) / 50 - (away - 55) ** 2 / 98)
    for scale in (1e-30, 1.0, 1e30):
        found = measure(scale * map_)
        assert found.kurtosis_y == pytest.approx(0, abs=1e-6)
        assert found.kurtosis_x == pytest.approx(0, abs=1e-6)


def test_it_is_that_of_as_many_points_as_the_map_has_mass() -> None:
    counts = np.rint(50 * blob(21, 3)).astype(int)
    rows, columns = np.indices(counts.shape)
    found = measure(counts)
    assert found.kurtosis_y == pytest.approx(kurtosis(np.repeat(rows.ravel(), counts.ravel())))
    assert found.kurtosis_x == pytest.approx(kurtosis(np.repeat(columns.ravel(), counts.ravel())))


def test_a_line_has_none_across_itself() -> None:
    line = np.zeros((9, 9))
    line[4] = 1
    assert np.isnan(measure(line).kurtosis_y)
    assert np.isfinite(measure(line).kurtosis_x)
