"""Sweeps that are killed, fail in parts, meet full disks and each other; and what is left then."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sweep_studies
import torch
from conftest import Command
from PIL import Image
from sweep_studies import (
    LAYERS,
    WORK,
    die,
    here,
    note_and_die_once,
    note_and_wait_for_another,
    results,
    run_to_the_end,
    sleep,
    write_study,
)
from threadpoolctl import threadpool_limits

from erf_tools.computing import Computing
from erf_tools.erf.gradients import measure_layers
from erf_tools.erf.maps import ERF
from erf_tools.erf.procedure import Procedure
from erf_tools.erf.ways import FEW
from erf_tools.errors import ErfToolsError, OutputError
from erf_tools.failures import Failures
from erf_tools.files import locked, write_text
from erf_tools.images import select
from erf_tools.joined import join
from erf_tools.models.loading import load_model
from erf_tools.report.results import find_results
from erf_tools.sweep import coordinator
from erf_tools.sweep.coordinator import Sweep
from erf_tools.sweep.folder import SweepFolder
from erf_tools.sweep.local import run_locally
from erf_tools.sweep.outcome import Outcome
from erf_tools.sweep.plan import Unit, make_plan
from erf_tools.sweep.study import read_study

pytestmark = pytest.mark.usefixtures("no_drawing")


@pytest.fixture
def study(study_folder: Path) -> Path:
    return write_study(study_folder, "three", "seven")


def sweep(study: Path, output: str | Path = "out", retry_failed: bool = False) -> Sweep:
    return coordinator.sweep(read_study(study), Path(output), here, retry_failed)


def test_results_are_those_of_a_single_run(study: Path) -> None:
    """Images measured apart, two by two, against all of them at once."""
    done = sweep(study)
    model = load_model("networks:three")
    settings, cpu = (Procedure(resolution=32), [model.tap]), Computing(device="cpu")
    with threadpool_limits(1):  # as many as the study says: they are in the record
        torch.set_num_threads(1)
        (whole,) = measure_layers(model, select("images", 6), *settings, computing=cpu)
    joined = ERF.load("out/erf/ding2022/networks_three/erf.npz")
    np.testing.assert_allclose(joined.total, whole.total, rtol=1e-12)
    assert joined.images == whole.images
    assert joined.setting == whole.setting
    assert joined.runs == whole.runs
    assert joined.sample
    assert whole.sample
    for name, array in joined.sample.arrays().items():
        np.testing.assert_allclose(array, whole.sample.arrays()[name], rtol=1e-5)
    values = done.table.set_index(["model", "measure"])["value"]
    assert values["networks:three", "effective_side"] == whole.measures.effective_side


HIDING = """

class Hiding(torch.nn.Sequential):
    def __init__(self):
        super().__init__(*small(3))
        self.far = torch.nn.Conv2d(4, 4, 15, 1, 7)

    def forward(self, images):
        features = self[2](self[1](self[0](images)))
        if torch.is_grad_enabled():
            shine = images.detach().mean(dim=(1, 2, 3), keepdim=True) - 1
            features = features + self.far(features) * shine.relu().sign()
        return self[3](features)


def hiding():
    return Hiding()
"""


def test_where_a_part_contradicts_a_field_it_is_not_known_of_the_whole(study: Path) -> None:
    study.write_text(study.read_text().replace("networks:three", "networks:hiding"))
    with (study.parent / "networks.py").open("a") as stream:
        stream.write(HIDING)
    Image.new("RGB", (32, 24), "white").save("images/5.png")
    done = sweep(study)
    assert not done.failures
    assert set(done.table["status"]) == {"done"}
    joined = ERF.load("out/erf/ding2022/networks_hiding/erf.npz")
    assert [run["contradicted_field"] for run in joined.runs] == [None, [7, 7]]
    model = load_model("networks:hiding")
    settings, cpu = (Procedure(resolution=32), [model.tap]), Computing(device="cpu")
    (whole,) = measure_layers(model, select("images", 6), *settings, computing=cpu)
    np.testing.assert_allclose(joined.map, whole.map, rtol=1e-5, atol=1e-12)
    assert joined.setting == whole.setting
    assert joined.receptive_field.unbounded is None
    table = pd.read_csv("out/erf/ding2022/erf_table.csv").set_index("model")
    assert "field contradicted" in table["warnings"]["networks:hiding"]
    assert "field contradicted" not in table["warnings"]["networks:seven"]


def test_the_table_is_tidy_and_everything_else_reads_the_results(study: Path) -> None:
    study.write_text(study.read_text() + LAYERS)
    done = sweep(study)
    table = pd.read_csv("out/sweep.csv")
    keys = ["model", "protocol", "layer", "measure"]
    assert not table.duplicated(keys).any()
    assert table.groupby(["model", "protocol", "layer"]).size().shape == (2 + 4,)
    assert set(table["status"]) == {"done"}
    pd.testing.assert_frame_equal(pd.read_parquet("out/sweep.parquet"), done.table)
    np.testing.assert_array_equal(table["value"], done.table["value"])
    assert all((Path("out") / file).is_file() for file in table["file"])
    erfs = find_results([Path("out")], Failures())["erfs"]
    assert len(erfs) == 6
    bias = Path("bias")
    bias.mkdir()
    columns = "model,weights,shape_bias,shape_bias_low,shape_bias_high,coverage,low_coverage,preset"
    (bias / "shape_bias.csv").write_text(
        f"{columns},aggregation,stimuli,weights_sha256,cues\n"
        "networks:three,random,0.5,0.4,0.6,0.7,False,direct,mean,all,0,shape and texture\n"
    )
    compared = join(Path("out/erf/ding2022"), bias, Path("compared"))
    assert list(compared.table["model"]) == ["networks:three"]


def test_what_fails_is_listed_with_its_reason_and_stops_nothing(study: Path) -> None:
    text = study.read_text().replace('three"', 'broken", "networks:large", "nosuchmodel"')
    weights = study.parent / "cut.pth"
    weights.write_bytes(b"PK\x03\x04 cut off")
    models = f'[[models]]\nnames = ["resnet18"]\nweights = "{weights}"\n[images]'
    study.write_text(text.replace("[images]", models))
    done = sweep(study)
    assert set(done.table[done.table["status"] == "done"]["model"]) == {"networks:seven"}
    failed = done.table[done.table["status"] == "failed"].set_index("model")
    reasons = failed["reason"]
    assert len(reasons) == 4
    assert "80.00 GiB" in reasons["networks:large"]
    assert "the layers do not fit" in reasons["networks:broken"]
    assert "(3 of 3 units)" in reasons["networks:broken"]
    assert "did you mean" in reasons["nosuchmodel"]
    assert "cut.pth" in reasons["resnet18"]
    assert len(done.failures) == 4 * 3

    Path("mended").touch()  # something outside of the code, by which a unit would be another
    assert len(sweep(study).failures) == 12  # it is not tried again unasked
    retried = sweep(study, retry_failed=True)
    assert len(retried.failures) == 9
    assert "networks:broken" not in set(retried.table[retried.table["status"] == "failed"]["model"])


def test_edited_code_is_another_network(study: Path) -> None:
    """Its weights may be the same, so that nothing else tells."""
    done = sweep(study)
    edited = sweep_studies.NETWORKS.replace("ReLU", "GELU")
    assert edited != sweep_studies.NETWORKS
    (study.parent / "networks.py").write_text(edited)
    sys.modules.pop("networks")
    again = sweep(study)
    assert {each.id for each in again.plan.measurements}.isdisjoint(
        each.id for each in done.plan.measurements
    )


def test_what_a_killed_writer_left_is_removed(study: Path) -> None:
    left = Path("out/units/.partial-1.npz")
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    sweep(study)
    assert not left.exists()


def test_a_finished_sweep_does_nothing_again(study: Path) -> None:
    sweep(study)
    before = results(Path("out"))
    again = sweep(study)
    assert again.reused == len(again.plan.units)
    assert results(Path("out")) == before


def test_a_result_of_another_setting_is_not_taken_for_this_one(study: Path) -> None:
    """There and back: what lies there is of the setting between."""
    sweep(study)
    before = results(Path("out"))
    text = study.read_text()
    study.write_text(f"seed = 1\n{text}")
    assert sweep(study).reused == 0
    assert results(Path("out")) != before
    study.write_text(text)
    assert sweep(study).reused == 0
    assert results(Path("out")) == before


def test_a_result_or_a_part_that_is_damaged_is_made_again(study: Path) -> None:
    sweep(study)
    before = results(Path("out"))
    (Path("out") / "erf/ding2022/networks_three/erf.npz").unlink()
    assert sweep(study).reused == 6 - 3
    assert results(Path("out")) == before

    plan = make_plan(read_study(study))
    damaged = SweepFolder(Path("damaged")).part(plan.units[1].id)
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"PK\x03\x04 cut off")
    assert not sweep(study, "damaged").failures
    assert results(Path("damaged")) == before


def test_faster_ways_give_the_same_bits_whatever_was_measured_before(study: Path) -> None:
    """Eight images and more are computed by ways that are proven, in each shard anew."""
    generator = np.random.default_rng(1)
    for number in range(6, 2 * FEW):
        pixels = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"images/{number}.png")
    text = study.read_text().replace("count = 6", f"count = {2 * FEW}")
    text = text.replace("shard = 2", f"shard = {FEW}").replace("= 32", "= 128")
    study.write_text(text)

    def backwards(units: Sequence[Unit], output: Path) -> Iterator[Outcome]:
        return here(units[::-1], output)

    for output, perform in (("first", here), ("second", here), ("backwards", backwards)):
        assert not coordinator.sweep(read_study(study), Path(output), perform).failures
    (run,) = ERF.load("first/erf/ding2022/networks_three/erf.npz").runs
    assert run["cone"]
    assert run["folded"]
    assert results(Path("first")) == results(Path("second")) == results(Path("backwards"))


def test_killed_twenty_times_it_gives_the_same_bits(study: Path) -> None:
    """kill -9 at random moments of the whole run, resumed each time."""
    # Forks that have imported all of it already, so that they are killed at their work.
    fresh = multiprocessing.get_context("forkserver")
    fresh.set_forkserver_preload([run_to_the_end.__module__, *WORK])

    def begin(output: str) -> multiprocessing.process.BaseProcess:
        process = fresh.Process(target=run_to_the_end, args=(study, study.parent / output))
        process.start()
        return process

    begin("warm").join()
    started = time.perf_counter()
    begin("whole").join()
    duration = time.perf_counter() - started
    generator = random.Random(0)
    whole, killed = results(Path("whole")), 0
    while killed < 20:
        process = begin("killed")
        process.join(generator.uniform(0.05, 0.25) * duration)
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            killed += 1
        else:  # it was done before; once more from the start
            assert process.exitcode == 0
            assert results(Path("killed")) == whole
            shutil.rmtree("killed")
    final = begin("killed")
    final.join()
    assert final.exitcode == 0
    assert results(Path("killed")) == whole
    assert not list(Path("killed/units").glob("*.npz"))


def test_when_the_command_is_killed_so_is_its_worker_and_it_goes_on_afterwards(
    study: Path,
) -> None:
    program = Path(sys.executable).with_name("erf-tools")
    command = [program, "sweep", "study.toml"]
    with subprocess.Popen(command, start_new_session=True) as process:
        while not list(Path("out").glob("units/*.npz")):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    deadline = time.monotonic() + 20
    group = ["pgrep", "--session", str(process.pid), "--full", "spawn_main"]
    while subprocess.run(group, check=False, stdout=subprocess.DEVNULL).returncode == 0:
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.1)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "units had been done before" in done.stderr
    sweep(study, "whole")
    assert results(Path("out")) == results(Path("whole"))


def workers(study: Path) -> tuple[Sequence[Unit], Path]:
    output = Path("noted")
    output.mkdir()
    return make_plan(read_study(study)).units, output


def test_two_devices_share_the_units(study: Path) -> None:
    units, output = workers(study)
    work = note_and_wait_for_another
    done = list(run_locally(units, output, work, ["cpu", "other"]))
    assert sorted(each.unit for each in done) == sorted(unit.id for unit in units)
    lines = [(output / unit.id).read_text().split() for unit in units]
    assert {device for _, device in lines} == {"cpu", "other"}
    assert len({process for process, _ in lines}) == 2


def test_a_worker_that_dies_is_replaced_and_its_unit_done_again(study: Path) -> None:
    units, output = workers(study)
    done = list(run_locally(units[:3], output, note_and_die_once, ["cpu"]))
    assert [each.failure for each in done] == [None] * 3
    assert {len((output / unit.id).read_text().splitlines()) for unit in units[:3]} == {2}


def test_a_unit_that_kills_its_workers_fails_and_the_others_do_not(study: Path) -> None:
    units, output = workers(study)
    done = {each.unit: each.failure for each in run_locally(units[:3], output, die, ["cpu"])}
    failure = done.pop(units[1].id)
    assert failure
    assert (
        failure.reason == "its process was killed, 3 times; it may need more memory than there is"
    )
    assert set(done.values()) == {None}


def test_workers_end_with_whoever_gives_up_on_them(study: Path) -> None:
    units, output = workers(study)

    def interrupt_when_begun() -> None:
        while not any(path.read_text() for path in output.iterdir()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    # Shells start what runs in the background with this signal ignored.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt_when_begun, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            next(run_locally(units, output, sleep, ["cpu"]))
    finally:
        signal.signal(signal.SIGINT, usual)
    (begun,) = output.iterdir()
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text().split()[0]), 0)


def test_a_second_coordinator_is_turned_away(study: Path, run_command: Command) -> None:
    with locked(Path("out")):
        code, _, err = run_command("sweep", "study.toml")
        assert code == 1
        assert "another erf-tools is at work in out" in err
        with pytest.raises(ErfToolsError, match="another erf-tools"):
            sweep(study)
    assert not sweep(study).failures


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "erf-tools-test", disk]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_stops_the_sweep_and_costs_nothing_that_is_done(
    study: Path, small_disk: Path
) -> None:
    """Full from the fourth unit on: one network's result is there, and a part of the other's."""
    filling = small_disk / "filling"

    def execute(units: Sequence[Unit], output: Path) -> Iterator[Outcome]:
        for number, outcome in enumerate(here(units, output)):
            yield outcome
            if number == 3:
                with suppress(OSError), filling.open("wb", buffering=0) as stream:
                    while stream.write(bytes(1024)):
                        pass

    output = small_disk / "out"
    with pytest.raises(OutputError, match="No space left on device"):
        coordinator.sweep(read_study(study), output, execute)
    assert SweepFolder(output).status()["done"].tolist() == [3, 1]
    assert not SweepFolder(output).failures()
    filling.unlink()
    assert sweep(study, output).reused == 4
    sweep(study, "whole")
    assert results(output) == results(Path("whole"))


def test_a_read_only_disk_is_one_sentence(
    study: Path, small_disk: Path, run_command: Command
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, _, err = run_command("sweep", "study.toml", "--output", small_disk / "out")
    assert code == 1
    assert "Read-only file system; choose another --output folder" in err
    assert "Traceback" not in err


def test_a_worker_that_cannot_write_ends_the_sweep(study: Path) -> None:
    """The error comes from another process, and is the user's all the same."""
    units, output = workers(study)
    (output / "occupied").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        list(run_locally(units, output / "occupied", write, ["cpu"]))


def write(unit: Unit, output: Path, device: str) -> Outcome:
    write_text(output / unit.id, device)
    raise AssertionError
