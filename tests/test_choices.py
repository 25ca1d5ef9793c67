"""What is declared once is option, keyword, study key and record, and the way back from each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import synthetic
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import erf_tools
from erf_tools.choices import Choice, choice, declared, spelled_out, taken, words
from erf_tools.cli import app
from erf_tools.cli.erf import asked
from erf_tools.cli.options import option
from erf_tools.cue_conflict.choices import Deciding, StimulusChoices
from erf_tools.cue_conflict.showing import PRESETS
from erf_tools.erf.maps import ERF
from erf_tools.erf.procedure import PROCEDURE, Procedure
from erf_tools.erf.protocols import PROTOCOLS, Protocol
from erf_tools.errors import UsageError
from erf_tools.features.taps import Tap, find_taps
from erf_tools.image_choices import ImageChoices
from erf_tools.models.requests import Layers
from erf_tools.report.commands import erf_command, shape_bias_command
from erf_tools.sweep.study import read_study

#: Values of what is chosen by other than a few words.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "protocol": st.sampled_from(sorted(PROTOCOLS)),
    "unit": st.sampled_from(["center", "3,5", "grid:2"]),
    "resolution": st.integers(1, 16_384),
}


def chosen(choices: Sequence[Choice]) -> st.SearchStrategy[dict[str, Any]]:
    """Return values of choices, each of which is either chosen or left as it is."""
    values = {
        each.name: VALUES[each.name] if each.name in VALUES else st.sampled_from(each.allowed)
        for each in choices
    }
    return st.fixed_dictionaries(
        {each.name: st.just(each.default) | values[each.name] for each in choices}
    )


COMMANDS: Any = typer.main.get_command(app)


def parsed(command: str, line: Sequence[str]) -> dict[str, Any]:
    """Return what the command line makes of its words."""
    return dict(COMMANDS.commands[command].make_context(command, list(line)).params)


LAYERS = st.sampled_from(
    [Layers(), Layers(stages=True), Layers(("layer*", "head")), Layers(("neck",), "0.fine")]
)
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).map("a{}".format)


@given(
    values=chosen(PROCEDURE),
    layers=LAYERS,
    source=TEXT,
    count=st.integers(1, 9999),
    order=st.sampled_from(["spread", "sequential"]),
    labels=st.none() | TEXT,
)
def test_a_command_line_is_what_it_asks_for(
    values: dict[str, Any], layers: Layers, source: str, count: int, order: Any, labels: str | None
) -> None:
    """From choices to words, through the command's own parser, and back to the same words."""
    images = ImageChoices(source, count, order, labels)
    line = [
        *words(declared(ImageChoices), vars(images)),
        *words(PROCEDURE, values),
        *words(declared(Layers), vars(layers)),
    ]
    again = asked(parsed("erf", ["--model", "net", *line]))
    procedure = Procedure().varied(**values)
    assert again == (images, procedure, layers)
    shortest = words(PROCEDURE, procedure.chosen)
    assert asked(parsed("erf", ["--model", "net", *shortest]))[1] == procedure
    assert words(PROCEDURE, again[1].chosen) == shortest


def made_by(procedure: Procedure, layers: Layers) -> ERF:
    """Return a result as this procedure makes it, of one layer."""
    setting = procedure.record() | {"resolution": list(procedure.size(SIZE))}
    result = synthetic.erf("net", np.ones((16, 16)))
    tap = {"name": "last", "path": "last", "stage": None, "output_key": None, "default": True}
    if layers.layers:
        tap |= {"path": layers.layers[0], "output_key": layers.output_key, "default": False}
    if layers.stages:
        tap |= {"stage": 2, "default": False}
    return replace(result, setting={**result.setting, **setting, "tap": tap})


SIZE = erf_tools.Preprocessing(size=96)


@given(
    values=chosen(PROCEDURE),
    layers=st.sampled_from([Layers(), Layers(stages=True), Layers(("neck",), "0.fine")]),
)
def test_the_command_of_a_result_asks_for_it(values: dict[str, Any], layers: Layers) -> None:
    procedure = Procedure().varied(**values)
    command = erf_command(made_by(procedure, layers))
    assert command
    images, again, of = asked(parsed("erf", shlex.split(command)[2:]))
    assert again == replace(procedure, resolution=procedure.size(SIZE)[0])
    assert of == layers
    assert images == ImageChoices("builtin", 2)


def test_a_result_that_knows_nothing_of_a_choice_was_made_by_its_default() -> None:
    setting = dict(Procedure(unit="grid:2", resolution=32).record())
    del setting["square"]
    found = Procedure.recorded({**setting, "resolution": [32, 32]})
    assert found == Procedure(unit="grid:2", square="center", resolution=32)


def test_a_protocol_of_ones_own_has_no_command() -> None:
    own = Protocol("own2026", "here", "sum", "abs", "sum", "warp", "log")
    assert erf_command(made_by(Procedure(own, resolution=32), Layers())) is None


def test_the_command_of_a_layer_names_its_run_and_no_other() -> None:
    class Twice(torch.nn.Module):
        """A layer that runs twice."""

        def __init__(self) -> None:
            super().__init__()
            self.act, self.end = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Identity()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            """Return the features."""
            return self.end(self.act(self.act(image)))

    network = Twice()

    def command_of(layer: str | Tap) -> str | None:
        found = erf_tools.effective_receptive_field(
            network, layer=layer, num_images=1, resolution=16
        )
        kept = {**found.setting, "model": made_by(Procedure(), Layers()).setting["model"]}
        return erf_command(replace(found, setting=kept))

    for wanted in ("act#1", "act#2", "end"):
        command = command_of(wanted)
        assert command
        *_, of = asked(parsed("erf", shlex.split(command)[2:]))
        assert of == Layers((wanted,))
        (tap,) = find_taps(network, of.layers)
        assert tap.name == wanted
    # No option gives these.
    assert command_of(Tap("act", run=2, layout="NCHW")) is None


@given(
    values=chosen(declared(Deciding)[:2]),
    key=st.none() | TEXT,
    stimuli=TEXT,
    deviations=st.sampled_from([[], ["fewer"]]),
)
def test_the_command_of_decisions_asks_for_them(
    values: dict[str, Any], key: str | None, stimuli: str, deviations: list[str]
) -> None:
    deciding = Deciding(**values, output_key=key)
    record = {
        "kind": "network",
        "model": synthetic.erf("net", np.ones((16, 16))).setting["model"],
        **vars(deciding),
        "stimuli": {"source": stimuli, "deviations": deviations},
    }
    found = parsed("shape-bias", shlex.split(shape_bias_command(record) or "")[2:])
    assert Deciding(**taken(declared(Deciding), found)) == deciding
    shown = StimulusChoices(**taken(declared(StimulusChoices), found))
    assert shown == StimulusChoices(stimuli, bool(deviations))


@given(values=chosen(PROCEDURE), layers=LAYERS)
def test_a_study_file_asks_for_it_by_the_same_names(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], layers: Layers
) -> None:
    keys = {**values, **vars(layers)}
    lines = [f"{key} = {toml(value)}" for key, value in keys.items() if value is not None]
    file = tmp_path_factory.mktemp("study") / "study.toml"
    models = '[[models]]\nnames = ["resnet18"]'
    file.write_text("\n".join(['output = "out"', models, "[[erf]]", *lines]))
    (task,) = read_study(file).tasks
    assert Procedure().varied(**{each.name: getattr(task, each.name) for each in PROCEDURE}) == (
        Procedure().varied(**values)
    )
    assert all(getattr(task, name) == value for name, value in vars(layers).items())


def toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return str(value).lower() if isinstance(value, bool | int) else f'"{value}"'


@pytest.mark.parametrize(
    ("function", "choices"),
    [
        (erf_tools.effective_receptive_field, PROCEDURE),
        (erf_tools.shape_bias, declared(Deciding)),
    ],
)
def test_functions_show_what_they_take(function: Any, choices: Sequence[Choice]) -> None:
    shown = signature(function).parameters
    for each in choices:
        assert shown[each.name].default == each.default
    with pytest.raises(TypeError, match="resolutoin"):
        function(None, "builtin", resolutoin=3)


def test_each_preset_is_declared() -> None:
    (preset, *_) = declared(Deciding)
    assert set(preset.allowed) == set(PRESETS)


@dataclass(frozen=True)
class Cooking:
    """A declaration of which nothing else knows."""

    heat: Literal["low", "high"] = choice("low", "How hot.")
    minutes: int | None = choice(None, "How long.", option="--time", lowest=1)
    spices: tuple[str, ...] = choice((), "With what.", option="--spice", metavar="NAME")
    stirred: bool = choice(False, "Stir it.")

    def __post_init__(self) -> None:
        for each in declared(Cooking):
            each.check(getattr(self, each.name))


def test_a_declaration_is_all_that_an_option_takes() -> None:
    own, found = typer.Typer(), []

    @own.command()
    @spelled_out(declared(Cooking), option)
    def cook(**choices: Any) -> None:
        found.append(Cooking(**taken(declared(Cooking), choices)))

    meal = Cooking("high", 30, ("salt", "cumin"), True)
    line = ["--heat", "high", "--time", "30", "--spice", "salt", "--spice", "cumin", "--stirred"]
    assert words(declared(Cooking), vars(meal)) == line
    for each in (line, []):
        assert CliRunner().invoke(own, each).exit_code == 0
    assert found == [meal, Cooking()]
    assert CliRunner().invoke(own, ["--time", "0"]).exit_code == 2
    assert "How hot." in CliRunner().invoke(own, ["--help"]).output
    with pytest.raises(UsageError, match=r"^--heat is 'raw'; it is low or high$"):
        Cooking(heat="raw")  # type: ignore[arg-type]


def test_the_report_knows_no_option_that_the_command_does_not(tmp_path: Path) -> None:
    command = erf_command(synthetic.erf("net", np.ones((16, 16)), layer="neck"))
    assert command
    assert parsed("erf", shlex.split(command)[2:])["model"] == ["net"]
