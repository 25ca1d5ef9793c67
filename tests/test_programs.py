"""The analyses as programs: what each says of itself, and what they share."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from analyses import PROGRAMS, programs
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.provenance import versions

ROOT = Path(__file__).parents[1]
PAGES = "".join(page.read_text() for page in (ROOT / "docs").glob("*/*.md"))


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Any:
    return import_module(f"analyses.{request.param}")


def test_it_says_what_it_claims_and_what_would_refute_it(program: Any) -> None:
    paragraphs = (program.__doc__ or "").split("\n\n")
    order = [
        next(index for index, paragraph in enumerate(paragraphs) if paragraph.startswith(word))
        for word in ("Claim:", "Method:", "Refuted by:", "Found")
    ]
    assert order == sorted(order)
    assert all(len(paragraphs[index]) > 40 for index in order)


def test_it_is_a_command_that_a_page_names(program: Any) -> None:
    app = Typer()
    app.command()(program.main)
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert "--quick" in shown.output
    assert "--output" in shown.output
    name = program.__name__.removeprefix("analyses.")
    assert f"`{name}`" in PAGES or f"analyses.{name}" in PAGES


def test_a_kept_part_is_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> dict[str, float]:
        calls.append(1)
        return {"side": 3.5}

    path = tmp_path / "parts" / "one.json"
    first = programs.kept(path, {"kernel": 3}, compute)
    again = programs.kept(path, {"kernel": 3}, compute)
    assert len(calls) == 1
    assert again["side"] == first["side"] == 3.5
    programs.kept(path, {"kernel": 5}, compute)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"setting": {}}', '{"setting": 3, "result": 1}']
)
def test_a_damaged_part_is_computed_anew(content: str, tmp_path: Path) -> None:
    path = tmp_path / "part.json"
    path.write_text(content)
    assert programs.kept(path, {}, lambda: {"side": 1.0}) == {"side": 1.0}
    assert json.loads(path.read_text())["result"] == {"side": 1.0}


def test_a_part_of_other_versions_is_computed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "part.json"
    programs.kept(path, {}, lambda: {"side": 1.0})
    monkeypatch.setattr(programs, "versions", lambda: {**versions(), "torch": "0.1"})
    assert programs.kept(path, {}, lambda: {"side": 2.0})["side"] == 2.0


def test_results_carry_their_provenance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame({"model": ["a"], "side": [12.345]})
    shown = pd.DataFrame({"Network": ["a"], "Side": ["12"]})
    figure = Figure()
    figure.add_subplot()
    programs.publish(tmp_path, "some", table, shown, ["a remark"], figure, {"seeds": 2})
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {f"some.{suffix}" for suffix in ("csv", "md", "tex", "png", "pdf", "json")}
    record = json.loads((tmp_path / "some.json").read_text())
    assert record["setting"] == {"seeds": 2}
    assert record["versions"] == versions()
    described = json.loads(Image.open(tmp_path / "some.png").text["Description"])
    assert described["setting"] == {"seeds": 2}
    assert pd.read_csv(tmp_path / "some.csv")["side"].iloc[0] == 12.345
    printed = capsys.readouterr().out
    assert "a remark" in printed
    assert str(tmp_path) in printed


@pytest.mark.parametrize(("error", "code"), [(UsageError, 2), (ErfToolsError, 1)])
def test_errors_are_one_sentence(
    error: type[ErfToolsError],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        raise error("there is no such thing")

    monkeypatch.setattr(sys, "argv", ["analysis"])
    with pytest.raises(SystemExit) as stopped:
        programs.run(main)
    assert stopped.value.code == code
    assert capsys.readouterr().err == "error: there is no such thing\n"


def test_misuse_of_a_real_one_exits_with_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analyses.erf_table", "--quick", "--untrained"]
    command += ["--images", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_figure_in_the_readme_is_small_and_traceable() -> None:
    path = Path("notebooks") / "figures" / "erf_comparison.png"
    assert f"({path})" in (ROOT / "README.md").read_text()
    assert (ROOT / path).stat().st_size < 200_000
    description = json.loads(Image.open(ROOT / path).text["Description"])
    assert description["results"][0]["runs"][0]["versions"]
