"""ERF against training time: from checkpoints, and inside a training loop."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import Command
from torch import nn

import erf_tools
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
