"""Files of a sweep that are damaged, lost or of another network: they are made again, or told."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from conftest import Command
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file
from sweep_studies import here, results, write_study

from erf_tools.errors import UsageError
from erf_tools.models.digests import state_sha256
from erf_tools.models.hub import HubWeights, changed_since
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.sweep import coordinator, work
from erf_tools.sweep.coordinator import Sweep
from erf_tools.sweep.folder import SweepFolder
from erf_tools.sweep.outcome import Outcome
from erf_tools.sweep.plan import Unit, make_plan
from erf_tools.sweep.study import read_study
from erf_tools.sweep.tasks.reliance import RelianceTask

pytestmark = pytest.mark.usefixtures("no_drawing")

#: A network with a head; by a file that its code does not name.
CHANGING = """
import pathlib

import torch


def build():
    torch.manual_seed(0)
    kernel = int(pathlib.Path("kernel.txt").read_text())
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, kernel, 4, kernel // 2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 1000),
    )


def other():
    network = build()
    torch.manual_seed(1)
    network[4] = torch.nn.Linear(16, 1000)
    return network
"""

STUDY = """
output = "out"
threads = 1

[[models]]
names = ["net.py:build", "net.py:other"]

[images]
source = "images"
labels = "labels.csv"
count = 6
shard = 2
"""

ERFS = """
[[erf]]
resolution = 32
layers = ["1"]
"""

RELIANCE = """
[reliance]
cues = "gray"
shard = 3
"""

SHAPE_BIAS = """
[shape_bias]
stimuli = "stimuli"
allow_partial = true
shard = 2
"""


@pytest.fixture
def study(study_folder: Path) -> Path:
    """ERFs of two networks on six images; stimuli lie beside."""
    study = write_study(study_folder)
    study.write_text(STUDY + ERFS)
    Path("kernel.txt").write_text("3")
    Path("net.py").write_text(CHANGING)
    labels = [f"{number}.png,{number}" for number in range(6)]
    Path("labels.csv").write_text("\n".join(["image,label", *labels]))
    generator = np.random.default_rng(0)
    Path("stimuli/bear").mkdir(parents=True)
    for texture in ("airplane3", "bicycle3", "bird2", "chair2"):  # as the published ones are called
        pixels = generator.integers(0, 256, (224, 224, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"stimuli/bear/bear1-{texture}.png")
    work._network.close()
    return study


def sweep(study: Path, output: str = "out", retry_failed: bool = False) -> Sweep:
    return coordinator.sweep(read_study(study), Path(output), here, retry_failed)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """Change a bit in the middle, at the length and in the second that it had."""
    content, times = bytearray(file.read_bytes()), file.stat()
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert file.stat().st_size == times.st_size


def remove(file: Path) -> None:
    file.unlink()


def missing(output: str = "out") -> dict[str, int]:
    """Return how many units are said to be missing, by protocol."""
    status = SweepFolder(Path(output)).status().groupby("protocol")["missing"].sum()
    return {str(protocol): int(count) for protocol, count in status.items() if count}


def test_each_file_of_a_result_that_is_damaged_or_lost_is_made_again(study: Path) -> None:
    """Those of one network, against the results that were there before."""
    study.write_text(STUDY + ERFS + RELIANCE + SHAPE_BIAS)
    assert not sweep(study).unwritten
    before = results(Path("out"))
    assert {"done"} == set(pd.read_csv("out/sweep.csv")["status"])
    answers, decisions = "reliance/decisions/net.py_build", "shape_bias/decisions/net.py_build"
    files = {
        "erf/ding2022/net.py_build/1/erf.npz": {"ding2022": 3},
        "erf/ding2022/net.py_build/measured.parquet": {"ding2022": 3},
        f"{answers}.npz": {"reliance": 2},
        f"{answers}.parquet": {"reliance": 2},
        f"{decisions}.csv": {"shape-bias direct": 2},
        f"{decisions}.json": {"shape-bias direct": 2},
        f"{decisions}.parquet": {"shape-bias direct": 2},
        f"{decisions}.scores.parquet": {"shape-bias direct": 2},
    }
    said = {}
    for name, units in files.items():
        rows = name.endswith("build.parquet") or "measured" in name
        for damage in (cut, remove) if rows else (cut, flip, remove):
            damage(Path("out", name))
            said[name, damage.__name__] = missing() == units
            Path("out", name).write_bytes(before[name])
    assert all(said.values()), said
    assert not missing()
    marker = Path("out", f"{answers}.parquet")  # a bit there may be of none of its values
    pd.read_parquet(marker).assign(model="other").to_parquet(marker)
    assert missing() == {"reliance": 2}
    marker.write_bytes(before[f"{answers}.parquet"])
    for name, damage in zip(list(files)[::3], (cut, cut, remove), strict=True):
        damage(Path("out", name))
    assert not sweep(study).unwritten
    assert results(Path("out")) == before


def test_a_lost_picture_is_drawn_again_of_what_is_there(study: Path) -> None:
    sweep(study)
    place = Path("out/erf/ding2022/net.py_build/1")
    before = (place / "erf.json").read_bytes()
    for name in ("erf.json", "heatmap.png"):
        (place / name).unlink()
    assert sweep(study).reused == 6
    assert (place / "erf.json").read_bytes() == before
    assert (place / "heatmap.png").is_file()


def test_tables_that_cannot_be_made_cost_no_others(
    study: Path, run_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.write_text(STUDY + ERFS + RELIANCE)

    def fails(*_: object) -> None:
        raise IndexError("list index out of range")

    with monkeypatch.context() as broken:
        broken.setattr(RelianceTask, "publish", fails)
        done = sweep(study)
        code, _, err = run_command("sweep", "study.toml")
    assert code == 1
    assert "reliance" in err
    assert "Traceback" not in err
    table = done.table.groupby(["protocol", "model"])["status"].first().unstack()
    assert set(table.loc["reliance"]) == {"failed"}
    assert set(table.drop("reliance").stack()) == {"done"}
    assert done.table.set_index("protocol")["reason"]["reliance"].str.contains("IndexError").all()
    assert not sweep(study).unwritten


def test_a_result_that_cannot_be_read_has_a_row_with_the_reason(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is damaged after it was looked at."""
    study.write_text(STUDY + RELIANCE)
    sweep(study)
    load = SuppressedAnswers.load
    for unreadable, count in (("build", 1), ("net.py", 2)):

        def fails(path: Path, unreadable: str = unreadable) -> SuppressedAnswers:
            if unreadable in path.name:
                raise UsageError(f"{path} is damaged")
            return load(path)

        monkeypatch.setattr(SuppressedAnswers, "load", fails)
        table = sweep(study).table.set_index("protocol").loc["reliance"]
        failed = table[table["status"] == "failed"]
        assert len(failed) == count
        assert failed["reason"].str.contains("is damaged").all()
        assert set(table["model"]) == {"net.py:build", "net.py:other"}


def interrupted(after: int) -> Callable[[Sequence[Unit], Path], Iterator[Outcome]]:
    """Return what does so many units of each measurement, and is stopped then."""

    def execute(units: Sequence[Unit], output: Path) -> Iterator[Outcome]:
        yield from here([unit for unit in units if unit.shard < after], output)
        raise KeyboardInterrupt

    return execute


def test_parts_of_a_network_that_was_changed_in_between_are_measured_again(study: Path) -> None:
    """By a file that nothing tells of, as new weights of a hub are."""
    study.write_text(STUDY + ERFS + RELIANCE + SHAPE_BIAS)
    with pytest.raises(KeyboardInterrupt):
        coordinator.sweep(read_study(study), Path("out"), interrupted(1))
    assert missing() == {"ding2022": 4, "reliance": 2, "shape-bias direct": 2}
    Path("kernel.txt").write_text("7")
    work._network.close()
    again = sweep(study)
    assert not again.failures
    assert not again.unwritten
    sweep(study, "fresh")
    assert results(Path("out")) == results(Path("fresh"))


def test_parts_that_are_all_there_and_of_two_networks_are_measured_again(study: Path) -> None:
    """Nobody has the network, and which of them are of the one of now is not known."""

    def execute(units: Sequence[Unit], output: Path) -> Iterator[Outcome]:
        for unit in units:
            Path("kernel.txt").write_text("3" if unit.shard else "7")
            work._network.close()
            part = SweepFolder(output).part(unit.id)
            network = work._network.of(unit.measurement, "cpu")
            unit.measurement.task.measure(network, unit.share, "cpu", part)
            yield Outcome(unit.id, 0, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coordinator.sweep(read_study(study), Path("out"), execute)
    assert not missing()
    assert len(list(Path("out/units").glob("*.npz"))) == 6
    work._network.close()
    assert not sweep(study).failures
    sweep(study, "fresh")
    assert results(Path("out")) == results(Path("fresh"))


NAME = "test_resnet.r160_in1k"


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a version of a network's weights into the hub's cache, and returns its folder."""
    folder = tmp_path / "hub" / f"models--timm--{NAME}"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder.parent))
    monkeypatch.setenv("ERF_TOOLS_OFFLINE", "1")

    def publish(seed: int, links: bool = True) -> Path:
        torch.manual_seed(seed)
        snapshot, blob = folder / "snapshots" / (str(seed) * 40), folder / "blobs" / f"digest{seed}"
        for place in (snapshot, blob.parent, folder / "refs"):
            place.mkdir(parents=True, exist_ok=True)
        weights = snapshot / "model.safetensors"
        save_file(timm.create_model(NAME).state_dict(), blob if links else weights)
        if links:
            weights.symlink_to(blob)
        (folder / "refs" / "main").write_text(snapshot.name)
        return folder

    return publish


def test_a_result_of_weights_that_the_hub_has_renewed_is_measured_again(
    study: Path, publish: Callable[..., Path]
) -> None:
    """Before the first run nobody knows what the hub will give, so that plans do not tell."""
    text = STUDY.replace('"net.py:build", "net.py:other"', f'"{NAME}"')
    text = text.replace('labels = "labels.csv"\ncount = 6', "count = 2")
    study.write_text(text + "[[erf]]\nresolution = 32\n")
    publish(1)
    first = sweep(study)
    assert (first.reused, first.failures) == (0, {})
    assert sweep(study).reused == 1
    publish(2)
    assert list(SweepFolder(Path("out")).status()["missing"]) == [1]
    again = sweep(study)
    assert again.plan.measurements[0].id == first.plan.measurements[0].id
    assert (again.reused, again.failures) == (0, {})
    for done, seed in ((first, 1), (again, 2)):
        torch.manual_seed(seed)
        digest = state_sha256(timm.create_model(NAME))
        assert set(done.table["weights_sha256"]) == {digest}
    assert sweep(study).reused == 1


@pytest.mark.parametrize("links", [True, False])
def test_versions_of_weights_in_the_hubs_cache(links: bool, publish: Callable[..., Path]) -> None:
    weights = HubWeights(NAME)
    assert weights.version() == ""
    folder = publish(1, links)
    version = weights.version()
    assert not changed_since(version)
    publish(2, links)
    assert changed_since(version)
    assert not changed_since(weights.version())
    shutil.rmtree(folder)  # what is not here any more is not another
    assert not changed_since(version)
    assert not changed_since("")


def test_a_part_in_the_place_of_another_counts_no_image_twice(study: Path) -> None:
    study.write_text(STUDY + ERFS + RELIANCE)
    with pytest.raises(KeyboardInterrupt):
        coordinator.sweep(read_study(study), Path("out"), interrupted(1))
    for part in Path("out/units").glob("*.npz"):
        shutil.copy(part, str(part).replace("-00000", "-00001"))
    assert not sweep(study).failures
    sweep(study, "fresh")
    assert results(Path("out")) == results(Path("fresh"))


def test_a_folder_in_the_place_of_a_file_is_told(study: Path, run_command: Command) -> None:
    (unit,) = make_plan(read_study(study)).units[:1]
    for place in (f"units/{unit.id}.npz", unit.measurement.marker):
        Path("out", place).mkdir(parents=True)
        code, _, err = run_command("sweep", "study.toml")
        assert code == 1
        assert f"cannot write out/{place}" in err
        assert "Traceback" not in err
        shutil.rmtree("out")


def test_all_parts_damaged_cost_no_second_run(study: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        coordinator.sweep(read_study(study), Path("out"), interrupted(2))
    parts = sorted(Path("out/units").glob("*.npz"))
    assert len(parts) == 2 * 2
    for part in parts:
        cut(part)
    assert not sweep(study).failures
    sweep(study, "fresh")
    assert results(Path("out")) == results(Path("fresh"))


def test_a_network_that_is_another_each_time_is_told_and_not_tried_for_ever(study: Path) -> None:
    study.write_text((STUDY + ERFS).replace(', "net.py:other"', ""))
    Path("net.py").write_text(CHANGING.replace("manual_seed(0)", "seed()"))
    begun: list[str] = []

    def execute(units: Sequence[Unit], output: Path) -> Iterator[Outcome]:
        for unit in units:
            begun.append(unit.id)
            work._network.close()
            yield from here([unit], output)

    done = coordinator.sweep(read_study(study), Path("out"), execute)
    assert len(begun) == 3 * 3
    (why,) = done.failures.values()
    assert "seed what its code draws" in why
    assert set(done.table["status"]) == {"failed"}


def test_a_network_that_was_changed_since_the_plan_is_refused(study: Path) -> None:
    """Its result would be taken for that of the network as it was, once that is back."""

    def execute(units: Sequence[Unit], output: Path) -> Iterator[Outcome]:
        Path("net.py").write_text(CHANGING.replace("ReLU", "GELU"))
        yield from here(units, output)

    done = coordinator.sweep(read_study(study), Path("out"), execute)
    assert len(done.failures) == 2 * 3
    assert all("was changed since the sweep began" in why for why in done.failures.values())
    Path("net.py").write_text(CHANGING)
    assert not sweep(study, retry_failed=True).failures
    sweep(study, "fresh")
    assert results(Path("out/erf")) == results(Path("fresh/erf"))


@pytest.mark.parametrize("option", ["--status", "--retry-failed"])
def test_a_plan_that_is_damaged_is_told_with_what_helps(
    study: Path, run_command: Command, option: str
) -> None:
    Path("out").mkdir()
    Path("out/plan.json").write_text('{"threads": ')
    code, _, err = run_command("sweep", "study.toml", option)
    assert code == 2
    assert "out/plan.json is not a JSON file, or is damaged" in err
    assert "remove it, and run the sweep again" in err
