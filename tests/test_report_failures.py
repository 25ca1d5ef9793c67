"""Reports of what is damaged, hostile or in the way: it is named, and everything else is shown."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from conftest import Command
from synthetic import blob

from erf_tools.erf.shown_tables import notes
from erf_tools.erf.tables import erf_table
from erf_tools.errors import OutputError, UsageError
from erf_tools.failures import Failures
from erf_tools.files import read_archive, write_archive
from erf_tools.report import page
from erf_tools.report.content import collect
from erf_tools.report.results import Results, ShapeBias, find_results
from erf_tools.report.values import plain

#: A name of what lines, pages and readers might heed, and how it is shown.
HOSTILE = "a|b<b>\u2028\u202e\x1b[2K\n</script>$x$"
SHOWN = "a|b<b>\\u2028\\u202e\\x1b[2K\\n</script>$x$"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good result of each kind, which tests copy."""
    folder = tmp_path_factory.mktemp("kept")
    synthetic.erf("net", blob(32, 5)).save(folder / "good" / "erf.npz")
    synthetic.shape_bias_folder(folder / "bias")
    return folder


@pytest.fixture
def results(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "results"))


def embedded(path: Path) -> dict[str, Any]:
    (data,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', path.read_text()
    )
    return json.loads(data)


def no_archive(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 and no more")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def pickled(path: Path) -> None:
    np.savez(path, erf=np.ones((4, 4)), record=np.array([{"a": 1}], dtype=object))


def bomb(path: Path) -> None:
    """An archive that says it unpacks to eight gigabytes."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", bytes(2**16))
        archive.getinfo("more.npy").file_size = 8 * 2**30


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder_in_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def with_record(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        arrays, record = read_archive(path)
        stream = io.BytesIO()
        changed = change(record)
        text = changed if isinstance(changed, str) else json.dumps(changed or record)
        np.savez(stream, record=np.array(text), **arrays)
        path.write_bytes(stream.getvalue())

    return damage


def with_total(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        arrays, record = read_archive(path)
        write_archive(path, {**arrays, "total": change(arrays["total"])}, record)

    return damage


DAMAGED = {
    "no archive": no_archive,
    "empty": empty,
    "cut": cut,
    "pickled": pickled,
    "bomb": bomb,
    "pipe": pipe,
    "list": with_record(lambda record: "[]"),
    "null": with_record(lambda record: "null"),
    "brackets": with_record(lambda record: "[" * 100_000),
    "deep": with_record(
        lambda record: json.dumps(record).replace('"untrained"', "[" * 900 + "]" * 900)
    ),
    "no images": with_record(lambda record: record.pop("images") and None),
    "other images": with_record(lambda record: {**record, "images": [{"colour": "red"}]}),
    "no setting": with_record(lambda record: {**record, "setting": {}}),
    "no model": with_record(lambda record: record["setting"].update(model=None)),
    "words for numbers": with_record(lambda record: record["setting"].update(center=["a", "b"])),
    "a centre far away": with_record(lambda record: record["setting"].update(center=[1e12, 0])),
    "NaN": with_record(lambda record: record["setting"].update(center=[float("nan"), 0])),
    "an infinite map": with_total(lambda total: np.where(total == total.max(), np.inf, total)),
    "a map of another size": with_total(lambda total: total[:5]),
    "a map of three sides": with_total(lambda total: total[None]),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_bad_result_is_named_and_the_others_are_shown(
    damage: Callable[[Path], None], results: Path, run_command: Command
) -> None:
    bad = results / "worse" / "erf.npz"
    shutil.copytree(results / "good", bad.parent)
    damage(bad)
    output = results / "report.html"
    code, out, error = run_command("report", results, "--output", output.parent)
    assert code == 1
    assert f"Written to {output}" in out
    assert len(error.splitlines()) == 1
    assert error.startswith(f"erf-tools: {bad}")
    shown = embedded(output)
    assert [erf["label"] for erf in shown["erfs"]] == ["net (untrained)"]
    assert len(shown["makers"]) == 12
    assert [str(bad) in failure for failure in shown["failures"]] == [True]
    code, _, error = run_command("report", bad, "--output", results / "alone")
    assert code == 2 or "worse" in error
    assert str(bad) in error
    assert len(error.splitlines()) == 1


BROKEN = {
    "provenance.json": ["[" * 100_000, "null", "[]", "{}", '{"decision_makers": []}', "{", "\xff"],
    "shape_bias.csv": ["", "name\nnet\n", "\0\0", "name,name\n1,2\n"],
    "shape_bias_by_category.csv": ["", "name,category\n"],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, each) for name, all_of in BROKEN.items() for each in all_of]
)
def test_a_bad_folder_of_decisions_is_named(
    name: str, content: str, results: Path, run_command: Command
) -> None:
    (results / "bias" / name).write_text(content, encoding="latin-1")
    output = results / "report.html"
    code, _, error = run_command("report", results, "--output", output.parent)
    assert code == 1
    assert len(error.splitlines()) == 1
    assert str(results / "bias") in error
    shown = embedded(output)
    assert len(shown["erfs"]) == 1
    assert shown["makers"] == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("reliance_versions.jpg", lambda content: content[:40]),
        ("reliance_versions.jpg", lambda _: b""),
        ("reliance.json", lambda _: b'{"results": []}'),
        ("reliance.json", lambda content: content.replace(b'"net"', b'"other"')),
        ("reliance.json", lambda content: content.replace(b"patch-shuffle", b"smell")),
        ("reliance.csv", lambda content: content.replace(b"accuracy_low", b"low")),
        ("reliance.csv", lambda content: content.replace(b"global_shape", b"shape")),
        ("reliance_curves.csv", lambda content: content.rpartition(b"net")[0]),
        ("reliance_curves.csv", lambda content: content.replace(b"local_variance", b"variance")),
    ],
)
def test_a_bad_folder_of_reliance_is_named(
    name: str, damage: Callable[[bytes], bytes], results: Path, run_command: Command
) -> None:
    for folder, model in (("bad", "net"), ("good", "fine")):
        synthetic.reliance_folder(results / folder, model)
    file = results / "bad" / name
    file.write_bytes(damage(file.read_bytes()))
    output = results / "report.html"
    code, _, error = run_command("report", results, "--output", output.parent)
    assert code == 1
    assert len(error.splitlines()) == 1
    assert str(results / "bad") in error
    shown = embedded(output)
    assert len(shown["erfs"]) == 1
    assert [own["label"] for each in shown["reliance"] for own in each["networks"]] == [
        "fine (untrained)"
    ]


@pytest.mark.parametrize("name", [*BROKEN])
@pytest.mark.parametrize("damage", [pipe, folder_in_place, Path.unlink])
def test_only_regular_files_are_read(
    damage: Callable[[Path], None], name: str, results: Path, run_command: Command
) -> None:
    damage(results / "bias" / name)
    output = results / "report.html"
    code, _, error = run_command("report", results, "--output", output.parent)
    assert len(embedded(output)["erfs"]) == 1
    gone = name == "shape_bias.csv" and damage is not pipe  # then there is no such result
    assert code == (0 if gone else 1)
    assert gone or name in error


def test_one_decision_maker_is_one_failure(results: Path) -> None:
    table = results / "bias" / "shape_bias.csv"
    lines = table.read_text().splitlines()
    named = next(number for number, line in enumerate(lines) if line.startswith("AlexNet"))
    cells = lines[named].split(",")
    cells[lines[0].split(",").index("kappa_human")] = "much"
    table.write_text("\n".join([*lines[:named], ",".join(cells), *lines[named + 1 :]]) + "\n")
    records = results / "bias" / "provenance.json"
    record = json.loads(records.read_text())
    record["decision_makers"]["VGG-16 (published)"] = ["no", "record"]
    records.write_text(json.dumps(record))
    failures = Failures()
    content = collect(Results(biases=[ShapeBias.read(results / "bias")]), failures)
    assert len(content["makers"]) == 10
    first, second = (str(failure) for failure in failures)
    assert "AlexNet" in first
    assert "VGG-16" in second


def test_a_section_that_fails_leaves_the_others() -> None:
    results = [synthetic.erf("net", blob(32, 5 + n), layer=f"layer{n}") for n in range(2)]
    failures = Failures()
    bias = ShapeBias(Path("bias"), pd.DataFrame({"model": []}), pd.DataFrame({"model": []}), {})
    content = collect(Results(results, biases=[bias]), failures)
    assert [len(content[section]) for section in ("erfs", "growth", "shape_bias")] == [2, 1, 0]
    assert ["section shape_bias" in str(failure) for failure in failures] == [True]


def test_nothing_that_can_be_read_is_misuse(results: Path, run_command: Command) -> None:
    (results / "good" / "erf.npz").write_bytes(b"")
    (results / "bias" / "provenance.json").unlink()
    output = results / "report.html"
    code, _, error = run_command("report", results, "--output", output.parent)
    assert code == 2
    assert len(error.splitlines()) == 2
    assert not output.exists()


def test_places_without_results_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(
        UsageError, match=r"empty: there is no erf\.npz, shape_bias\.csv or reliance\.csv"
    ):
        find_results([empty], Failures())
    with pytest.raises(UsageError, match="there is no such file or folder"):
        find_results([tmp_path / "nowhere"], Failures())


def test_loops_end_and_broken_links_are_named(results: Path) -> None:
    (results / "good" / "loop").symlink_to(results)
    failures = Failures()
    assert len(find_results([results], failures)["erfs"]) == 1
    assert not list(failures)
    (results / "resnet18").symlink_to(results / "gone")
    assert len(find_results([results], failures)["erfs"]) == 1
    assert ["resnet18" in str(failure) for failure in failures] == [True]


def test_a_link_stays_and_what_it_leads_to_is_written(results: Path, run_command: Command) -> None:
    target = results.parent / "elsewhere" / "page.html"
    target.parent.mkdir()
    target.write_text("before")
    link = results.parent / "linked" / "report.html"
    link.parent.mkdir()
    for place in (target, target.with_name("not there yet.html")):
        link.unlink(missing_ok=True)
        link.symlink_to(place)
        code, _, error = run_command("report", results, "--output", link.parent)
        assert code == 0, error
        assert link.is_symlink()
        assert len(embedded(place)["erfs"]) == 1


def test_what_is_no_file_is_not_replaced(results: Path, run_command: Command) -> None:
    place = results.parent
    for name in ("pipe", "to_device", "loop", "folder"):
        (place / name).mkdir()
    os.mkfifo(place / "pipe" / "report.html")
    (place / "to_device" / "report.html").symlink_to("/dev/null")
    (place / "loop" / "report.html").symlink_to(place / "loop" / "report.html")
    (place / "folder" / "report.html").mkdir()
    (place / "file").touch()
    folders = ("pipe", "to_device", "loop", "folder", "file")
    for output in (
        Path("/dev/null/report.html"),
        *(place / name / "report.html" for name in folders),
    ):
        before = output.lstat().st_mode if os.path.lexists(output) else None
        code, _, error = run_command("report", results, "--output", output.parent)
        assert code == 1
        assert error.startswith(f"erf-tools: cannot write {output}")
        assert (output.lstat().st_mode if os.path.lexists(output) else None) == before
    with pytest.raises(OutputError, match="it is a folder"):
        page.write_report(place, Results([synthetic.erf("net", blob(16, 3))]), Failures())


@pytest.mark.parametrize("name", ["good/erf.npz", *(f"bias/{name}" for name in BROKEN)])
def test_a_result_is_not_replaced_by_its_report(
    name: str, results: Path, run_command: Command
) -> None:
    before = (results / name).read_bytes()
    link = results.parent / "linked" / "report.html"
    link.parent.mkdir()
    link.symlink_to(results / name)
    code, _, error = run_command("report", results, "--output", link.parent)
    assert code == 2
    assert "is one of the results" in error
    with pytest.raises(UsageError, match="is one of the results"):
        page.report([results], results / name)
    assert (results / name).read_bytes() == before


def test_folders_of_the_output_are_made(results: Path, run_command: Command) -> None:
    output = results.parent / "new" / "folders" / "report.html"
    assert run_command("report", results, "--output", output.parent)[0] == 0
    assert output.is_file()


def test_names_are_shown_and_not_heeded(results: Path, run_command: Command) -> None:
    synthetic.erf(HOSTILE, blob(32, 6)).save(results / "worse" / "erf.npz")
    output = results / "report.html"
    assert run_command("report", results, "--output", output.parent)[0] == 0
    labels = [erf["label"] for erf in embedded(output)["erfs"]]
    assert labels == ["net (untrained)", f"{SHOWN} (untrained)"]
    assert output.read_text().count("</script>") == 2


def test_no_name_fills_the_page(tmp_path: Path) -> None:
    failures = Failures()
    path = page.write_report(
        tmp_path / "report.html", Results([synthetic.erf("x" * 10**6, blob(32, 5))]), failures
    )
    assert not list(failures)
    (shown,) = embedded(path)["erfs"]
    assert shown["label"] == "x" * 500 + "\u2026"
    assert max(len(note) for note in embedded(path)["summary"][0]["notes"]) < 20_100


def test_what_is_said_of_many_networks_is_said_to_its_end() -> None:
    name = "network_with_a_rather_long_name_"
    erfs = [synthetic.erf(f"{name}{number}", blob(16, 3)) for number in range(30)]
    shown = collect(Results(erfs), Failures())["summary"][0]["notes"]
    said = notes(erf_table(erfs))
    assert shown == said
    (few,) = [note for note in said if "it rests on" in note]
    assert few.startswith(f"warning: {name}0 (untrained), {name}1 (untrained), ")
    assert len(few) > 500
    # Of thousands of networks not all are named, but what they have in common is said.
    end = ": it rests on 2 images."
    (cut,) = plain({"notes": ["warning: " + "network, " * 10_000 + end]})["notes"]
    assert len(cut) < 20_100
    assert cut.startswith("warning: network, ")
    assert cut.endswith(end)
    assert plain({"notes": ["\x1b[2K"], "label": "x" * 600}) == {
        "notes": ["\\x1b[2K"],
        "label": "x" * 500 + "\u2026",
    }
