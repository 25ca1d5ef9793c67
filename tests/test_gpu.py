"""What is to be run on a card, without one: the CPU stands in, and Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import gpu, gpu_bench
from analyses.gpu import PARTS
from analyses.gpu_bench import Reading
from erf_tools.figures import save_figure

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
BENCH = replace(
    gpu_bench.small(CPU),
    families=(("test_resnet", "random"),),
    large=(("test_resnet", 64),),
    shapes=((2, 12, 5),),
)

#: In whose place nothing can stand on a CPU.
ONLY_ON_CARDS = {"kernel", "memory"}


@pytest.mark.parametrize("part", [part for part in PARTS if part not in ONLY_ON_CARDS])
def test_a_part_on_the_cpu(part: str) -> None:
    for _, read in PARTS[part](BENCH):
        readings = {each.what: each.value for each in read()}
        assert all(np.isfinite(value) for value in readings.values())
        for what, value in readings.items():
            if "difference" in what:
                assert value < 5e-3, what
            if "a second" in what or "milliseconds" in what:
                assert value > 0, what


def test_the_triton_kernel_is_compared_in_its_interpreter() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    code = """
import dataclasses, torch
from analyses import gpu_bench, gpu_kernels
bench = dataclasses.replace(gpu_bench.small(torch.device("cpu")), shapes=((1, 8, 5),))
gpu_kernels._seconds = lambda run, bench: 1.0
for case, read in gpu_kernels.kernel(bench):
    print(case, *(f"{each.what}={each.value:.3g}" for each in read()), sep="; ")
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        found = dict(each.split("=") for each in line.split("; ")[1:])
        assert float(found["torch: error"]) < 3e-3
        if "bf16" not in line:  # whose bits the interpreter multiplies as integers
            assert float(found["error"]) < 1e-3


def test_what_fails_is_told_and_what_is_late_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def part(bench: gpu_bench.Bench) -> Iterator[gpu_bench.Case]:
        def read(value: float) -> Iterator[Reading]:
            yield Reading("ratio", value, "times")
            if value == 1:
                raise RuntimeError("no kernel image is available\nand more")

        yield "first", partial(read, 1.0)
        yield "second", partial(read, 2.0)

    monkeypatch.setitem(PARTS, "made up", part)
    path = tmp_path / "gpu.csv"
    table, told = gpu.measure(BENCH, ["made up"], 1, path)
    assert list(table["value"]) == [1.0, 2.0]
    assert list(pd.read_csv(path)["value"]) == [1.0, 2.0]
    (sentence,) = told
    assert "first" in sentence
    assert "no kernel image is available" in sentence
    assert "and more" not in sentence
    table, (sentence,) = gpu.measure(BENCH, ["made up"], -1, path)
    assert table.empty
    assert "made up: first; made up: second" in sentence


def test_it_is_drawn_with_whatever_is_there(tmp_path: Path) -> None:
    rows = [
        ("published", "replknet31b at 1024, fp32", "published procedure: ratio", 12.0, "times"),
        ("depthwise", "128 channels, fp32", "triton: milliseconds", 0.3, "ms"),
        ("depthwise", "128 channels, fp32", "plain: milliseconds", 3.0, "ms"),
    ]
    columns = ["part", "case", "what", "value", "unit"]
    for table in (pd.DataFrame(rows, columns=columns), pd.DataFrame(columns=columns)):
        files = save_figure(gpu.draw(table), tmp_path / "gpu", {})
        assert all(file.stat().st_size > 1000 for file in files)
