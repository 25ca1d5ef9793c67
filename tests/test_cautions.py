"""What stands beside a number: each warning where it is the case, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from synthetic import blob, erf

from erf_tools.erf.cautions import KINDS, cautions
from erf_tools.erf.maps import ERF, MeasuredImage
from erf_tools.erf.shown_tables import notes, readable
from erf_tools.erf.tables import erf_table
from erf_tools.failures import Failures
from erf_tools.report.content import collect
from erf_tools.report.results import Results


def sound(side: int = 32, sigma: float = 2.0, images: int = 12, **setting: Any) -> ERF:
    """Return a result of which there is nothing to say: a trained network, many images."""
    result = erf("net", blob(side, sigma), **setting)
    field = {**result.setting["receptive_field"], "first": [-40, -40], "last": [40, 40]}
    weights = {"kind": "pretrained", "label": "pretrained", "source": "", "sha256": "0"}
    setting = {
        "receptive_field": field,
        "model": {**result.setting["model"], "weights": weights},
    }
    seen = [MeasuredImage(f"{n}/{n}.png", str(n), "counted", n, n, n) for n in range(images)]
    return replace(result, images=tuple(seen), setting={**result.setting, **setting})


def kinds(result: ERF) -> list[str]:
    return [each.kind for each in cautions(result)]


def of_images(**changes: Any) -> ERF:
    result = sound()
    return replace(result, images=tuple(replace(each, **changes) for each in result.images))


def of_run(**changes: Any) -> ERF:
    result = sound()
    return replace(result, runs=({**result.runs[0], **changes},))


def set_in(result: ERF, **setting: Any) -> ERF:
    return replace(result, setting={**result.setting, **setting})


FIELD = {**sound().setting["receptive_field"], "first": [-4, -4], "last": [4, 4]}

CASES: dict[str, ERF] = {
    "one class": of_images(label=3, predicted=3, predicted_natively=3),
    "saturated": replace(sound(), total=np.ones((32, 32))),
    "off centre": set_in(sound(), center=[8, 16]),
    "field within the image": set_in(sound(), receptive_field=FIELD),
    "field contradicted": of_run(contradicted_field=[7, 7]),
    "random draws": of_run(draws=True),
    "accuracy collapsed": of_images(predicted=999),
    "zero maps": replace(
        sound(),
        images=(*sound().images[:-1], replace(sound().images[-1], outcome="zero")),
    ),
    "few images": sound(images=9),
    "untrained": set_in(sound(), model=erf("net", blob(32, 2)).setting["model"]),
}


def test_every_kind_has_a_case() -> None:
    assert CASES.keys() == KINDS.keys()
    assert kinds(sound()) == []


@pytest.mark.parametrize("kind", CASES)
def test_each_is_said_where_it_is_the_case_and_alone(kind: str) -> None:
    assert kinds(CASES[kind]) == [kind]
    (caution,) = cautions(CASES[kind])
    table = erf_table([CASES[kind]])
    assert table["warnings"].tolist() == [kind]
    assert readable(table)["Warnings"].tolist() == [kind]
    said = [note for note in notes(table) if note.startswith("warning: net")]
    assert said == (
        []
        if kind == "untrained"
        else [f"{said[0].partition(': ')[0]}: net ({table['weights'][0]}): {caution.sentence}."]
    )
    (shown,) = collect(Results([CASES[kind]]), Failures())["erfs"]
    assert shown["warnings"] == [caution.sentence]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        # One folder says as much as one class; a flat folder of photographs says nothing.
        (of_images(name="n01440764/a.png", label=None, predicted=None), ["one class"]),
        (of_images(name="a.png", label=None, predicted=None), []),
        # At the unit's own centre it is not off, and half a stride is as near as units lie.
        (set_in(sound(), center=[8, 16], square="unit"), []),
        (set_in(sound(), center=[12, 20]), []),
        (set_in(sound(), center=[11, 16]), ["off centre"]),
        (sound(images=10), []),
    ],
)
def test_the_edges(result: ERF, expected: list[str]) -> None:
    assert kinds(result) == expected


def test_bounds_are_printed() -> None:
    said = cautions(CASES["field within the image"])[0].sentence
    assert "9x9" in said
    assert "7.9 %" in said  # 81 of 1024 pixels
    assert "93.8 %" in cautions(CASES["saturated"])[0].sentence  # 31 squared of 1024


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 33), (97, 97), (32, 48), (33, 20)])
def test_saturated_is_what_takes_the_largest_published_square(height: int, width: int) -> None:
    pixels = np.ones((height, width))
    areas = [
        pixels[
            max(height // 2 - reach, 0) : height // 2 + 1 + reach,
            max(width // 2 - reach, 0) : width // 2 + 1 + reach,
        ].size
        for reach in range(1, max(height, width) // 2)
    ]
    for area, saturated in ((areas[-1], True), (areas[-2], False)):
        # All in the one square, and none beyond: the smallest with 99 % is this one.
        total = np.zeros((height, width))
        reach = areas.index(area) + 1
        total[
            max(height // 2 - reach, 0) : height // 2 + 1 + reach,
            max(width // 2 - reach, 0) : width // 2 + 1 + reach,
        ] = 1
        result = replace(set_in(sound(), resolution=[height, width]), total=total)
        result = set_in(result, center=[height // 2, width // 2])
        assert result.measures.linear_99 == pytest.approx(area / pixels.size)
        said = [each.sentence for each in cautions(result) if each.kind == "saturated"]
        assert len(said) == saturated
    percent = f"{100 * areas[-1] / pixels.size:.1f} %"
    (found,) = cautions(replace(sound(), total=np.ones((height, width))))[:1]
    assert f"published square covers {percent}" in found.sentence


@pytest.mark.parametrize(
    ("first", "last", "square"),
    [
        ([-4, -4], [4, 4], "center"),
        ([-4, -4], [4, 8], "center"),
        ([-9, 1], [-3, 7], "center"),
        ([-9, 1], [-3, 7], "unit"),
        ([-2, -40], [2, 40], "center"),
        ([-30, 0], [0, 2], "unit"),
    ],
)
def test_no_ratio_is_above_its_bound(first: list[int], last: list[int], square: str) -> None:
    """A field that is off the squares' centre, or not square, is held by a larger square only."""
    field = {**FIELD, "first": first, "last": last}
    center = [16 + (start + end) / 2 for start, end in zip(first, last, strict=True)]
    total = np.zeros((32, 32))
    rows, columns = (
        slice(max(16 + start, 0), 17 + end) for start, end in zip(first, last, strict=True)
    )
    total[rows, columns] = 1
    result = set_in(replace(sound(), total=total), receptive_field=field, square=square)
    result = set_in(result, center=center)
    (said,) = [each.sentence for each in cautions(result) if each.kind == "field within the image"]
    middle = (16, 16) if square == "center" else center
    # Brute force: squares grow about the centre until all of the map is in them.
    y, x = np.mgrid[:32, :32]
    away = np.maximum(abs(y - middle[0]), abs(x - middle[1]))
    area = np.count_nonzero(away <= away[total > 0].max())
    assert ("linear r is at most" in said) == (area < total.size)
    if area < total.size:
        bound = f"{100 * area / total.size:.2f} %"
        assert f"linear r is at most {bound}" in said
        # The map fills its field, so that r of all of it is the bound itself.
        assert f"{100 * result.measures.linear_99:.2f} %" == bound


def test_the_erf_rate_is_significant_pixels_over_the_theoretical_area() -> None:
    result = sound()
    significant = np.count_nonzero(result.map > 0.0455 * result.map.max())
    assert erf_table([result])["erf_rate"].tolist() == [pytest.approx(significant / 81**2)]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (1, "it rests on 1 image: take 10 or more"),
        (4, "it rests on 4 images: take 10 or more"),
        (5, "it rests on 5 images; its intervals are rough below 10: take more"),
    ],
)
def test_of_intervals_it_speaks_only_where_there_are_some(images: int, said: str) -> None:
    assert said in [each.sentence for each in cautions(sound(images=images))]
