"""Maps in the terminal."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from erf_tools.erf.preview import preview, terminal_shades

CELL = re.compile("\x1b\\[38;(2;\\d+;\\d+;\\d+|5;\\d+);48;(2;\\d+;\\d+;\\d+|5;\\d+)m▀")


def spot(height: int, width: int) -> np.ndarray:
    contribution = np.zeros((height, width))
    contribution[height // 4, width // 2] = 1
    return contribution


def test_characters_show_where_the_map_is_bright() -> None:
    lines = preview(spot(80, 80), "ascii", columns=40).split("\n")
    assert [len(line) for line in lines] == [40] * 20
    assert lines[5][20] not in " "
    assert "".join(lines).count(" ") == 40 * 20 - 1


@pytest.mark.parametrize(("shades", "dark"), [("24-bit", "2;0;0;3"), ("256", "5;16")])
def test_colours_show_two_values_a_character(shades: str, dark: str) -> None:
    lines = preview(spot(60, 80), shades, columns=40).split("\n")  # type: ignore[arg-type]
    assert len(lines) == 15
    cells = [CELL.findall(line) for line in lines]
    assert {len(line) for line in cells} == {40}
    assert all(line.endswith("\x1b[0m") for line in lines)
    (bright,) = [half for line in cells for cell in line for half in cell if half != dark]
    assert cells[3][20] == (dark, bright)


@pytest.mark.parametrize("contribution", [np.zeros((8, 8)), np.full((8, 8), np.nan)])
def test_a_map_without_mass_is_dark(contribution: np.ndarray) -> None:
    assert set(preview(contribution, "ascii")) == {" ", "\n"}


@pytest.mark.parametrize("shape", [(1, 1), (3, 100), (100, 3)])
def test_maps_of_any_shape_fit(shape: tuple[int, int]) -> None:
    lines = preview(np.ones(shape), "ascii", columns=20).split("\n")
    assert {len(line) for line in lines} == {min(20, shape[1])}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "shades"),
    [
        (Terminal(), {"TERM": "xterm", "COLORTERM": "truecolor"}, "24-bit"),
        (Terminal(), {"TERM": "xterm-256color"}, "256"),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, "ascii"),
        (Terminal(), {"TERM": "dumb"}, "ascii"),
        (Terminal(), {}, "ascii"),
        (io.StringIO(), {"TERM": "xterm", "COLORTERM": "truecolor"}, "ascii"),
    ],
)
def test_colours_are_for_terminals(
    stream: io.StringIO, environment: dict[str, str], shades: str
) -> None:
    assert terminal_shades(stream, environment) == shades
