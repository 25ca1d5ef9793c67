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
