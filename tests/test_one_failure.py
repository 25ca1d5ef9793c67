"""One failure is one failure: each network and each output stands alone, in every command."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from matplotlib.figure import Figure

from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures, FailuresError, one_sentence
from erf_tools.files import read_archive, read_json, write_archive
from erf_tools.tables import read_csv

NETWORKS = """
import sys

import torch


def good():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 4, 3, 2, 1)


class Strange(torch.nn.Conv2d):
    def forward(self, images):
        raise Interrupted("from deep\\nwithin")


class Interrupted(BaseException):
    pass


def strange():
    return Strange(3, 4, 3)


def leaving():
    sys.exit()


def memory():
    raise MemoryError
"""

#: A factory, and what is said of it.
BAD = {
    "networks:leaving": "SystemExit",
    "networks:strange": "Interrupted",
    "networks:memory": "MemoryError",
    "networks:nothing": "has no 'nothing'",
    "broken_module:network": "ZeroDivisionError",
    "sys:exit": "SystemExit",
}


@pytest.fixture
def networks(study_folder: Path) -> Path:
    (study_folder / "networks.py").write_text(NETWORKS)
    (study_folder / "broken_module.py").write_text("1 / 0")
    return study_folder


SMALL = ("--num-images", 2, "--resolution", 16, "--output", "out")


@pytest.mark.usefixtures("no_drawing")
def test_whatever_a_network_raises_is_its_own_failure(networks: Path, run_command: Command) -> None:
    models = ",".join([*list(BAD)[:3], "networks:good", *list(BAD)[3:]])
    code, out, err = run_command("erf", "--model", models, *SMALL)
    assert code == 1
    assert "networks:good" in out
    for name, said in BAD.items():
        (line,) = [line for line in err.splitlines() if line.startswith(f"erf-tools: {name}")]
        assert said in line
    assert "Traceback" not in err
    assert list(pd.read_csv("out/erf_table.csv")["model"]) == ["networks:good"]
    assert Path("out/report.html").is_file()


def test_where_all_fail_all_are_named_and_debug_shows_where(
    networks: Path, run_command: Command
) -> None:
    code, _, err = run_command("erf", "--model", "sys:exit,broken_module:network", *SMALL)
    assert code == 1
    named = [line for line in err.splitlines() if line.startswith("erf-tools: ")]
    assert [line.split()[1].rstrip(":") for line in named] == ["sys:exit", "broken_module:network"]
    code, _, err = run_command("erf", "--model", "broken_module:network", *SMALL, "--debug")
    assert "ZeroDivisionError: division by zero" in err
    assert "Traceback" in err


def test_an_output_that_fails_stands_alone(
    networks: Path, run_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(figure: Figure, path: Path, **options: object) -> None:
        raise ValueError("no such font")

    Path("out/erf_table.csv").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", fail)
        code, out, err = run_command("erf", "--model", "networks:good", *SMALL)
    assert code == 1
    assert "networks:good failed: ValueError: no such font" in err
    code, out, err = run_command("erf", "--model", "networks:good", *SMALL)
    assert code == 1
    assert "cannot write out/erf_table.csv" in err
    assert "networks:good" in out
    assert Path("out/erf_comparison.png").is_file()
    assert Path("out/report.html").is_file()


@pytest.mark.parametrize("written", [b"PK\x03\x04 cut", b"[]", b"", "record", "map"])
@pytest.mark.usefixtures("no_drawing")
def test_a_wrong_file_in_the_place_of_a_result_is_replaced(
    written: bytes | str, networks: Path, run_command: Command
) -> None:
    out = run_command("erf", "--model", "networks:good", *SMALL)[1]
    archive = Path("out/networks_good/erf.npz")
    whole = archive.read_bytes()
    if isinstance(written, bytes):
        archive.write_bytes(written)
    else:
        arrays, record = read_archive(archive)
        if written == "map":
            arrays["total"] = np.zeros(3)
        np.savez(archive, record=json.dumps([] if written == "record" else record), **arrays)
    assert run_command("erf", "--model", "networks:good", *SMALL)[:2] == (0, out)
    assert archive.read_bytes() == whole


def test_an_archive_is_bounded_before_it_is_unpacked(tmp_path: Path) -> None:
    """A file that says that it unpacks to two gigabytes, as two megabytes can."""
    write_archive(tmp_path / "bomb.npz", {"total": np.zeros(123_456)}, {})
    content = (tmp_path / "bomb.npz").read_bytes()
    said, more = (struct.pack("<I", 128 + 8 * count) for count in (123_456, 16_384 * 16_400))
    assert said in content
    (tmp_path / "bomb.npz").write_bytes(content.replace(said, more))
    with pytest.raises(UsageError, match=r"it would unpack to 2\.0 GiB"):
        read_archive(tmp_path / "bomb.npz")


@pytest.mark.parametrize("text", ["null", "[]", "[" * 100_000, '{"a":', "\x00", "3"])
def test_json_that_is_no_record_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(UsageError, match=r"record\.json is not"):
        read_json(tmp_path / "record.json")


def test_failures_are_listed_with_what_they_are_of() -> None:
    failures = Failures()
    for what, error in (("a", KeyError("key")), ("b", UsageError("wrong")), ("c", UsageError("c"))):
        with failures.alone(what):
            raise error
    listed = [str(failure) for failure in failures]
    assert listed == ["a failed: KeyError: 'key'", "b: wrong", "c"]
    assert FailuresError(list(failures), all_of_it=True).exit_code == 1
    assert FailuresError(list(failures)[1:], all_of_it=True).exit_code == 2
    assert FailuresError(list(failures)[1:]).exit_code == 1
    with pytest.raises(KeyboardInterrupt), failures.alone("d"):
        raise KeyboardInterrupt
    with pytest.raises(ErfToolsError, match=r"e failed: RuntimeError$"), one_sentence("e"):
        raise RuntimeError


@pytest.mark.usefixtures("no_drawing")
def test_names_are_checked_before_anything_is_decided(networks: Path, run_command: Command) -> None:
    code, _, err = run_command(
        *("shape-bias", "--model", "networks:good,resnet5", "--stimuli", "nowhere")
    )
    assert code == 2
    assert "there is no model 'resnet5'" in err
    assert not Path("results").exists()
    assert not Path("out").exists()
    with pytest.raises(UsageError, match="there is no file"):
        read_csv(networks / "none.csv")
