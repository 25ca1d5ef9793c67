"""One vocabulary in all tables: a network is ``model``, ends of intervals ``_low``, ``_high``."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from erf_tools.cue_conflict.makers import decision_makers, paired_differences
from erf_tools.cue_conflict.tables import category_table, shape_bias_table
from erf_tools.erf.tables import convergence_table, difference_table, erf_table
from erf_tools.sweep.results import COLUMNS
from erf_tools.tables import DIFFERENCES, SUBJECT, intervals, numbers, with_intervals
from tests import synthetic
from tests.reference import rounded
from tests.synthetic import blob

ROOT = Path(__file__).parents[1]


def _results() -> list[synthetic.ERF]:
    return [
        synthetic.erf("one", blob(32, 3), layer="layer1"),
        synthetic.erf("one", blob(32, 5), layer="layer2"),
        synthetic.erf("two", blob(32, 7)),
    ]


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "erf": lambda: erf_table(_results()),
    "erf differences": lambda: difference_table(_results()),
    "convergence": lambda: convergence_table(_results()),
    "shape bias": lambda: shape_bias_table(decision_makers([])),
    "categories": lambda: category_table(decision_makers([])),
    "shape-bias differences": lambda: paired_differences(decision_makers([])),
    "sweep": lambda: pd.DataFrame(columns=list(COLUMNS)),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_table_names_models_and_intervals_alike(table: Callable[[], pd.DataFrame]) -> None:
    columns = list(table().columns)
    assert columns[:2] == ["model", "weights"]
    assert not {"name", "network", "one", "low", "high"} & {*columns}
    for column in columns:
        assert not column.startswith("ci_")
        if column.endswith("_low"):
            assert f"{column.removesuffix('low')}high" in columns
            value = column.removesuffix("_low")
            of_shape = value.removesuffix("_texture").removesuffix("_wilson")
            assert {value, of_shape} & {*columns}


def test_both_tables_of_differences_have_the_same_columns_and_say_of_which_layers() -> None:
    found = difference_table(_results())
    assert list(found.columns) == list(DIFFERENCES)
    assert list(paired_differences(decision_makers([])).columns) == [*DIFFERENCES, "stimuli"]
    pairs = found[[*SUBJECT, "other", "other_weights", "other_layer"]].drop_duplicates()
    assert pairs.to_numpy().tolist() == [
        ["one", "untrained", "layer1", "one", "untrained", "layer2"],
        ["one", "untrained", "layer1", "two", "untrained", "last"],
        ["one", "untrained", "layer2", "two", "untrained", "last"],
    ]
    smaller, larger = (each.measures.effective_side for each in _results()[:2])
    row = found[found["measure"] == "effective_side"].iloc[0]
    assert row["difference"] == smaller - larger < 0


def test_intervals_as_text() -> None:
    nan = float("nan")
    table = pd.DataFrame(
        {"r": [0.5, 2, nan], "r_low": [0.25, nan, nan], "r_high": [0.75, nan, nan]}
    )
    assert intervals(table, "r", "{:.2f}".format) == ["[0.25, 0.75]", "-", "-"]
    assert with_intervals(table, "r", "{:.2f}".format) == ["0.50 [0.25, 0.75]", "2.00", "-"]


def test_what_is_rounded_to_zero_has_no_sign() -> None:
    values = [0.0, -0.0, *np.random.default_rng(0).normal(0, 0.05, 200), -0.005, 0.005, -1e-12]
    for digits in range(4):
        show = f"{{:.{digits}f}}".format
        expected = [rounded(value, digits) for value in values]
        assert numbers(values, show) == expected
        table = pd.DataFrame({"r": values, "r_low": values[::-1], "r_high": values})
        ends = [f"[{low}, {high}]" for low, high in zip(expected[::-1], expected, strict=True)]
        assert intervals(table, "r", show) == ends
        both = [f"{value} {end}" for value, end in zip(expected, ends, strict=True)]
        assert with_intervals(table, "r", show) == both
    assert numbers([-1e-9, -0.004, -math.inf], "{:.0%}".format) == ["0%", "0%", "-inf%"]
    assert numbers([-1e-9, 1e-9, -0.01], "{:+.2f}".format) == ["0.00", "0.00", "-0.01"]
    assert numbers([-1e-9, -10.0], "{:.2g}".format) == ["-1e-09", "-10"]


@pytest.mark.parametrize("word", ["tabulate", "to_markdown", "to_latex", ".to_csv("])
def test_tables_are_written_in_one_place(word: str) -> None:
    files = [*ROOT.glob("erf_tools/**/*.py"), *ROOT.glob("analyses/*.py")]
    users = [file.name for file in files if word in file.read_text().replace("tabulated", "")]
    assert len(users) <= 1
    assert set(users) <= {"tables.py"}
