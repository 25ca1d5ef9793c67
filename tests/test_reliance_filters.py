"""Suppressions against slow versions of their definitions, and by what they must not change."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from PIL import Image

from erf_tools.errors import UsageError
from erf_tools.reliance import filters, suppressions
from erf_tools.reliance.suppressions import (
    BANDS,
    SUPPRESSIONS,
    asking_for,
    chosen,
    suppress,
    variants,
)

SHA = "0123456789abcdef" * 4


def noisy(height: int = 24, width: int = 24, seed: int = 0) -> np.ndarray:
    """Smooth ramps with noise, so that edges and flat places both occur."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    ramps = np.stack([4 * rows, 5 * columns, 90 + 60 * (rows > columns)], axis=-1)
    return np.clip(ramps + generator.normal(0, 8, ramps.shape) + 40, 0, 255).astype(np.uint8)


class Fixed:
    """A generator that draws what it is told."""

    def __init__(self, *drawn: object) -> None:
        self.drawn = list(drawn)

    def permutation(self, count: int) -> np.ndarray:
        return np.asarray(self.drawn.pop(0))

    integers = lambda self, count, size: np.asarray(self.drawn.pop(0))  # noqa: E731


NONE = Fixed()


def test_cells_are_permuted_as_drawn() -> None:
    pixels = noisy(6, 6)
    shuffled = filters.shuffle_cells(pixels, Fixed([3, 0, 1, 2]), 2)
    cells = [pixels[r : r + 3, c : c + 3] for r, c in product((0, 3), (0, 3))]
    expected = [[cells[3], cells[0]], [cells[1], cells[2]]]
    assert np.array_equal(shuffled, np.vstack([np.hstack(row) for row in expected]))


def test_cells_are_turned_as_drawn() -> None:
    pixels = noisy(6, 6)
    turned = filters.rotate_cells(pixels, Fixed([[0, 1], [2, 3]]), 2)
    for (row, column), turns in zip(product((0, 3), (0, 3)), range(4), strict=True):
        cell = pixels[row : row + 3, column : column + 3]
        for y, x in product(range(3), range(3)):
            source = [(y, x), (x, 2 - y), (2 - y, 2 - x), (2 - x, y)][turns]
            assert (turned[row + y, column + x] == cell[source]).all()


@pytest.mark.parametrize("grid", [3, 5, 6, 7])
def test_a_grid_that_does_not_divide_the_side_cuts_or_repeats_one_pixel(grid: int) -> None:
    """Each pixel comes from its own cell, at the same place in it or one before."""
    places = np.zeros((16, 16, 3), dtype=np.uint8)
    places[..., 0], places[..., 1] = np.mgrid[:16, :16]
    edges = [round(index * 16 / grid) for index in range(grid + 1)]
    assert set(np.diff(edges)) <= {16 // grid, 16 // grid + 1}
    order = np.random.default_rng(1).permutation(grid * grid)
    shuffled = filters.shuffle_cells(places, Fixed(order), grid)
    for place, cell in enumerate(order):
        row, column = divmod(place, grid)
        own = divmod(int(cell), grid)
        for y in range(edges[row], edges[row + 1]):
            for x in range(edges[column], edges[column + 1]):
                wanted = [
                    min(edges[own[0]] + y - edges[row], edges[own[0] + 1] - 1),
                    min(edges[own[1]] + x - edges[column], edges[own[1] + 1] - 1),
                ]
                assert shuffled[y, x, :2].tolist() == wanted


@pytest.mark.parametrize("function", [filters.shuffle_cells, filters.rotate_cells])
def test_what_cells_do_is_seeded_and_loses_nothing(function: object) -> None:
    pixels = noisy(16, 16)
    one, same, other = (function(pixels, np.random.default_rng(n), 4) for n in (0, 0, 1))  # type: ignore[operator]
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.array_equal(np.sort(one, axis=None), np.sort(pixels, axis=None))


def test_shuffling_one_cell_changes_nothing() -> None:
    pixels = noisy(17, 23)
    assert np.array_equal(filters.shuffle_cells(pixels, np.random.default_rng(0), 1), pixels)


def test_half_of_grey_is_halfway_and_all_of_it_is_pillows() -> None:
    pixels = noisy()
    gray = np.asarray(Image.fromarray(pixels).convert("L"))
    assert np.array_equal(
        filters.blend_with_gray(pixels, NONE, 1), np.repeat(gray[..., None], 3, -1)
    )
    assert np.array_equal(filters.blend_with_gray(pixels, NONE, 0), pixels)
    red, green, blue = (pixels[..., channel].astype(float) for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    half = filters.blend_with_gray(pixels, NONE, 0.5)
    assert np.abs(half - (pixels + luma[..., None]) / 2).max() <= 1


def test_channels_are_permuted_as_drawn() -> None:
    pixels = noisy()
    permuted = filters.permute_channels(pixels, Fixed([2, 0, 1]))
    assert np.array_equal(permuted[..., 0], pixels[..., 2])
    assert np.array_equal(permuted[..., 2], pixels[..., 1])


def mirrored(pixels: np.ndarray, reach: int) -> np.ndarray:
    return np.pad(pixels.astype(float), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")


def test_blur_is_a_gaussian_of_the_kernels_size() -> None:
    pytest.importorskip("cv2", reason="the extra `reliance` is missing")
    pixels = noisy()
    for strength in SUPPRESSIONS["gaussian-blur"].strengths:
        kernel, sigma = strength.steps[0].arguments
        reach = int(kernel) // 2
        taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
        taps /= taps.sum()
        padded, expected = mirrored(pixels, reach), np.zeros(pixels.shape)
        for y, x in product(range(int(kernel)), range(int(kernel))):
            expected += taps[y] * taps[x] * padded[y : y + 24, x : x + 24]
        found = filters.gaussian_blur(pixels, NONE, int(kernel), sigma)
        assert np.abs(found - expected).max() <= 1, strength.label


def test_bilateral_weighs_by_distance_and_by_colour() -> None:
    """Tomasi and Manduchi 1998, colours apart by the sum over channels, within a disc."""
    pytest.importorskip("cv2", reason="the extra `reliance` is missing")
    pixels = noisy()
    for diameter, sigma in ((4, 50), (6, 80), (14, 200)):
        reach = diameter // 2
        padded = mirrored(pixels, reach)
        total, weights = np.zeros(pixels.shape), np.zeros(pixels.shape[:2])
        for y, x in product(range(-reach, reach + 1), range(-reach, reach + 1)):
            if np.hypot(y, x) > reach:
                continue
            moved = padded[reach + y : reach + y + 24, reach + x : reach + x + 24]
            apart = np.abs(moved - pixels).sum(axis=-1)
            weight = np.exp(-(y * y + x * x) / (2 * 75**2) - apart**2 / (2 * sigma**2))
            total += weight[..., None] * moved
            weights += weight
        found = filters.bilateral(pixels, NONE, diameter, sigma)
        assert np.abs(found - total / weights[..., None]).max() <= 1


def averaged_patches(image: np.ndarray, strength: float) -> np.ndarray:
    """Buades, Coll and Morel 2005: a mean weighed by how alike patches of 15 are, within 21."""
    patch, search = 7, 10
    reach = patch + search
    padded = mirrored(image, reach)
    height, width, channels = image.shape

    def around(y: int, x: int, more: int) -> np.ndarray:
        return padded[
            reach + y - more : reach + y + height + more,
            reach + x - more : reach + x + width + more,
        ]

    total, weights = np.zeros(image.shape), np.zeros((height, width))
    for y, x in product(range(-search, search + 1), range(-search, search + 1)):
        squares = ((around(y, x, patch) - around(0, 0, patch)) ** 2).sum(axis=-1)
        sums = np.lib.stride_tricks.sliding_window_view(squares, (15, 15)).sum(axis=(2, 3))
        weight = np.exp(-sums / 15**2 / (strength**2 * channels))
        weight[weight < 1e-3] = 0
        total += weight[..., None] * around(y, x, 0)
        weights += weight
    return total / weights[..., None]


@pytest.mark.parametrize("strength", [5, 15])
def test_non_local_means_averages_like_patches_in_lab(strength: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="the extra `reliance` is missing")
    pixels = noisy()
    lab = cv2.cvtColor(pixels, cv2.COLOR_LRGB2Lab)  # OpenCV's own choice: without gamma
    parts = [averaged_patches(lab[..., own], strength) for own in (slice(0, 1), slice(1, 3))]
    averaged = np.rint(np.concatenate(parts, axis=-1)).astype(np.uint8)
    expected = cv2.cvtColor(averaged, cv2.COLOR_Lab2LRGB).astype(int)
    apart = np.abs(filters.non_local_means(pixels, NONE, strength) - expected)
    assert apart.max() <= 4  # a level of Lab is up to three of RGB
    assert apart.mean() < 0.7


def slow_spectrum(image: np.ndarray, cutoff: float, low: bool) -> np.ndarray:
    """Sum the waves that are kept, one by one."""
    side = len(image)
    rows, columns = np.mgrid[:side, :side]
    kept = np.zeros(image.shape, dtype=complex)
    half = side / 2
    for down, across in product(range(-(side // 2), (side + 1) // 2), repeat=2):
        inside = max(abs(down), abs(across)) / half <= cutoff
        if inside == low:
            wave = np.exp(2j * np.pi * (down * rows + across * columns) / side)
            kept += (image * wave.conj()).mean() * wave
    return kept.real


@pytest.mark.parametrize("side", [12, 13])
@pytest.mark.parametrize("cutoff", [0.01, 0.3, 0.99])
def test_masks_are_squares_in_the_fourier_plane(side: int, cutoff: float) -> None:
    pixels = noisy(side, side)
    for function, low in ((filters.low_pass, True), (filters.high_pass, False)):
        expected = slow_spectrum(pixels[..., 0].astype(float), cutoff, low)
        found = function(pixels, NONE, cutoff)[..., 0]
        assert np.abs(found - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-6


def test_every_row_is_whole() -> None:
    for name, row in SUPPRESSIONS.items():
        assert name == row.name
        assert row.title
        assert row.source
        labels = [strength.label for strength in row.strengths]
        assert len(set(labels)) == len(labels)
    assert len(list(variants(chosen("all")))) == 84
    assert len(list(variants(list(SUPPRESSIONS.values())))) == 84 + 1 + 7 * 4


def test_strengths_are_those_of_the_paper() -> None:
    """Burgert et al. 2025, as published in their code."""
    published = {
        "patch-shuffle": [(g,) for g in (2, 4, 6, 8, 10, 12, 14, 16)],
        "bilateral": [(4, 50), (6, 80), (8, 110), (10, 140), (12, 170), (14, 200)],
        "gaussian-blur": [
            *((3, 0.33), (5, 0.66), (7, 1), (9, 1.33), (11, 1.66), (13, 2), (15, 2.33)),
        ],
        "non-local-means": [(5,), (10,), (15,), (20,), (25,)],
        "gray": [(0.2,), (0.4,), (0.6,), (0.8,), (1,)],
    }
    published["patch-rotation"] = published["patch-shuffle"]
    for name, arguments in published.items():
        strengths = SUPPRESSIONS[name].strengths
        assert [strength.steps[0].arguments for strength in strengths] == arguments


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("color", ["gray", "channels"]),
        ("gray,patch-shuffle", ["patch-shuffle", "gray"]),
        (" high-frequencies , low-pass", ["low-pass"]),
        ("all", list(SUPPRESSIONS)[:12]),
        ("critical-band", list(SUPPRESSIONS)[12:]),
        ("critical-band,all", list(SUPPRESSIONS)),
    ],
)
def test_cues_and_suppressions_are_chosen_by_name(asked: str, names: list[str]) -> None:
    assert [row.name for row in chosen(asked)] == names
    assert chosen(asking_for(chosen(asked))) == chosen(asked)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("colour", "did you mean color"),
        (" , ", "--cues is empty"),
        ("noise-3", "noise-3 says nothing alone"),
    ],
)
def test_what_is_no_cue_is_refused(asked: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        chosen(asked)


def test_without_opencv_its_filters_are_refused_and_others_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filters, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="need OpenCV"):
        chosen("texture")
    assert len(suppress(noisy(), chosen("color,global-shape"), SHA)) == 23


def test_an_image_has_its_own_randomness_and_the_rest_does_not_matter() -> None:
    rows = chosen("patch-shuffle,channels,shuffle-gray")
    pixels = noisy(32, 32)
    one, same, other, seeded = (
        suppress(pixels, rows, sha, seed)
        for sha, seed in ((SHA, 0), (SHA, 0), ("f" * 64, 0), (SHA, 1))
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, seeded)
    assert np.array_equal(one[0], pixels)
    alone = suppress(pixels, chosen("shuffle-gray"), SHA)
    assert np.array_equal(alone[1:], one[10:])
    for shuffled, gray in zip(one[1:9], one[10:], strict=True):
        assert np.array_equal(filters.blend_with_gray(shuffled, NONE, 1), gray)


def test_a_step_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(
        suppressions.Step,
        "__call__",
        lambda step, pixels, words: done.append(step.name) or pixels,
    )
    rows = chosen("patch-shuffle,shuffle-gray,gray")
    suppress(noisy(), rows, SHA)
    assert len(done) == len(set(done)) + 8  # grey of eight different images
    assert len(done) == 8 + 8 + 5


def test_low_contrast_is_about_a_mean() -> None:
    pixels = noisy(8, 6)
    found = filters.low_contrast(pixels, NONE, 0.2, 0.449)
    luma = np.asarray(Image.fromarray(pixels).convert("L")) / 255
    expected = np.rint(255 * (0.2 * luma + 0.8 * 0.449))
    assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("deviation", [0.02, 0.16])
def test_noise_is_of_one_octave(band: tuple[float, float], deviation: float) -> None:
    gray = np.full((224, 224, 3), 114, dtype=np.uint8)
    found = filters.band_noise(gray, np.random.default_rng(1), *band, deviation)
    assert np.array_equal(found[..., 0], found[..., 2])
    noise = found[..., 0] / 255 - 114 / 255
    assert noise.std() == pytest.approx(deviation, rel=0.05)  # rounding, and what is clipped
    frequencies = np.fft.fftfreq(224, 1 / 224)
    cycles = np.hypot(frequencies[:, None], frequencies)
    energy = np.abs(np.fft.fft2(noise)) ** 2
    inside = (cycles >= band[0]) & (cycles < band[1])
    assert energy[inside].sum() / (energy.sum() - energy[0, 0]) > 0.97


def test_bands_are_octaves_that_meet() -> None:
    assert BANDS == ((0.875, 1.75), (1.75, 3.5), (3.5, 7), (7, 14), (14, 28), (28, 56), (56, 112))


@pytest.mark.parametrize("side", [60, 96, 223])
def test_noise_of_more_cycles_than_an_image_holds_is_refused(side: int) -> None:
    """Half its pixels along a side: of more there is nothing, or what lies in the corners."""
    gray = np.full((side, 224, 3), 114, dtype=np.uint8)
    with pytest.raises(UsageError, match=rf"images of {side}x224 cannot hold 112 cycles"):
        filters.band_noise(gray, np.random.default_rng(1), *BANDS[-1], 0.02)
    low, high = side / 8, side / 4
    filters.band_noise(gray, np.random.default_rng(1), low, high, 0.02)
