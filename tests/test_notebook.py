"""What a notebook shows of results."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from PIL import Image
from synthetic import SCRIPT, blob, erf

import erf_tools
from erf_tools.cue_conflict.makers import decision_makers
from erf_tools.erf.tables import erf_table


def test_a_result_shows_its_map_numbers_and_origin() -> None:
    result = erf(SCRIPT, blob(64, 8))
    shown = result._repr_html_()
    assert shown.startswith("<img")
    assert "<script" not in shown
    assert f"{result.measures.effective_side:.0f}" in shown
    assert "linear r, %" in shown
    assert "initialised with seed 0" in shown
    assert "sha256 000000000000; layer last, unit center; 2 images; erf-tools 0" in shown
    assert "it rests on 2 images: take 10 or more" in shown  # a warning
    image = Image.open(io.BytesIO(result._repr_png_()))
    assert image.format == "PNG"
    assert image.width > 200


def test_a_result_is_a_row_of_the_table() -> None:
    result = erf("net", blob(64, 8))
    assert result.to_frame().equals(erf_table([result]))


def test_a_map_of_zeros_shows_itself() -> None:
    assert "<td>-</td>" in erf("net", 0 * blob(32, 8))._repr_html_()


def test_results_are_compared() -> None:
    wide, narrow = erf("wide", blob(64, 12)), erf("narrow", blob(64, 4))
    compared = erf_tools.compare([wide, narrow])
    assert list(compared.table["model"]) == ["wide", "narrow"]
    sides = compared.differences.query("measure == 'effective_side'")["difference"]
    assert list(sides) == [wide.measures.effective_side - narrow.measures.effective_side]
    assert compared._repr_html_().count("<tr") == 3
    one = Image.open(io.BytesIO(wide._repr_png_()))
    assert Image.open(io.BytesIO(compared._repr_png_())).width > 1.5 * one.width


@pytest.mark.parametrize("wrong", [[], ["resnet50"], [1, 2]])
def test_what_is_no_result_is_refused(wrong: list[object]) -> None:
    with pytest.raises(erf_tools.UsageError, match=r"ERF\.load"):
        erf_tools.compare(wrong)  # type: ignore[arg-type]


def test_shape_bias_shows_itself() -> None:
    maker = decision_makers([])[0]
    assert list(maker.to_frame()["model"]) == [maker.name]
    assert "Shape bias" in maker._repr_html_()


def test_nothing_is_drawn_before_a_notebook_asks() -> None:
    code = "import sys; from erf_tools.erf.maps import ERF; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
