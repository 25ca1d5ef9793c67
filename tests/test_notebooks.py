"""The notebooks run from top to bottom in a small form, and are committed without outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyses import CLAIMS

nbformat = pytest.importorskip("nbformat", reason="the extra `notebooks` is missing")
nbclient = pytest.importorskip("nbclient", reason="the extra `notebooks` is missing")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# What makes each small enough to be run with the other tests, put in after its setup.
SMALL = {
    "claims": """
from dataclasses import replace

import torch
from analyses import narrow_replknet
from erf_tools.erf.procedure import Procedure
from matplotlib.figure import Figure

narrow_replknet.VARIANTS = {
    name: replace(variant, layers=(1, 1, 1, 1))
    for name, variant in narrow_replknet.VARIANTS.items()
}
from analyses import downstream, erf_scaling, erf_table, identity_shortcut, kernel_cost
from analyses import small_maps, training_study

save = Figure.savefig

def draw_small(figure, path, **choices):  # of PNG and PDF what the notebook shows
    if path.suffix == ".png":
        save(figure, path, **{**choices, "dpi": 50})
    else:
        path.touch()

Figure.savefig = draw_small
torch.set_num_threads(1)
narrow_replknet._SETTLED_ON, narrow_replknet._SETTLED_AT = 2, 64
erf_table.NETWORKS = ("resnet101",)
erf_table.Procedure = lambda resolution: Procedure(resolution=128)
erf_scaling.QUICK = erf_scaling.Grid((3, 7), (2, 4), seeds=1, largest=96)
identity_shortcut.QUICK = identity_shortcut.Size(1, side=64, resolution=64, num_images=1)
identity_shortcut._DEPTH = 2
small_maps.QUICK, small_maps._RESOLUTIONS = small_maps.Size(128, num_images=1), (64,)
kernel_cost.QUICK = kernel_cost.Shapes((3, 7), (8,), batch=1, repeats=1)
kernel_cost._STAGES = kernel_cost._STAGES[:2]
downstream._RESOLUTION = 64
training_study.QUICK = replace(
    training_study.QUICK, designs=training_study.QUICK.designs[:2], seeds=2, side=32, width=8,
    depth=1, steps=3, batch_size=8, test_images=24, erf_images=2,
)
""",
    # Every network is a small ResNet here, and every map is of few pixels.
    "erf_figures": """
from dataclasses import replace

import torch
import erf_tools
from erf_tools.erf import gradients

torch.set_num_threads(1)
network = erf_tools.load_model("test_resnet", "random")
erf_tools.load_model = lambda name, weights: network
measure = erf_tools.effective_receptive_field
erf_tools.effective_receptive_field = lambda model, **choices: measure(
    model, **{**choices, "num_images": 2, "resolution": 96}
)
measure_all = gradients.measure_layers
gradients.measure_layers = lambda model, images, procedure, *choices, **others: measure_all(
    model, images, replace(procedure, resolution=96), *choices, **others
)
""",
    "shape_bias_figures": "",
}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_there_are_the_three_that_the_readme_names() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(SMALL)


def test_it_is_committed_without_outputs(notebook: Path) -> None:
    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


def test_it_begins_with_what_it_needs(notebook: Path) -> None:
    first = nbformat.read(notebook, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert "**Needed:**" in first.source
    assert "**Used where it is there:**" in first.source


def test_the_claims_are_those_of_the_analyses() -> None:
    sources = [cell.source for cell in nbformat.read(NOTEBOOKS[0], as_version=4).cells]
    for name in CLAIMS:
        assert any(f"{name}.main(quick=QUICK" in text for text in sources)


def test_it_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a copy of the tree's code, so that nothing is found in or written to `results`."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "analyses").symlink_to(ROOT / "analyses")
    book = nbformat.read(notebook, as_version=4)
    book.cells.insert(2, nbformat.v4.new_code_cell(SMALL[notebook.stem]))
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=place).execute()
    shown = [
        output
        for cell in book.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(shown) >= 3
    assert not any("Warning" in str(output) for output in shown)
