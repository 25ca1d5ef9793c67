"""How strongly images were changed: against slow definitions, and at both ends."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from test_reliance_filters import NONE

from erf_tools.reliance import changes, filters


def test_local_variance_is_that_of_windows() -> None:
    luma = np.random.default_rng(0).random((9, 11))
    padded = np.pad(luma, 3, mode="reflect")
    variances = [padded[y : y + 7, x : x + 7].var() for y, x in product(range(9), range(11))]
    assert changes.local_variance(luma) == pytest.approx(np.mean(variances))


@pytest.mark.parametrize("shape", [(8, 8), (8, 9), (9, 8), (7, 7)])
def test_high_frequencies_and_low_ones_make_up_the_image(shape: tuple[int, int]) -> None:
    """Parseval's theorem, over the whole spectrum one by one."""
    luma = np.random.default_rng(0).random(shape)
    spectrum = np.fft.fft2(luma)
    down, across = (np.abs(np.fft.fftfreq(side)) for side in shape)
    high = np.maximum(down[:, None], across) > 0.25
    expected = (np.abs(spectrum) ** 2 * high).sum() / luma.size**2
    assert changes.high_frequencies(luma) == pytest.approx(expected)
    checks = (np.indices((8, 8)).sum(axis=0) % 2).astype(float)
    assert changes.high_frequencies(checks) == pytest.approx(0.25)  # its variance


def test_nothing_changed_is_one_and_a_blur_lowers_all() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    blurred = filters.low_pass(pixels, NONE, 0.2)  # type: ignore[arg-type]
    found = changes.measure_changes(np.stack([pixels, pixels, blurred]))
    assert found.shape == (3, 3)
    means = changes.mean_changes(np.stack([found, found]))
    assert means[:2] == pytest.approx(1)
    assert (means[2] < 0.9).all()
    assert means[2, 1] < 0.05


def test_ratios_are_of_all_images_together_and_constant_images_correlate_with_nothing() -> None:
    smooth, rough = np.array([[1.0, np.nan]] * 2), np.array([[3.0, 1.0], [1.0, 0.5]])
    values = np.stack([np.column_stack([part[:, :1], part]) for part in (smooth, rough)])
    means = changes.mean_changes(values)
    assert means[:, 0].tolist() == [1, 0.5]
    assert means[:, 2].tolist() == [1, 0.5]
    flat = np.full((1, 2, 8, 8, 3), 7, dtype=np.uint8)
    found = changes.mean_changes(np.stack([changes.measure_changes(image) for image in flat]))
    assert np.isnan(found[1]).all()
