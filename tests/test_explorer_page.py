"""The page in a real browser: clicks, keys, two models, names that are markup, accessibility."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the extra `app` is missing")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is missing")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is missing")

from erf_tools.explorer.pictures import samples  # noqa: E402
from erf_tools.explorer.server import listen, serve  # noqa: E402
from erf_tools.explorer.session import Session  # noqa: E402
from erf_tools.explorer.uploads import uploads_folder  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
SCRIPT = "<script>document.title='run'</script><img src=x onerror=alert(1)>"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    session = Session(["resnet18", "resnet10t"], allow_any_model=True)
    with (
        uploads_folder() as uploads,
        listen("127.0.0.1") as listener,
        serve(session, samples(), listener, uploads),
    ):
        yield listener.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


class Visit:
    """A page that has been opened, and all that went wrong or out of it."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.page = browser.new_context(**context).new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda message: message.type == "error" and self.errors.append(message.text),
        )
        self.page.on("dialog", lambda dialog: self.errors.append(f"dialog {dialog.message}"))
        self.page.goto(address)
        self.choose("Name of model A", "resnet18")
        self.page.get_by_label("random").first.check()
        self.wait_for("untrained")

    def choose(self, label: str, name: str) -> None:
        field = self.page.get_by_label(label, exact=True)
        field.click()
        field.fill(name)
        field.press("Enter")

    def wait_for(self, text: str) -> None:
        self.page.locator(".erf-facts, .erf-refusal").filter(has_text=text).first.wait_for()

    def shown(self, panel: int = 0) -> str:
        return self.page.locator(".erf-picture img").nth(panel).get_attribute("src")

    def wait_for_unit(self, unit: str, panel: int = 0) -> None:
        expected = self.page.locator(".erf-facts").nth(panel).locator("dd").first
        sync_api.expect(expected).to_have_text(unit, timeout=15_000)

    def violations(self) -> list[str]:
        found = axe.Axe().run(self.page).response["violations"]
        return [f"{item['id']}: {item['nodes'][0]['html'][:200]}" for item in found]


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    opened = Visit(browser, address)
    yield opened
    assert not opened.errors
    assert all(url.startswith((address, "data:", "blob:")) for url in opened.requests)
    opened.page.context.close()


def test_a_click_and_the_arrow_keys_change_the_map(visit: Visit) -> None:
    first, picture = visit.shown(), visit.page.locator(".erf-picture")
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] * 0.15, "y": box["height"] * 0.3})
    visit.wait_for_unit("row 2, column 1 of 7x7")
    clicked = visit.shown()
    assert clicked != first
    picture.focus()
    visit.page.keyboard.press("ArrowRight")
    visit.wait_for_unit("row 2, column 2 of 7x7")
    assert visit.shown() not in (first, clicked)
    visit.page.keyboard.press("ArrowUp")
    visit.wait_for_unit("row 1, column 2 of 7x7")
    assert "row 1, column 2" in picture.locator("img").get_attribute("alt")


def test_the_map_is_smoothed_until_that_is_switched_off(visit: Visit) -> None:
    smoothed = visit.shown()
    visit.wait_for("smoothed, Gaussian of sigma 4.0 pixels")
    visit.page.get_by_label("Smooth what is shown").uncheck()
    visit.wait_for("the map as it is, pixel by pixel")
    assert visit.shown() != smoothed


def test_a_unit_is_checked_until_another_is_looked_from(visit: Visit) -> None:
    visit.choose("Layer of model A", "layer1")
    visit.wait_for("of 56x56")
    visit.page.get_by_role("button", name="Check this unit of model B").click()
    visit.wait_for("There is no unit to check; choose a model first.")
    visit.page.get_by_role("button", name="Check this unit of model A").click()
    check = visit.page.locator(".erf-check")
    sync_api.expect(check).to_contain_text("Spearman", timeout=30_000)
    gradient, change = (check.locator("img").nth(place).get_attribute("src") for place in (0, 1))
    assert gradient != change
    assert not visit.violations()
    visit.page.get_by_label("Smooth what is shown").uncheck()
    visit.wait_for("the map as it is, pixel by pixel")
    assert check.is_visible()
    visit.page.locator(".erf-picture").click(position={"x": 30, "y": 30})
    sync_api.expect(check).to_have_count(0, timeout=15_000)


def test_two_models_are_asked_by_one_click(visit: Visit) -> None:
    visit.choose("Name of model B", "resnet10t")
    visit.page.get_by_label("random").nth(1).check()
    visit.wait_for("resnet10t (untrained)")
    pictures = visit.page.locator(".erf-picture")
    box = pictures.nth(1).bounding_box()
    pictures.nth(1).click(position={"x": box["width"] * 0.9, "y": box["height"] * 0.9})
    visit.wait_for_unit("row 6, column 6 of 7x7", 0)
    visit.wait_for_unit("row 5, column 5 of 6x6", 1)  # of the network's own 176 pixels
    assert visit.shown(0) != visit.shown(1)
    visit.choose("Layer of model B", "layer1")
    visit.wait_for("of 44x44")


def test_an_image_is_dropped_in_and_its_name_is_text(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "<img src=x onerror=alert(1)>.png"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    before = visit.shown()
    visit.page.set_input_files("input[type=file]", path)
    visit.page.wait_for_function(
        "before => document.querySelector('.erf-picture img').src !== before", arg=before
    )
    assert "img src=x onerror" in visit.page.locator(".erf-picture img").get_attribute("alt")
    visit.choose("Sample image", "coffee.png")
    visit.page.locator(".erf-picture img[alt^='coffee.png']").wait_for()


def test_what_is_no_image_is_said_in_the_page(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"broken")
    visit.page.set_input_files("input[type=file]", path)
    visit.wait_for("broken.png cannot be read as an image")


def test_a_model_name_that_is_markup_is_text(visit: Visit) -> None:
    visit.choose("Name of model B", SCRIPT)
    visit.wait_for(SCRIPT)
    assert visit.page.title() == "erf-tools"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 420)])
def test_it_is_accessible_and_fits(browser: Any, address: str, scheme: str, width: int) -> None:
    visit = Visit(browser, address, color_scheme=scheme, viewport={"width": width, "height": 900})
    visit.choose("Name of model B", "nosuch")
    visit.wait_for("did you mean")
    visit.page.wait_for_timeout(500)  # colours fade in
    assert not visit.violations()
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.page.context.close()


def ask(address: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.request(
        "POST" if body else "GET",
        path,
        json.dumps(body) if body else None,
        {"Content-Type": "application/json", **headers},
    )
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_requests_that_are_not_the_pages_are_refused(address: str) -> None:
    assert ask(address, "/")[0] == 200
    assert ask(address, "/", Host="pages.example")[0] == 404
    for path in ("file=/etc/passwd", "file=https://example.com/", "info", "call/look"):
        assert ask(address, f"/gradio_api/{path}")[0] == 404


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {"meta": {}}, {}])
@pytest.mark.parametrize("place", ["secret.png", "http://example.com/x.png", "https://127.0.0.1/x"])
def test_only_an_upload_is_taken_for_one(
    address: str, tmp_path: Path, place: str, meta: dict[str, object]
) -> None:
    """As a program would ask that does not use the page; neither disk nor web is read."""
    if place == "secret.png":
        place = str(tmp_path / place)
        Image.new("RGB", (8, 8)).save(place)
    events = json.loads(ask(address, "/config")[1])["dependencies"]
    number = next(event["id"] for event in events if event["api_name"] == "look")

    def join(given: object) -> int:
        data = ["coffee.png", given, True, None, "resnet18", "random", "layer1"]
        body = {"data": data, "fn_index": number, "session_hash": tmp_path.name}
        return ask(address, "/gradio_api/queue/join", body)[0]

    assert join({"path": place, **meta}) == 404
    assert join([{"deeper": {"path": place, **meta}}]) == 404
    assert join("x" * 2**17) == 404
    assert join(None) == 200
