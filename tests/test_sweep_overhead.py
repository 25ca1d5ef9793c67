"""The overhead of sweeps: that naps are counted as naps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analyses.sweep_overhead import overhead, simulate
from erf_tools.figures import save_figure


def test_overhead_is_what_each_turn_adds() -> None:
    """Ten turns of naps of a second that took eleven: a tenth of a second each."""
    table = pd.DataFrame({"seconds": [1.0], "naps": [10.0], "work": [11.0]})
    assert overhead(table, 1)[0] == pytest.approx(0.1)
    assert overhead(table, 10)[0] == pytest.approx(0.01)


def test_a_small_sweep_of_naps(tmp_path: Path) -> None:
    from analyses.sweep_overhead import draw

    found = simulate(0.05, 3, 10, 2, tmp_path)
    assert found["units"] == 3
    assert found["naps"] == pytest.approx(2 * 0.05)
    assert found["work"] >= found["naps"]
    assert found["around"] > 0
    assert 1e8 < found["peak"] < 1e10
    files = save_figure(draw(found.to_frame().T), tmp_path / "overhead", {})
    assert all(file.stat().st_size > 1000 for file in files)
