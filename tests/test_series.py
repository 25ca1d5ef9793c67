"""ERF against training time: from checkpoints, and inside a training loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from matplotlib.figure import Figure
from synthetic import blob, erf, with_weights
from torch import nn

import erf_tools
from erf_tools.erf import figures
from erf_tools.erf.maps import ERF
from erf_tools.erf.shown_tables import notes
from erf_tools.erf.tables import erf_table
from erf_tools.errors import UsageError
from erf_tools.models.requests import requests

pytestmark = pytest.mark.usefixtures("no_drawing")


def train(epochs: int, measured: bool) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train a small network; measure between epochs or not."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Conv2d(8, 4, 3)
    )
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    history = []
    for _ in range(epochs):
        for _ in range(3):
            optimiser.zero_grad()
            (network(torch.randn(4, 3, 32, 32)) ** 2).mean().backward()
            optimiser.step()
        if measured:
            erf = erf_tools.effective_receptive_field(network, num_images=2, resolution=32)
            history.append(erf.measures.effective_side)
    return history, network.state_dict()


def test_measuring_in_a_training_loop_leaves_the_training_as_it_was() -> None:
    history, measured = train(3, measured=True)
    _, plain = train(3, measured=False)
    assert len(history) == 3
    assert all(side > 0 for side in history)
    for key, value in plain.items():
        assert torch.equal(value, measured[key]), key


def test_a_pattern_is_a_series_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        (tmp_path / f"epoch_{number}.pth").touch()
    wanted = requests(["resnet18"], [str(tmp_path / "epoch_*.pth")])
    assert [Path(request.weights).name for request in wanted] == [
        "epoch_1.pth",
        "epoch_9.pth",
        "epoch_10.pth",
    ]
    assert wanted[0].folder == "resnet18/epoch_1"
    assert all(request.in_series for request in wanted)
    with pytest.raises(UsageError, match="there is no such file"):
        requests(["resnet18"], [str(tmp_path / "step_*.pth")])


@pytest.mark.parametrize(
    "address",
    [
        "https://host/model.safetensors?download=true",
        "https://host/resolve/main/[best].pth",
        "http://127.0.0.1/a*.pth?x=1&y=2",
    ],
)
def test_an_address_is_no_pattern(address: str) -> None:
    (request,) = requests(["resnet18"], [address])
    assert (request.weights, request.in_series) == (address, False)


def test_the_command_measures_a_series(tmp_path: Path, run_command: Command) -> None:
    for epoch in (2, 10):
        network = erf_tools.load_model("resnet18", "random", seed=epoch).module
        torch.save(network.state_dict(), tmp_path / f"epoch_{epoch}.pth")
    output = tmp_path / "out"
    code, _, error = run_command(
        "erf",
        "--model",
        "resnet18",
        "--weights",
        str(tmp_path / "epoch_*.pth"),
        "--num-images",
        "2",
        "--resolution",
        "32",
        "--output",
        str(output),
    )
    assert code == 0, error
    table = pd.read_csv(output / "erf_table.csv")
    assert list(table["weights"]) == ["epoch_2.pth", "epoch_10.pth"]
    assert (output / "erf_series.png").is_file()
    assert (output / "resnet18" / "epoch_10" / "erf.npz").is_file()


def stages(name: str, count: int = 3) -> list[ERF]:
    """Return the stages of an untrained network, each larger than the one before."""
    return [erf(name, blob(64, 2 + 2 * place), layer=f"stage {place}") for place in range(count)]


def sides(results: list[ERF]) -> list[float]:
    return [result.measures.effective_side for result in results]


def drawn(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    """Return where the points of each line stand, by its label."""
    lines = {each.get_label(): each.lines[0] for each in figure.axes[0].containers}
    return {
        str(label): ([float(x) for x in line.get_xdata()], [float(y) for y in line.get_ydata()])
        for label, line in lines.items()
    }


def ticks(figure: Figure) -> list[str]:
    return [tick.get_text() for tick in figure.axes[0].get_xticklabels()]


def test_stages_are_a_line_for_each_network() -> None:
    untrained = stages("net")
    trained = [with_weights(each, "e1.pth", "1") for each in reversed(stages("net"))]
    figure = figures.stage_growth([*trained, *untrained])
    assert drawn(figure) == {
        "net e1.pth": ([0, 1, 2], sides(trained)),
        "net (untrained)": ([0, 1, 2], sides(untrained)),
    }
    dotted = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [len(line.get_xdata()) for line in dotted] == [3, 3, 0]
    assert len(figure.axes[0].get_xticks()) == 3


def test_networks_of_one_name_and_what_is_measured_otherwise_have_lines_of_their_own() -> None:
    two = [
        with_weights(each, f"{folder}/w.pth", folder) for folder in "ab" for each in stages("net")
    ]
    other = [erf("net", blob(64, 3), layer=f"stage {n}", protocol="kim2023") for n in range(2)]
    # The same weights in another place are the same network, and its layers are the same.
    moved = [with_weights(each, "c/w.pth", "b") for each in stages("net")]
    figure = figures.stage_growth([*two, *stages("net"), *other, *moved])
    assert {label: len(x) for label, (x, _) in drawn(figure).items()} == {
        "net w.pth, a/w.pth": 3,
        "net w.pth, b/w.pth": 3,
        "net (untrained), ding2022": 3,
        "net (untrained), kim2023": 2,
    }


def checkpoints(name: str, files: list[str], sigma: float, layer: str | None = None) -> list[ERF]:
    return [
        with_weights(erf(name, blob(64, sigma + place), layer=layer), file, file)
        for place, file in enumerate(files)
    ]


def test_what_is_true_of_one_checkpoint_is_said_of_that_one() -> None:
    first, second, third = (
        replace(each, images=[replace(image, outcome=outcome) for image in each.images])
        for each, outcome in zip(
            checkpoints("net", ["ep1.pth", "ep2.pth", "ep3.pth"], 3.0),
            ("counted", "zero", "counted"),
            strict=True,
        )
    )
    second = replace(second, total=np.zeros_like(second.total))
    said = notes(erf_table([first, second, third]))
    assert "net (ep2.pth) has no intervals: the map is zero everywhere." in said
    assert "net (ep2.pth): 2 images gave a map of zeros, and count in the mean." in said
    assert not any(note.startswith("net:") or note.startswith("net has") for note in said[4:])
    alone = notes(erf_table([second]))
    assert "net has no intervals: the map is zero everywhere." in alone


def test_layers_of_checkpoints_are_lines_of_their_own() -> None:
    files = ["e1.pth", "e2.pth", "e3.pth"]
    first, last = (checkpoints("net", files, sigma, f"stage {sigma}") for sigma in (2, 6))
    before = stages("net", 1)
    together = [each for pair in zip(first, last, strict=True) for each in pair]
    figure = figures.series([*together[:-1], *before, last[-1]])
    assert drawn(figure) == {
        "net stage 0": ([0], sides(before)),
        "net stage 2": ([1, 2, 3], sides(first)),
        "net stage 6": ([1, 2, 3], sides(last)),
    }
    assert ticks(figure) == ["untrained", *files]


def test_checkpoints_stand_where_they_belong() -> None:
    one = checkpoints("one", ["one_e1.pth", "one_e2.pth"], 2)
    two = checkpoints("two", ["two_e1.pth", "two_e2.pth", "two_e3.pth"], 4)
    figure = figures.series([*one, *two])
    assert drawn(figure) == {"one": ([0, 1], sides(one)), "two": ([0, 1, 2], sides(two))}
    assert ticks(figure) == ["1", "2", "3"]
    assert figure.axes[0].get_xlabel() == "checkpoint, by its number in the series"
    # Of one name, and one is missing: each stands above its own.
    one = checkpoints("one", ["e1.pth", "e3.pth"], 2)
    two = checkpoints("two", ["e1.pth", "e2.pth", "e3.pth"], 4)
    figure = figures.series([*one, *two])
    assert drawn(figure) == {"one": ([0, 2], sides(one)), "two": ([0, 1, 2], sides(two))}
    assert ticks(figure) == ["e1.pth", "e2.pth", "e3.pth"]
    assert figure.axes[0].get_xlabel() == "checkpoint"
