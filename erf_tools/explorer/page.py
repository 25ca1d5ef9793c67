"""The page itself, built with Gradio: components, events, appearance.

Gradio is the field's usual library for such pages, serves all of its scripts and fonts itself, and
bounds uploads, queue and files. Its own image component is not used: it cannot be worked from the
keyboard and has no text alternative. Its dropdowns, uploads and HTML are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before it is imported

import gradio as gr
from PIL import Image

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.explorer import markup, overlay
from erf_tools.explorer.answers import Point
from erf_tools.explorer.pictures import Picture, read_picture
from erf_tools.explorer.session import Session

_NONE = "none"
_CENTER: Point = (0.5, 0.5)
_WAITING = 16
_SESSIONS = 64

#: What every event has in common: one network is run at a time, and no other program calls it.
_EVENT: dict[str, Any] = {
    "concurrency_id": "networks",
    "concurrency_limit": 1,
    "api_visibility": "private",
    "show_progress": "minimal",
    "trigger_mode": "always_last",  # what is chosen while a network runs is not dropped
}


#: A check ends as soon as another event comes, so it must not be waited for.
_CHECK: dict[str, Any] = {
    **_EVENT,
    "concurrency_id": "check",
    "show_progress": "full",
    "trigger_mode": "once",
}


@dataclass(frozen=True)
class _Panel:
    """One of the two sides: what is chosen, and what is shown."""

    model: Any
    weights: Any
    layer: Any
    picture: Any
    facts: Any
    check: Any
    checked: Any

    @property
    def chosen(self) -> list[Any]:
        return [self.model, self.weights, self.layer]

    @property
    def shown(self) -> list[Any]:
        return [self.picture, self.facts, self.checked]


#: Picture, facts and check of a panel without a model.
_NOTHING = ("", "", "")

#: Gradio looks for it among a function's defaults.
_PROGRESS = gr.Progress()


def _refused(error: ErfToolsError) -> tuple[str, str, str]:
    return "", markup.refusal(str(error)), ""


class _Answers:
    """What the events do: values of components in, values of components out."""

    def __init__(self, session: Session, samples: Mapping[str, Path | Image.Image]) -> None:
        self._session = session
        self._samples = samples

    def choose(
        self,
        sample: str,
        upload: str | None,
        smooth: bool,
        point: Point,
        model: str,
        weights: str,
    ) -> tuple[Any, str, str, str]:
        """Offer the layers of a model that was chosen, and look from the first of them."""
        if model == _NONE:
            return gr.Dropdown(choices=[], value=None), *_NOTHING
        try:
            layers = self._session.layers(model, weights)
        except ErfToolsError as error:
            return gr.Dropdown(choices=[], value=None), *_refused(error)
        shown = self.look(sample, upload, smooth, point, model, weights, layers[0])
        return gr.Dropdown(choices=layers, value=layers[0]), *shown

    def look(
        self,
        sample: str,
        upload: str | None,
        smooth: bool,
        point: Point,
        model: str,
        weights: str,
        layer: str | None,
    ) -> tuple[str, str, str]:
        """Return picture and facts of one panel, and no check: an earlier one is of another."""
        if model == _NONE or layer is None:
            return _NOTHING
        try:
            picture = self._picture(sample, upload)
            answer = self._session.look(model, weights, layer, picture, point)
        except ErfToolsError as error:
            return _refused(error)
        shown = answer.smoothed if smooth else answer.contribution
        address = overlay.data_address(overlay.overlay(answer, shown))
        return markup.picture(answer, address), markup.facts(answer, smooth), ""

    def check(
        self,
        sample: str,
        upload: str | None,
        point: Point,
        model: str,
        weights: str,
        layer: str | None,
        progress: gr.Progress = _PROGRESS,
    ) -> str:
        """Return what the check of a panel's unit gives."""
        if model == _NONE or layer is None:
            return markup.refusal("There is no unit to check; choose a model first.")

        def done(cells: int, of: int) -> None:
            progress((cells, of), desc="Replacing cells", unit="cells")

        progress(0.0, desc="Making the network ready")
        try:
            picture = self._picture(sample, upload)
            checked = self._session.check(model, weights, layer, picture, point, done)
        except ErfToolsError as error:
            return markup.refusal(str(error))
        return markup.check(
            checked,
            *(
                overlay.data_address(
                    overlay.overlay(replace(checked.answer, contribution=each), each)
                )
                for each in (checked.gradient, checked.change)
            ),
        )

    def look_twice(
        self, sample: str, upload: str | None, smooth: bool, point: Point, *chosen: Any
    ) -> Iterator[tuple[Any, ...]]:
        """Return both panels, each as soon as it is there."""
        first = self.look(sample, upload, smooth, point, *chosen[:3])
        yield *first, *(gr.skip() for _ in first)
        yield *first, *self.look(sample, upload, smooth, point, *chosen[3:])

    def redraw(self, *given: Any) -> Iterator[tuple[Any, ...]]:
        """Return pictures and facts of both panels; their checks stay."""
        for shown in self.look_twice(*given):
            yield *shown[:2], *shown[3:5]

    def _picture(self, sample: str, upload: str | None) -> Picture:
        if upload:
            return read_picture(Path(upload))
        if sample not in self._samples:
            raise UsageError(f"there is no sample {sample!r}; choose one, or drop in an image")
        content = self._samples[sample]
        if isinstance(content, Image.Image):
            return Picture(sample, content)
        return read_picture(content)


def build(session: Session, samples: Mapping[str, Path | Image.Image]) -> Any:
    """Return the page as Gradio's ``Blocks``.

    Args:
        session: the networks.
        samples: images by name, offered in this order.
    """
    answers = _Answers(session, samples)
    with gr.Blocks(title="erf-tools", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML(
            "<h1>What does a vision network look at?</h1>"
            f"<p>{markup.HINT} The picture then shows how much each pixel contributes to the unit "
            "there: its effective receptive field on this image.</p>"
        )
        point = gr.State(_CENTER)
        with gr.Row():
            sample = gr.Dropdown(
                list(samples), value=next(iter(samples)), label="Sample image", min_width=300
            )
            upload = gr.File(
                min_width=300,
                label="Or an image of your own",
                file_types=[".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"],
                height=120,
            )
        gr.HTML(
            markup.legend(
                overlay.scale_colours(), overlay.FAINTEST, overlay.STRONGEST, overlay.SQUARE
            )
        )
        smooth = gr.Checkbox(
            True,
            label="Smooth what is shown, since a single image's gradient reads as speckle; all "
            "numbers are of the raw map",
        )
        with gr.Row():
            panels = [_panel(session, "A", first=True), _panel(session, "B", first=False)]
        where = [sample, upload, smooth, point]
        both = {
            "fn": answers.look_twice,
            "inputs": [*where, *panels[0].chosen, *panels[1].chosen],
            "outputs": [*panels[0].shown, *panels[1].shown],
            **_EVENT,
        }
        sample.input(lambda: None, outputs=upload, **_EVENT).then(**both)
        upload.upload(**both)
        upload.clear(**both)
        drawn = [part for panel in panels for part in panel.shown[:2]]
        smooth.input(**{**both, "fn": answers.redraw, "outputs": drawn})
        for panel in panels:
            choosing = {
                "fn": answers.choose,
                "inputs": [*where, panel.model, panel.weights],
                "outputs": [panel.layer, *panel.shown],
                **_EVENT,
            }
            gr.on([panel.model.input, panel.weights.input], **choosing)
            panel.layer.input(answers.look, [*where, *panel.chosen], panel.shown, **_EVENT)
            panel.check.click(
                answers.check, [sample, upload, point, *panel.chosen], panel.checked, **_CHECK
            )
            panel.picture.select(_clicked, outputs=point, **_EVENT).then(**both)
        page.load(
            answers.choose,
            [*where, panels[0].model, panels[0].weights],
            [panels[0].layer, *panels[0].shown],
            **_EVENT,
        )
    page.queue(max_size=_WAITING)
    page.state_session_capacity = _SESSIONS
    return page


def _panel(session: Session, name: str, first: bool) -> _Panel:
    here = next((model for model in session.offered if session.weights_here(model)), None)
    offered = session.offered if first else [_NONE, *session.offered]
    with gr.Column(min_width=300):
        gr.HTML(f"<h2>Model {name}</h2>")
        model = gr.Dropdown(
            offered,
            value=(here or offered[0]) if first else _NONE,
            label=f"Name of model {name}",
            allow_custom_value=session.any_model,
        )
        weights = gr.Radio(
            ["pretrained", "random"],
            value="pretrained" if here else "random",
            label=f"Weights of model {name}",
        )
        layer = gr.Dropdown([], value=None, label=f"Layer of model {name}")
        picture = gr.HTML("", js_on_load=_text("picture.js"))
        check = gr.Button(f"Check this unit of model {name}", size="sm")
        checked = gr.HTML("", js_on_load=None)
        facts = gr.HTML("", js_on_load=None)
    return _Panel(model, weights, layer, picture, facts, check, checked)


def _clicked(event: gr.EventData) -> Point:
    """Return where a picture was clicked; a place outside it is its nearest edge."""
    row, column = (float(event._data[name]) for name in ("row", "column"))
    if not (isfinite(row) and isfinite(column)):
        return _CENTER
    return min(max(row, 0.0), 1.0), min(max(column, 0.0), 1.0)


def _text(name: str) -> str:
    return (resources.files("erf_tools.explorer") / name).read_text(encoding="utf-8")


#: Fonts and colours, for Gradio's ``mount_gradio_app``; no font is fetched.
APPEARANCE: dict[str, Any] = {
    "theme": gr.themes.Default(
        font=[gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")],
        font_mono=[gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")],
    ),
    "css": _text("page.css"),
}
