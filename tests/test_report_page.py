"""The report as a person meets it: in a real browser, without a display or a network."""

from __future__ import annotations

import base64
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from reference import rounded
from synthetic import SCRIPT, blob

import erf_tools
from erf_tools import report as report_package
from erf_tools.cue_conflict.representation import MEASURES as LAYER_MEASURES
from erf_tools.erf.display import density
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures.families.squares import smallest_square
from erf_tools.failures import Failures
from erf_tools.reliance.suppressions import suppress
from erf_tools.report import sections
from erf_tools.report.commands import erf_command
from erf_tools.report.content import collect
from erf_tools.report.page import render, write_report
from erf_tools.report.results import HeadFreeLayers, Reliance, Results, ShapeBias, SingleCue
from erf_tools.tables import interval_columns

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is missing: pip install -e '.[test]'"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("Chromium is missing: apt-get install chromium", allow_module_level=True)

OFFLINE = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OFFLINE += ["--disable-background-networking", "--disable-component-update"]

WIDE = synthetic.erf(SCRIPT, blob(96, 20))
NARROW = synthetic.erf("narrow", blob(96, 6), square="unit")
STAGES = [synthetic.erf("staged", blob(48, 2 + 4 * n), layer=f"layer{n}") for n in range(2)]
ERFS = [NARROW, WIDE, *STAGES]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=OFFLINE)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sections at once, with a name that would do something if it were markup."""
    folder = tmp_path_factory.mktemp("report") / "<b>results"
    bias = ShapeBias.read(synthetic.shape_bias_folder(folder / "bias", SCRIPT))
    relied = Reliance.read(synthetic.reliance_folder(folder / "reliance", SCRIPT, "other"))
    return write_report(
        folder / "report.html", Results(ERFS, biases=[bias], reliances=[relied]), Failures()
    )


def opened(browser: Any, path: Path, **options: Any) -> Any:
    """Return a page that notes what it says to the console and what it asks of anyone."""
    page = browser.new_context(**options).new_page()
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri())
    return page


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    shown = opened(browser, report, viewport={"width": 1400, "height": 900})
    yield shown
    assert shown.said == []
    assert shown.asked == [report.as_uri()]
    shown.context.close()


def figure(page: Any, result: ERF, section: str = "map-grid") -> Any:
    name = re.compile(f"^{re.escape(result.label)}$")
    return page.locator(f"#{section} figure", has=page.locator(".name", has_text=name))


def test_the_slider_draws_the_librarys_square(page: Any) -> None:
    for result, percentage in product(ERFS[:2], range(1, 100, 7)):
        page.locator("#threshold").fill(str(percentage))
        assert page.locator("#share").inner_text() == f"{percentage} %"
        shown = figure(page, result)
        ratio = float(shown.locator(".ratio").get_attribute("data-ratio"))
        square = smallest_square(result.map, percentage / 100, result.square_center)
        assert square is not None
        assert ratio == square.ratio
        drawn = shown.locator("rect.square")
        box = [int(drawn.get_attribute(name)) for name in ("y", "x", "height", "width")]
        height, width = square.bottom - square.top, square.right - square.left
        assert box == [square.top, square.left, height, width]
        assert f"{height}x{width} px: r = {100 * ratio:.2f}" in shown.inner_text()


def test_the_slider_moves_by_keyboard(page: Any) -> None:
    before = figure(page, WIDE).locator("rect.square").get_attribute("width")
    page.locator("#threshold").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert page.locator("#share").inner_text() == "70 %"
    assert int(figure(page, WIDE).locator("rect.square").get_attribute("width")) > int(before)


def test_the_strip_moves_by_keyboard_with_the_numbers(page: Any, report: Path) -> None:
    """The picture is the library's own suppressed image, but for what JPEG loses."""
    own = synthetic.answers(SCRIPT)
    curves = pd.read_csv(report.parent / "reliance" / "reliance_curves.csv")
    page.locator("#reliance-0-suppression").focus()
    page.keyboard.press("Home")
    page.locator("#reliance-0-strength").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.locator("#reliance output").inner_text() == "6 x 6 cells"
    shown = page.locator("#reliance .beside table").inner_text()
    place = (curves["suppression"] == "patch-shuffle") & (curves["strength"] == 3)
    for accuracy in curves.loc[place, "accuracy"]:
        assert f"{accuracy:.2f}" in shown
    read = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    pixels = np.array(page.locator("#reliance canvas").evaluate(read)).reshape(224, 224, 4)
    versions = suppress(own.example, own.rows, own.sha256[0]).astype(float)
    apart = np.abs(versions - pixels[..., :3]).mean(axis=(1, 2, 3))
    assert apart.argmin() == 3
    assert apart[3] < 0.5 * np.delete(apart, 3).min()
    page.locator("#reliance-0-suppression").select_option(label="blend with grey")
    assert "blend with grey" in page.locator("#reliance-0-curves [role=application]").get_attribute(
        "aria-label"
    )
    assert page.locator("#reliance-0-strength").get_attribute("max") == "5"


def test_names_are_text(page: Any) -> None:
    assert page.title() == "What vision networks look at - erf-tools"
    assert page.evaluate("document.scripts.length") == 2
    sections = ("summary", "maps", "pair", "profiles", "shape-bias", "reliance", "scatter")
    for section in (*sections, "provenance"):
        assert SCRIPT in page.locator(f"#{section}").text_content(), section
    assert "taken" not in page.title()


HOSTILE = [
    "</script><script>document.title='taken'</script>",
    "<!--<script>document.title='taken'</script>",
    "<img src=x onerror=document.title='taken'>",
    "<svg/onload=document.title='taken'>",
    "javascript:document.title='taken'",
    "' onmouseover='document.title=\"taken\"' x='",
    '" autofocus onfocus="document.title=1" x="',
    "${document.title='taken'}`${document.title='taken'}`",
    "{{constructor.constructor('document.title=1')()}}",
    "$data $style $$ %s \\u003cscript\\u003e \\",
    "</title></style></textarea></svg><base href=https://example.org>",
    "a\u2028document.title='taken'//\u2029",
    "\ud800\udfff\ufffe\x00\x1b]0;taken\x07",
    "__proto__",
]


def test_hostile_names_run_nothing_and_reach_nobody(browser: Any, tmp_path: Path) -> None:
    erfs = [synthetic.erf(name, blob(32, 4)) for name in HOSTILE]
    erfs += [synthetic.erf("staged", blob(32, 4), layer=name) for name in HOSTILE]
    failures = Failures()
    path = write_report(tmp_path / "report.html", Results(erfs), failures)
    assert not list(failures)
    shown = opened(browser, path)
    for figure in shown.locator("#map-grid figure").all()[: len(HOSTILE)]:
        figure.hover()
    names = shown.locator("#map-grid figure .name").all_inner_texts()
    assert len(set(names)) == 2 * len(HOSTILE)
    assert shown.title() == "What vision networks look at - erf-tools"
    assert shown.evaluate("document.scripts.length") == 2
    assert shown.said == []
    assert shown.asked == [path.as_uri()]
    shown.context.close()


def test_a_section_that_cannot_be_drawn_leaves_the_others(browser: Any, tmp_path: Path) -> None:
    content = collect(Results(ERFS), Failures())
    content["growth"] = [{"label": "staged"}]
    content["failures"] = ["results/erf.npz is damaged <b>"]
    path = tmp_path / "report.html"
    path.write_text(render(content))
    shown = opened(browser, path)
    first, second = shown.locator("#failed li").all_inner_texts()
    assert first == "results/erf.npz is damaged <b>"
    assert second.startswith("A section of this page cannot be drawn:")
    assert shown.locator("#map-grid figure").count() == len(ERFS)
    assert shown.locator("#provenance-list details").count() == len(ERFS)
    assert shown.said == []
    shown.context.close()


def test_two_files_are_a_new_section(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the documentation, at its place, and two of which it shows nothing."""
    page = Path(__file__).parents[1] / "docs" / "howto" / "adding-a-section.md"
    for kind, written in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.DOTALL | re.M):
        suffix = {"python": ".py", "html": ".html"}[kind]
        (tmp_path / "images").with_suffix(suffix).write_text(written)
    for name, body in {"empty": "return []", "broken": "return [{1, 2}]"}.items():
        markup = (tmp_path / "images.html").read_text().replace("images", name)
        (tmp_path / f"{name}.html").write_text(markup)
        (tmp_path / f"{name}.py").write_text(f"def content(context):\n    {body}\n")
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])
    failures = Failures()
    path = write_report(tmp_path / "report.html", Results(ERFS), failures)
    (failure,) = failures
    said = "Object of type set is not JSON serializable"
    assert str(failure) == f"the page's section broken failed: TypeError: {said}"
    shown = opened(browser, path)
    ids = shown.locator("main > section:visible").evaluate_all("all => all.map((one) => one.id)")
    assert {"failures", "summary", "profiles", "growth", "provenance"} < {*ids}
    assert not {"empty", "broken"} & {*ids}
    assert ids.index("maps") < ids.index("images") < ids.index("pair")
    links = shown.locator("#contents a").evaluate_all("all => all.map((one) => one.hash)")
    assert links == [*(f"#{name}" for name in ids[1:]), "#failures"]
    rows = shown.locator("#images tbody tr").all_inner_texts()
    assert rows == [f"{result.label}\t{result.count}" for result in ERFS]
    assert shown.locator("[data-for]:visible").evaluate_all(
        "all => all.map((one) => one.dataset.for)"
    ) == ["maps", "images"]
    assert shown.said == []
    shown.context.close()


MAP_OF_OTHERS = """
from pathlib import Path
import numpy as np
from erf_tools.erf.others import OthersMap
from erf_tools.erf.shown_tables import readable
from erf_tools.erf.tables import erf_table
from erf_tools.failures import Failures
from erf_tools.report.page import write_report
from erf_tools.report.results import Results

theirs = OthersMap("theirs", np.ones((8, 4)), "theirs.npy", "")
erf_table([], [theirs]).to_csv("erf.csv")
readable(erf_table([], [theirs])).to_csv("readable.csv")
write_report(Path("report.html"), Results(others=[theirs]), Failures(), reference=False)
"""


def test_a_module_is_a_new_measure(browser: Any, tmp_path: Path) -> None:
    """That of the documentation: of a uniform map, the logarithm of the number of its pixels."""
    package = tmp_path / "erf_tools"
    shutil.copytree(Path(erf_tools.__file__).parent, package)
    page = Path(__file__).parents[1] / "docs" / "howto" / "adding-a-measure.md"
    *_, module = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    (package / "erf" / "measures" / "families" / "entropy.py").write_text(module)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", MAP_OF_OTHERS], env=environment, cwd=tmp_path, check=True)
    (row,) = pd.read_csv(tmp_path / "erf.csv").to_dict("records")
    assert row["entropy"] == pytest.approx(math.log(32))
    (row,) = pd.read_csv(tmp_path / "readable.csv").to_dict("records")
    assert row["Entropy, nats"] == 3.47
    shown = opened(browser, tmp_path / "report.html")
    titles = shown.locator("#summary-table th").all_inner_texts()
    values = shown.locator("#summary-table tbody tr td, #summary-table tbody tr th")
    assert values.all_inner_texts()[titles.index("Entropy, nats")] == "3.47"
    assert shown.said == []
    shown.context.close()


SECTION = '<section id="one" data-place="5" hidden>\n</section>\n'


@pytest.mark.parametrize(
    ("name", "written", "said"),
    [
        ("one", '<section id="one" hidden>\n</section>\n', "is no section"),
        ("one", SECTION, "is no section"),
        ("one", f"{SECTION}{SECTION}<script>\n</script>\n", "is no section"),
        ("one", f"{SECTION}<script>\n'</script>'\n</script>\n", "holds </script or <!--"),
        ("one", f"{SECTION}<script>\n</script>\n<script>\n</script>\n", "holds </script"),
        ("one", f"{SECTION}<script>\n'<!-- <script>'\n</script>\n", "holds </script or <!--"),
        ("erfs", f"{SECTION}<script>\n</script>\n", "has the name of other data"),
    ],
)
def test_a_file_that_is_no_section_is_named(
    name: str, written: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}.html").write_text(written)
    monkeypatch.setattr(sections, "__path__", [str(tmp_path)])
    with pytest.raises(ValueError, match=rf"{name}\.html.* {re.escape(said)}"):
        sections.read_sections()


def test_nothing_can_be_fetched(browser: Any, report: Path) -> None:
    page = opened(browser, report)
    refused = page.evaluate("fetch('https://example.org').then(() => 'sent', () => 'refused')")
    assert refused == "refused"
    assert page.asked == [report.as_uri()]
    page.context.close()


def readings(page: Any) -> list[str]:
    return page.locator("#map-grid .reading").all_inner_texts()


def test_the_cursor_reads_values_in_all_maps(page: Any) -> None:
    frame = figure(page, WIDE).locator(".frame")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 60.5 / 96, box["y"] + box["height"] * 40.5 / 96)
    for result, text in zip((NARROW, WIDE), readings(page), strict=False):
        found = re.fullmatch("row 40, column 60: (\\S+) \u00d7 uniform", text)
        assert found, text
        assert float(found[1]) == pytest.approx(density(result.map)[40, 60], rel=6e-2, abs=1e-3)
    frame.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowLeft")
    assert readings(page)[0].startswith("row 41, column 50: ")
    assert page.locator("#announcement").text_content().startswith("row 41, column 50: ")
    page.keyboard.press("Escape")
    assert "row" not in "".join(readings(page))


def test_zoom_moves_all_maps_and_their_marks(page: Any) -> None:
    overlay = figure(page, WIDE).locator(".frame svg")
    assert overlay.get_attribute("viewBox") == "0 0 96 96"
    page.locator("#zoom-in").click()
    _, _, width, height = overlay.get_attribute("viewBox").split()
    assert (width, height) == ("48", "48")
    figure(page, NARROW).locator(".frame").focus()
    page.keyboard.press("+")
    assert overlay.get_attribute("viewBox").endswith(" 24 24")
    page.locator("#zoom-reset").click()
    assert overlay.get_attribute("viewBox") == "0 0 96 96"


def pixels(page: Any, figure: Any) -> np.ndarray:
    canvas = figure.locator("canvas").element_handle()
    script = """shown => {
        const copy = document.createElement('canvas');
        [copy.width, copy.height] = [shown.width, shown.height];
        const context = copy.getContext('2d', { willReadFrequently: true });
        context.drawImage(shown, 0, 0);
        const { data } = context.getImageData(0, 0, copy.width, copy.height);
        return btoa(String.fromCharCode(...data));
    }"""
    values = np.frombuffer(base64.b64decode(page.evaluate(script, canvas)), np.uint8)
    return values.reshape(96, 96, 4)[:, :, :3].astype(int)


def test_displays_differ_and_share_a_scale(page: Any) -> None:
    shown = {}
    for display in ("linear", "log", "power"):
        page.locator(f"input[value={display}]").check()
        shown[display] = [pixels(page, figure(page, result)) for result in ERFS[:2]]
    weak = {name: maps[0][48, 75].sum() for name, maps in shown.items()}
    assert weak["linear"] < weak["power"]
    narrow, wide = shown["log"]
    assert narrow.sum(axis=2).max() > wide.sum(axis=2).max()


def test_a_pair_and_its_difference(page: Any) -> None:
    grid = page.locator("#pair-grid figure")
    assert grid.count() == 3
    assert page.locator("#pair-refusal").is_hidden()
    red, _, blue = pixels(page, grid.nth(2))[48, 48]
    assert red > blue  # orange: the narrow one has more in the middle
    red, _, blue = pixels(page, grid.nth(2))[48, 75]
    assert red < blue
    page.locator("#second").select_option("0")
    assert len(np.unique(pixels(page, grid.nth(2)).reshape(-1, 3), axis=0)) == 1
    page.locator("#second").select_option("2")
    assert page.locator("#pair-refusal").is_visible()
    assert grid.count() == 2


def test_the_table_has_its_columns(page: Any) -> None:
    found = page.locator("#summary-table thead th").all_text_contents()
    assert [title.replace("\u2195", "").strip() for title in found] == [
        *("Model", "Weights", "Input, px", "Images"),
        *(f"r at {share}\u00a0%" for share in (20, 30, 50, 99)),
        *("Side, px", "r at 50\u00a0%, as published (log)", "r at 99\u00a0%, as published (log)"),
        "Theoretical reach",
    ]
    first = page.locator("#summary-table tbody tr").first.locator("td").all_text_contents()
    measures = ERFS[0].measures
    assert first[3:7] == [
        f"{100 * getattr(measures, f'linear_{share}'):.2f}\u00a0%" for share in (20, 30, 50, 99)
    ]
    assert first[7].startswith(f"{measures.effective_side:.0f}")
    assert first[8:10] == [
        f"{100 * getattr(measures, f'legacy_{share}'):.2f}\u00a0%" for share in (50, 99)
    ]


def test_numbers_are_rounded_as_in_tables(browser: Any) -> None:
    """Python rounds what is exactly between two numbers to the even one."""
    generator = np.random.default_rng(0)
    ties = (generator.integers(-4000, 4000, 300) / 2.0 ** generator.integers(0, 6, 300)).tolist()
    others = [
        0.8125,
        0.125,
        2.5,
        -0.5,
        1.005,
        1e-9,
        -1e-9,
        -0.0,
        -0.004,
        -0.005,
        *generator.normal(0, 3, 100).tolist(),
    ]
    values = [[value, digits] for value in (*ties, *others) for digits in range(4)]
    page = browser.new_page()
    page.set_content('<script type="application/json" id="data">{}</script>')
    page.add_script_tag(content=(files(report_package) / "elements.js").read_text())
    shown = page.evaluate("(all) => all.map(([value, digits]) => fixed(value, digits))", values)
    assert shown == [rounded(value, digits) for value, digits in values]
    assert {"-0", "-0.00", "-0.000"}.isdisjoint(shown)
    assert page.evaluate("[estimate({x: -1e-4, x_low: -0.5, x_high: -0}, 'x', 2)]") == [
        "0.00 [-0.50, 0.00]"
    ]
    assert page.evaluate("[percent(0.00125), percent(null)]") == ["0.12\u00a0%", "\u2013"]
    page.close()


def test_charts_of_layers_say_in_which_order_these_are(browser: Any, tmp_path: Path) -> None:
    numbers = interval_columns(*LAYER_MEASURES)
    about = {"weights": "w", "stimuli": "some", "cues": "shape, texture", "similarity": "cosine"}
    known = {**about, **dict.fromkeys(numbers, 0.5), "dimensions": 4}
    rows = [{**known, "model": "net", "layer": name, "place": n} for n, name in enumerate("ab")]
    single = pd.DataFrame(
        [
            {**about, **dict.fromkeys(interval_columns("accuracy", "mrr", "mrr_classes"), 0.5)}
            | {"model": "net", "stimuli": stimuli}
            for stimuli in ("edges", "silhouettes")
        ]
    )
    for number, (ordered, said) in enumerate(
        ((True, "0: nearest to the image"), (False, "in the order of definition"))
    ):
        layers = HeadFreeLayers(tmp_path, pd.DataFrame(rows).assign(ordered=ordered), {})
        results = Results(layers=[layers], single_cue=[SingleCue(tmp_path, single, {})])
        page = opened(browser, write_report(tmp_path / f"{number}.html", results, Failures()))
        for plot in ("triplet-plot", "dimension-plot"):
            texts = page.locator(f"#{plot} svg.chart text").all_text_contents()
            assert f"measured layer ({said})" in texts
        sets = page.locator("#single-cue-table tbody td:nth-child(2)").all_inner_texts()
        assert sets == ["edges", "silhouettes"]
        assert page.said == []
        page.context.close()


def test_the_table_sorts(page: Any) -> None:
    def order() -> list[str]:
        return page.locator("#summary-table tbody th").all_inner_texts()

    expected = sorted(ERFS, key=lambda result: result.measures.effective_side)
    header = page.locator("#summary-table th", has_text="Side, px")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert order() == [result.label for result in expected]
    header.get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert order() == [result.label for result in reversed(expected)]


def test_the_command_is_copied(browser: Any, report: Path) -> None:
    page = opened(browser, report, permissions=["clipboard-read", "clipboard-write"])
    entry = page.locator("#provenance-list details").nth(1)
    entry.locator("summary").click()
    entry.get_by_role("button").click()
    playwright.expect(entry.get_by_role("status")).to_have_text(re.compile("Copied"))
    assert page.evaluate("navigator.clipboard.readText()") == erf_command(WIDE)
    assert page.said == []
    page.context.close()


def test_plots_answer_to_mouse_and_keys(page: Any) -> None:
    for plot in ("profile", "growth", "interval", "matrix", "scatter"):
        stage = page.locator(f"#{plot}-plot .plot")
        tip = stage.locator(".tip")
        stage.focus()
        page.keyboard.press("End")
        assert tip.is_visible()
        by_key = tip.inner_text()
        ring = stage.locator(".chosen").bounding_box()
        page.keyboard.press("Escape")
        assert tip.is_hidden()
        page.mouse.move(ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2)
        assert tip.inner_text() == by_key


def test_the_matrix_shows_the_counts(page: Any) -> None:
    stage = page.locator("#matrix-plot .plot")
    stage.focus()
    page.keyboard.press("Home")
    tip = stage.locator(".tip").inner_text()
    assert "humans (published)\nairplane: 89\u00a0% by shape\n443 shape, 53 texture" in tip


@pytest.mark.parametrize(("width", "scheme"), [(420, "dark"), (1400, "light")])
def test_accessible_and_no_wider_than_the_screen(
    browser: Any, report: Path, width: int, scheme: str
) -> None:
    checker = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing"
    )
    page = opened(browser, report, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    found = checker.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.said == []
    page.context.close()


def test_everything_is_reached_by_tab(page: Any) -> None:
    page.locator("h1").click()
    reached = set()
    for _ in range(90):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(e => e.id || e.className || e.closest('section, nav')?.id + ' ' + e.tagName)"
                "(document.activeElement)"
            )
        )
    assert {"threshold", "zoom-in", "frame", "frame difference", "first", "plot"} <= reached
    assert {"summary BUTTON", "provenance SUMMARY"} <= reached


def test_ten_models_at_1024_are_drawn_small(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the page opens at once: no picture has more pixels than a screen shows of it."""
    result = synthetic.erf("network", blob(1024, 200))
    monkeypatch.setattr(ERF, "measures", result.measures)
    path = write_report(tmp_path / "report.html", Results([result] * 10), Failures())
    page = opened(browser, path, viewport={"width": 1400, "height": 900})
    sides = page.locator("#map-grid canvas").evaluate_all("all => all.map((one) => one.width)")
    assert sides == [512] * 10
    assert page.said == []
    page.context.close()
