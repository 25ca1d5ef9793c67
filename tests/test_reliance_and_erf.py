"""The analysis that relates reliance to the ERF: its arithmetic, and that it is a program."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer import Typer
from typer.testing import CliRunner

from analyses import reliance_and_erf
from analyses.trained_networks import QUICK


@pytest.fixture
def runs() -> pd.DataFrame:
    """Three seeds: reliance on global shape grows with the side, that on texture shrinks."""
    rows = []
    for seed in range(3):
        for place, design in enumerate(QUICK.designs):
            side = 10.0 + 4 * place + seed
            own = {"design": design.name, "cue": "either", "seed": seed, "effective_side": side}
            own |= {"accuracy_own": 0.9, "global_shape": side / 100, "texture": 0.9 - side / 100}
            rows.append({**own, "local_shape": 0.1 + 0.01 * (place * 5 % 8)})
    return pd.DataFrame(rows)


def test_means_are_over_seeds_and_sides_shares_of_the_input(runs: pd.DataFrame) -> None:
    row = reliance_and_erf.trained(runs, 64).set_index("model").loc["7x7"]
    assert row["side"] == pytest.approx(15 / 64)
    assert row["global_shape"] == pytest.approx(0.15)
    assert row["global_shape_high"] == pytest.approx(0.15 + 4.3027 * 0.01 / 3**0.5, rel=1e-4)


def test_it_is_a_program(
    runs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reliance_and_erf, "study", lambda *_: runs)
    app = Typer()
    app.command()(reliance_and_erf.main)
    shown = CliRunner().invoke(app, ["--quick", "--output", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert "with global shape +1.00, " in shown.output
    assert "texture -1.00" in shown.output
    table = pd.read_csv(tmp_path / "reliance_and_erf.csv")
    assert len(table) == len(QUICK.designs)
    assert (tmp_path / "reliance_and_erf.png").is_file()


def test_three_networks_come_with_a_caution(runs: pd.DataFrame) -> None:
    pair = {"model": "a", "other": "b", "measure": "global_shape", "difference": 0.1}
    pair |= {"difference_low": -0.1, "difference_high": 0.3}
    said = reliance_and_erf.findings(pd.DataFrame([pair]), runs)
    assert said[0] == "a minus b: global shape +0.10 [-0.10, +0.30], paired by image."
    assert "says nothing of ERFs" in said[1]
