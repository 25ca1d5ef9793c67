"""Names that are not ours: in tables, figures, folders and on the terminal they stay text."""

from __future__ import annotations

import html
import re
import string
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from erf_tools.cli.outcomes import say
from erf_tools.errors import UsageError
from erf_tools.failures import reason
from erf_tools.figures import (
    label_lines,
    line_plot,
    line_styles,
    literal,
    own_style,
    save_figure,
)
from erf_tools.files import write_text
from erf_tools.models.requests import Request, check_folders, folder_name, requests
from erf_tools.tables import as_text, read_csv, write_csv, write_tables
from erf_tools.text import visible

SIGNS = st.one_of(
    st.sampled_from("='+-@\t\r\n,;\" \uff1d\uff0b"), st.characters(exclude_categories=["Cs"])
)


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.text(SIGNS, max_size=5), min_size=1, max_size=4))
def test_words_come_back_from_a_table_as_they_were(
    words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "words.csv"
    write_csv(pd.DataFrame({"word": words, "number": [-0.5] * len(words)}), file)
    read = read_csv(file, ["word"])
    assert read["word"].tolist() == words
    assert read["number"].tolist() == [-0.5] * len(words)


@pytest.mark.parametrize(
    "word",
    ["=cmd|' /C calc'!A0", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", " =1", "'=1", "\uff1d1"],
)
def test_no_cell_of_a_word_is_a_formula(word: str, tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"name": [word], "value": [-1.5]}), tmp_path / "table.csv")
    plain = pd.read_csv(tmp_path / "table.csv")
    assert plain["name"][0] == f"'{word}"
    assert plain["value"][0] == -1.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name\né\n".encode("utf-16"), "cannot be read as CSV"),
        ("name\né\n".encode("latin-1"), "cannot be read as CSV"),
        (b"", "cannot be read as CSV"),
        (b'a,b\n1,2,3\n"', "cannot be read as CSV"),
    ],
)
def test_a_table_that_is_none_is_one_sentence(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_csv(tmp_path / "table.csv")


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("name\nnull\n", encoding="utf-8-sig")
    assert read_csv(tmp_path / "table.csv").to_dict("list") == {"name": ["null"]}


def test_markdown_and_latex_show_names_as_they_are(tmp_path: Path) -> None:
    name = "a|b<img src=x>&[c](d)`e`\n| forged | row |"
    shown = pd.DataFrame({"Name": [name], "Weights": ["50% \\input{x} $y$"], "Side": ["3"]})
    write_tables(tmp_path / "table", shown, shown, [f"{name} is untrained."])
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert len(lines) == 5
    assert lines[2].replace("\\|", "").count("|") == 4
    assert "<" not in "".join(lines).replace("<br", "")
    assert "](" not in "".join(lines)
    latex = (tmp_path / "table.tex").read_text().splitlines()
    assert latex[0].startswith("% a|b<img")
    assert latex[1] == r"\begin{tabular}{llr}"
    assert r"50\% \textbackslash input\{x\} \$y\$" in "".join(latex)


@settings(max_examples=50, deadline=None)
@given(name=st.text(f"{string.punctuation}ab 1", min_size=1, max_size=10))
@example(name="__net__")
@example(name="a*b*c ~~d~~")
@example(name="a\\|b")
def test_markdown_is_read_back_as_the_name(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stem = tmp_path_factory.getbasetemp() / "read_back"
    shown = pd.DataFrame({"Name": [name], "Weights": ["x"]})
    write_tables(stem, shown, shown, [f"of {name}"])
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    read = reader.render(stem.with_suffix(".md").read_text())
    cells = re.findall("<(td|li)[^>]*>(.*?)</\\1>", read, re.DOTALL)
    assert [html.unescape(cell) for _, cell in cells] == [name.strip(), "x", f"of {name}".strip()]


def test_underscores_within_words_stay_as_they_are(tmp_path: Path) -> None:
    shown = pd.DataFrame({"Name": ["efficientnet_lite0 a__b"], "Weights": ["x"]})
    write_tables(tmp_path / "table", shown, shown, [])
    assert "| efficientnet_lite0 a__b |" in (tmp_path / "table.md").read_text()


def test_latex_has_greek_letters_in_headings_and_not_in_names(tmp_path: Path) -> None:
    name = "sigma kappa net"
    shown = pd.DataFrame({"Model": [name], "Weights": [r"\midrule sigma"], "sigma y, px": ["3†"]})
    write_tables(tmp_path / "table", shown, shown, [])
    rows = (tmp_path / "table.tex").read_text().splitlines()
    assert rows[2] == r"Model & Weights & $\sigma$ y, px \\"
    assert rows[4] == name + r" & \textbackslash midrule sigma & 3$^\dagger$ \\"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("résumé 图", "résumé 图"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nerf-tools: done", "a\\nerf-tools: done"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("\udcff.pth", "\\udcff.pth"),
        ("\x9b\x00\u2028", "\\x9b\\x00\\u2028"),
    ],
)
def test_what_could_act_on_a_terminal_is_shown(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert visible(text) == shown
    say(text)
    assert capsys.readouterr().out == f"{shown}\n"
    if not text.startswith("\udcff"):  # which pandas takes no more than UTF-8
        assert shown in as_text(pd.DataFrame({"name": [text]}))


@pytest.mark.parametrize("name", ["$a$", r"a\$b$c", "_hidden", "a_b^{c", "100 %", "\udcff\x1b"])
def test_names_in_figures_are_no_formulas(name: str, tmp_path: Path) -> None:
    with own_style():
        figure = Figure(figsize=(2, 2))
        axes = figure.add_subplot(title=literal(name))
        axes.plot([0, 1], [0, 1], label=literal(name))
        assert len(axes.get_legend_handles_labels()[1]) == 1
        shown, formula = Text(0, 0, literal(name))._preprocess_math(literal(name))
        assert not formula
        assert shown.strip() == visible(name)
    assert len(save_figure(figure, tmp_path / "figure", {"name": name})) == 2


def test_figures_are_the_same_whatever_the_users_settings(tmp_path: Path) -> None:
    def drawn(name: str) -> bytes:
        with own_style():
            figure = Figure(figsize=(1, 1))
            figure.add_subplot().plot([0, 1], label="line")
        return save_figure(figure, tmp_path / name, {})[0].read_bytes()

    expected = drawn("one")
    own = {"savefig.transparent": True, "lines.linewidth": 9, "text.usetex": True, "font.size": 20}
    with mpl.rc_context(own):
        assert drawn("other") == expected
        assert mpl.rcParams["text.usetex"]


@pytest.mark.parametrize(("count", "letters"), [(1, 5), (9, 5), (30, 35)])
def test_a_legend_of_many_names_is_in_the_figure_and_covers_nothing(
    count: int, letters: int
) -> None:
    heights = []
    for lines in (1, count):
        with own_style():
            figure, axes = line_plot()
            for number, line in enumerate(line_styles(lines)):
                axes.plot([0, 1], [number, number], label=f"{number}".rjust(letters, "x"), **line)
            axes.set_xlabel("place")
            label_lines(figure, axes)
            figure.set_dpi(300)  # as it is written
            figure.draw_without_rendering()
        heights.append(axes.get_window_extent().height)
        (legend,) = figure.legends
        assert len(legend.get_texts()) == lines
        box = legend.get_window_extent()
        assert box.y0 >= 0
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= axes.get_tightbbox().y0  # type: ignore[union-attr]
    assert heights[1] == pytest.approx(heights[0], rel=0.02)


def test_of_many_lines_no_two_are_alike() -> None:
    drawn = {tuple(map(str, style.values())) for style in line_styles(100)}
    assert len(drawn) == 100


def test_a_figure_too_long_for_300_dots_per_inch_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_style():
        save_figure(Figure(figsize=(0.01, 250)), tmp_path / "long", {})
        save_figure(Figure(figsize=(2, 1)), tmp_path / "short", {})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    sizes = [Image.open(tmp_path / f"{name}.png").size for name in ("long", "short")]
    assert 60_000 < sizes[0][1] < 2**16
    assert sizes[1] == (600, 300)


def test_text_with_bytes_that_are_no_utf8_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "\udcff")
    assert (tmp_path / "text").read_text() == "\\udcff"


NAMES = ("лучшая", "последняя", "a b", "a+b", "a", "\u00e9", "e\u0301", "x" * 300, "x" * 301)
ODD = ("..", ".", "-", "\udcff", "a\nb", "a?b", "~", "a@b")


def test_no_two_names_share_a_folder() -> None:
    folders = [folder_name(name) for name in (*NAMES, *ODD)]
    assert len(set(folders)) == len(folders)
    assert all(
        len(folder.encode("utf-8")) < 200 and not folder.startswith(".") and "/" not in folder
        for folder in folders
    )
    kept = ["resnet50.a1_in1k", "Mixed_5b", "networks_three", "stage_3"]
    assert [folder_name(name) for name in [*kept[:2], "networks:three", "stage 3"]] == kept


@settings(max_examples=200, deadline=None)
@given(one=st.text(max_size=8), other=st.text(max_size=8))
def test_names_have_folders_of_their_own_or_are_refused(one: str, other: str) -> None:
    if one != other and folder_name(one).casefold() == folder_name(other).casefold():
        with pytest.raises(UsageError, match="same folder"):
            check_folders([one, other], "--model")


def test_checkpoints_in_other_scripts_are_a_series(tmp_path: Path) -> None:
    for name in ("лучшая", "последняя"):
        (tmp_path / f"{name}.pth").touch()
    wanted = requests(["resnet18"], [str(tmp_path / "*.pth")])
    assert len({request.folder for request in wanted}) == 2
    (tmp_path / "Best.pth").touch()
    (tmp_path / "best.pth").touch()
    with pytest.raises(UsageError, match="same folder"):
        requests(["resnet18"], [str(tmp_path / "*.pth")])


def test_weights_that_are_asked_for_are_named_as_in_results() -> None:
    labels = {
        ("resnet18", "random"): "untrained",
        ("resnet18", "pretrained"): "pretrained",
        ("module:factory", "pretrained"): "as given",
        ("hf-hub:timm/x", "pretrained"): "pretrained",
        ("resnet18", "runs/epoch_1.pth"): "epoch_1.pth",
        ("resnet18", "https://host/path/a.pth"): "a.pth",
    }
    assert {key: Request(*key).weights_label for key in labels} == labels


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [["models"], ["--help"]])
def test_a_full_disk_behind_the_output_is_one_sentence(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [Path(sys.executable).with_name("erf-tools"), *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "erf-tools: cannot print (No space left on device); what was written to files is kept\n"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (ValueError(" \n\n  later"), "ValueError: later"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 300), f"ValueError: {'x' * 200}..."),
        (MemoryError(), "MemoryError: there is not enough memory"),
        (MemoryError("Unable to allocate 5 GiB"), "MemoryError: Unable to allocate 5 GiB"),
    ],
)
def test_the_reason_of_an_error_is_one_line(error: Exception, said: str) -> None:
    assert reason(error) == said
