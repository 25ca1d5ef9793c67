"""A kind of measurement in sweeps is one module: planned, done, joined, listed with the others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
from sweep_studies import write_study

import erf_tools

#: Counts the images of a share whose name has a digit below five, and looks at no network.
KIND = """
from pathlib import Path

import pandas as pd

from erf_tools.files import read_json, write_json
from erf_tools.sweep.sources import divided
from erf_tools.sweep.task import Opened, Published, Task


class Counting(Task, frozen=True, kw_only=True):
    table = "counting"

    below: int = 5

    @property
    def title(self):
        return "counting"

    def opened(self, sources):
        names = [image.name for image in sources.selection().images]
        slices = divided((1,) * len(names), sources.study.images.shard)
        return Opened([names[a:b] for a, b in slices], len(names), {"images": names}, {})

    def names(self, share):
        return share

    def marker(self, request):
        return Path(self.table, f"{request.folder}.parquet")

    def network(self, request, seed, device, held):
        return request.model

    def measure(self, network, share, device, part):
        write_json(part, {"small": sum(int(name[0]) < self.below for name in share)})

    def join(self, measurement, parts, output):
        file = self.marker(measurement.request).with_suffix(".json")
        write_json(output / file, {"small": sum(read_json(part)["small"] for part in parts)})
        return pd.DataFrame({"model": [measurement.request.model], "file": [file.as_posix()]})

    def publish(self, rows, output, failures):
        counts = [read_json(output / file)["small"] for file in rows["file"]]
        empty = dict.fromkeys(["weights", "weights_sha256", "layer", "resolution"], "")
        return Published(rows.assign(small=counts, images=6, **empty), ["small"], [])


KIND = Counting
"""


RUN = """
from pathlib import Path
from sweep_studies import here
from erf_tools.sweep.coordinator import sweep
from erf_tools.sweep.study import read_study

sweep(read_study(Path("study.toml")), Path("out"), here)
"""


def test_a_new_kind_of_measurement_is_one_file(study_folder: Path) -> None:
    package = study_folder / "erf_tools"
    shutil.copytree(Path(erf_tools.__file__).parent, package)
    (package / "sweep" / "tasks" / "counting.py").write_text(KIND)
    study = write_study(study_folder, "three", "seven")
    study.write_text(study.read_text().split("[[erf]]")[0] + "[counting]\nbelow = 4\n")
    places = [str(study_folder), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv("out/sweep.csv").set_index("model")
    assert table["protocol"].to_dict() == dict.fromkeys(table.index, "counting")
    assert table["value"].to_dict() == {"networks:three": 4, "networks:seven": 4}
    assert set(table["status"]) == {"done"}
