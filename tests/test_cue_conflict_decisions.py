"""Decision files: every published variant, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from erf_tools.cue_conflict import tables
from erf_tools.cue_conflict.decisions import (
    COLUMNS,
    Decisions,
    decision_frame,
    find_decision_files,
    read_decisions,
)
from erf_tools.cue_conflict.makers import decision_makers
from erf_tools.errors import UsageError

HEADER = ",".join(COLUMNS)


def row(
    image: str = "cat7-elephant1.png", answer: str = "cat", subject: str = "net", category: str = ""
) -> str:
    category = category or "".join(c for c in image.split("_")[-1].split("-")[0] if c.isalpha())
    return f"{subject},1,1,NaN,{answer},{category},0,{image}"


def write(path: Path, *rows: str, end: str = "\n") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(end.join([HEADER, *rows, ""]).encode())
    return path


def test_all_published_files_are_read(published_decisions: Path) -> None:
    makers = read_decisions([published_decisions])
    assert len(makers) == 17
    assert sum(maker.human for maker in makers) == 10
    assert all(len(maker.frame) == 1280 for maker in makers)
    # Identity is the file: its subject reads squeezenet1-1.
    assert "squeezenet1_1" in [maker.name for maker in makers]
    assert sum((maker.frame["response"] == "na").sum() for maker in makers if maker.human) == 131


#: S, T and shape bias of the networks published in 2025.
LABELS = {
    "resnet50": (181, 604, 0.2306),
    "vit_base_patch16_224.orig_in21k_ft_in1k": (347, 417, 0.4542),
    "clip_RN50_openai_CLS": (179, 683, 0.2077),
    "ViT_L_14_openai_None": (615, 394, 0.6095),
}


def test_golden_counts_of_files_of_labels(published_decisions: Path) -> None:
    folder = published_decisions.with_name("decisions-2025")
    rows = decision_makers(read_decisions(sorted(folder.glob("*.csv"))), reference=False)
    found = {row.name: (row.shape, row.texture, row.bias.value) for row in rows}
    assert set(found) == set(LABELS)
    for name, (*counts, bias) in LABELS.items():
        assert list(found[name][:2]) == counts
        assert found[name][2] == pytest.approx(bias, abs=1e-4)
    assert [row.name for row in rows if "confidence" in row.absolute] == [
        *("ViT_L_14_openai_None", "clip_RN50_openai_CLS")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat7-elephant1,cat,1.5", "line 2: pred_conf is '1.5'; it is a number from 0 to 1"),
        ("cat7-elephant1,cat,", "line 2: pred_conf is ''"),
        ("cat7-elephant1,cat,nan", "pred_conf is 'nan'"),
        ("cat7-elephant1,cta,1", "pred_label is 'cta': did you mean cat"),
        ("cat7,cat,1", "'cat7' is not the name of a cue-conflict stimulus"),
    ],
)
def test_labels_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text(f"image,pred_label,pred_conf\n{text}\n")
    with pytest.raises(UsageError, match=message):
        read_decisions([tmp_path])


@pytest.mark.parametrize(
    ("header", "values", "twice"),
    [
        (f"{HEADER},object_response", f"{row()},dog", "object_response"),
        ("image,pred_label, pred_label ", "cat7-elephant1,cat,elephant", "pred_label"),
        ("image,pred_label,pred_conf,pred_conf", "cat7-elephant1,cat,.9,.1", "pred_conf"),
    ],
)
def test_of_two_columns_of_one_name_none_is_taken(
    header: str, values: str, twice: str, tmp_path: Path
) -> None:
    (tmp_path / "net.csv").write_text(f"{header}\n{values}\n")
    with pytest.raises(UsageError, match=f"net.csv has 2 columns {twice}; leave one"):
        read_decisions([tmp_path])


def test_columns_without_a_name_are_left(tmp_path: Path) -> None:
    """Spreadsheets leave such where something was deleted."""
    (tmp_path / "net.csv").write_text("image,pred_label,,\ncat7-elephant1,cat,,\n")
    (maker,) = read_decisions([tmp_path])
    assert maker.frame["response"].tolist() == ["cat"]


def test_labels_without_an_answer_and_with_other_columns(tmp_path: Path) -> None:
    text = "image,response,pred_label,more\ncat7-elephant1.png,A cat,cat,1\nbear2-cat2,?,None,2\n"
    (tmp_path / "net.csv").write_text(text)
    (maker,) = read_decisions([tmp_path])
    assert maker.frame["response"].tolist() == ["na", "cat"]
    assert "confidence" not in maker.frame


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "image", ["cat7-elephant1.png", "0001_s5n_dnn_0_cat_00_cat7-elephant1.png"]
)
def test_line_ends_and_prefixes(end: str, image: str, tmp_path: Path) -> None:
    write(tmp_path / "net.csv", row(image), end=end)
    (maker,) = read_decisions([tmp_path])
    assert maker.frame.index.tolist() == ["cat7-elephant1"]
    assert maker.frame.iloc[0].tolist() == ["cat", "elephant", "cat"]


@pytest.mark.parametrize(
    ("file", "name", "human"),
    [
        ("style-transfer-512-nomask-experiment_subject-03_session_1.csv", "subject-03", True),
        (
            "style-transfer-512-nomask-experiment_squeezenet1_1_session-1.csv",
            "squeezenet1_1",
            False,
        ),
        ("my_net.csv", "my_net", False),
        ("cue-conflict_subject-01_session_1.csv", "subject-01", True),
        ("cue-conflict_squeezenet1_1_session-1.csv", "squeezenet1_1", False),
        ("my_net_session_1.csv", "my_net_session_1", False),
    ],
)
def test_the_file_names_the_decision_maker(
    file: str, name: str, human: bool, tmp_path: Path
) -> None:
    write(tmp_path / file, row(subject="something-else"))
    (maker,) = read_decisions([tmp_path / file])
    assert (maker.name, maker.human) == (name, human)


@pytest.mark.parametrize("file", ["results.csv", "cue-conflict_human_session_1.CSV"])
def test_an_observer_is_one_whatever_the_file_is_called(file: str, tmp_path: Path) -> None:
    write(tmp_path / file, row(subject="subject-07"))
    (maker,) = read_decisions([tmp_path])
    assert (maker.name, maker.human) == ("subject-07", True)


@pytest.mark.parametrize("subject", ["Subject-07", "subject_07", "SUBJECT_07"])
def test_observers_are_known_however_they_are_written(subject: str, tmp_path: Path) -> None:
    write(tmp_path / "one.csv", row(subject=subject))
    write(tmp_path / f"cue-conflict_{subject}_session_2.csv", row("cat4-dog3.png", subject="x"))
    write(tmp_path / "net.csv", row("cat4-dog3.png", subject="subject"))
    makers = read_decisions([tmp_path])
    assert [(maker.name, maker.human, len(maker.frame)) for maker in makers] == [
        ("subject-07", True, 2),
        ("net", False, 1),
    ]
    rows = decision_makers(makers, reference=False)
    assert [maker.name for maker in rows] == ["humans", "subject-07", "net"]
    write(tmp_path / "two.csv", row(), row("cat4-dog3.png", subject=subject))
    with pytest.raises(UsageError, match="subject-07 answers to cat4-dog3 a second time"):
        read_decisions([tmp_path])


def test_one_subject_in_two_files_is_two_decision_makers(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.csv", row(subject="net"))
    assert [maker.name for maker in read_decisions([tmp_path])] == ["one", "two"]


def test_a_file_of_several_subjects_is_split(tmp_path: Path) -> None:
    write(tmp_path / "all.csv", row(subject="subject-01"), row(subject="subject-02"))
    assert [maker.name for maker in read_decisions([tmp_path])] == ["subject-01", "subject-02"]


def test_sessions_are_put_together(tmp_path: Path) -> None:
    for session, image in ((1, "cat1-dog1.png"), (2, "cat4-dog3.png")):
        write(tmp_path / f"x-experiment_subject-01_session_{session}.csv", row(image))
    (maker,) = read_decisions([tmp_path])
    assert len(maker.frame) == 2


def recorded(path: Path, image: str, sha256: str = "a" * 64, **more: Any) -> None:
    """Write decisions with the record that a study writes beside them."""
    digest = hashlib.sha256(write(path, row(image)).read_bytes()).hexdigest()
    record = {"model": {"weights": {"sha256": sha256}}, "sha256": {"decisions": digest}, **more}
    path.with_suffix(".json").write_text(json.dumps(record))


def test_files_of_one_name_are_one_network_if_their_records_say_so(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "net.csv", tmp_path / "b" / "net.csv"
    recorded(one, "cat1-dog1.png", stimuli={"count": 1}, device="cpu")
    recorded(other, "cat4-dog3.png", stimuli={"count": 2}, device="cuda")
    (maker,) = read_decisions([one.parent, other.parent])
    assert maker.frame.index.tolist() == ["cat1-dog1", "cat4-dog3"]
    both = rf"{one} and {other} both go by the name of net, and "
    for changes, why in (
        ({"sha256": "b" * 64}, "their records differ in model weights sha256: rename one"),
        ({"preset": "mvh"}, "their records differ in preset: rename one"),
    ):
        recorded(other, "cat4-dog3.png", **changes)
        with pytest.raises(UsageError, match=both + why):
            read_decisions([one.parent, other.parent])
    recorded(other, "cat4-dog3.png")
    write(other, row("cat7-elephant1.png"))  # of which the record is not
    with pytest.raises(UsageError, match=f"{both}nothing says that they are of one network"):
        read_decisions([one.parent, other.parent])


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ("a/net", "b/net", False),
        ("a/net", "a/cue-conflict_net_session-1", False),
        ("a/cue-conflict_net_session-1", "a/cue-conflict_net_session-2", True),
        ("a/cue-conflict_net_session-1", "b/cue-conflict_net_session-2", True),
        ("a/cue-conflict_net_session-1", "b/cue-conflict_net_session-1", False),
        ("a/cue-conflict_net_session-1", "b/x-experiment_net_session-2", False),
    ],
)
def test_files_without_records_are_one_network_as_sessions_alone(
    one: str, other: str, joined: bool, tmp_path: Path
) -> None:
    files = [tmp_path / f"{name}.csv" for name in (one, other)]
    for file, image in zip(files, ("cat1-dog1.png", "cat4-dog3.png"), strict=True):
        write(file, row(image))
    if joined:
        (maker,) = read_decisions(files)
        assert (maker.name, len(maker.frame)) == ("net", 2)
        return
    with pytest.raises(UsageError, match="both go by the name of net, and nothing says"):
        read_decisions(files)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row()], r"bad\.csv, line 3: bad answers to cat7-elephant1 a second time"),
        ([row(), row("0002_x_cat7-elephant1.png")], r"line 3: bad answers to cat7-elephant1"),
        ([row(answer="kitten")], r"bad\.csv, line 2: object_response is 'kitten': did you mean"),
        ([row("cat7-unicorn1.png")], r"line 2: 'cat7-unicorn1.png' is not the name"),
        ([row(category="dog")], r"line 2: category is 'dog', but the shape is cat"),
        ([], r"bad\.csv holds no decisions"),
        ([row("cat99-dog99.png")], "line 2: cat99-dog99 is none of the 1280 published stimuli"),
        ([row(), "net,1,1,NaN,c"], "line 3 has 5 values for 8 columns; the file may be cut off"),
        ([row(subject="s" * 300)], "line 2: subj has over 200 characters"),
        ([row(subject="s" * 200_000)], r"field larger than field limit|over 1000 characters"),
        ([row(answer="x" * 5000)], "line 2 has a value of over 1000 characters"),
        ([row("a" * 5000)], "line 2 has a value of over 1000 characters"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_row(
    rows: list[str], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "bad.csv", *rows)
    with pytest.raises(UsageError, match=message):
        read_decisions([tmp_path / "bad.csv"])


def test_the_same_decision_maker_in_two_folders_answers_twice(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "net.csv", row())
    with pytest.raises(UsageError, match=r"b/net\.csv, line 2: net answers to .* a second time"):
        read_decisions([tmp_path / "a", tmp_path / "b"])


def test_missing_columns_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("subj,trial\nnet,1\n")
    with pytest.raises(UsageError, match=r"short\.csv lacks the columns session, rt, obj"):
        read_decisions([tmp_path / "short.csv"])
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UsageError, match=r"empty\.csv cannot be read as CSV"):
        read_decisions([tmp_path / "empty.csv"])
    with pytest.raises(UsageError, match="no such file or folder"):
        read_decisions([tmp_path / "nowhere"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"no \.csv files"):
        read_decisions([tmp_path / "folder"])


def test_written_files_are_read_back_and_have_the_eight_columns(tmp_path: Path) -> None:
    frame = decision_frame(
        ["cat1-dog1", "bear2-cat2"], ["cat", "bear"], ["dog", "cat"], ["dog", "na"]
    )
    Decisions("net", frame).save(tmp_path / "net.csv")
    raw = (tmp_path / "net.csv").read_bytes()
    assert b"\r" not in raw
    table = pd.read_csv(tmp_path / "net.csv", keep_default_na=False)
    assert tuple(table.columns) == COLUMNS
    assert table["rt"].tolist() == ["NaN", "NaN"]
    (back,) = read_decisions([tmp_path / "net.csv"])
    pd.testing.assert_frame_equal(back.frame, frame, check_dtype=False)


def test_quotes_marks_and_empty_lines(tmp_path: Path) -> None:
    quoted = ",".join(f'"{value}"' for value in row().split(","))
    text = "\ufeff" + HEADER + "\r\n" + quoted + "\r\n\r\n"
    (tmp_path / "net.csv").write_bytes(text.encode())
    (maker,) = read_decisions([tmp_path])
    assert maker.frame.iloc[0].tolist() == ["cat", "elephant", "cat"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1", "utf-8 with a NUL"])
def test_other_encodings_are_one_sentence(encoding: str, tmp_path: Path) -> None:
    text = f"{HEADER}\n{row(subject='café' if encoding == 'latin-1' else 'cafe')}\n"
    nul = "\0" if "NUL" in encoding else ""
    (tmp_path / "net.csv").write_bytes((text + nul).encode(encoding.partition(" ")[0]))
    with pytest.raises(UsageError, match=r"net\.csv cannot be read as CSV: it is no text in UTF-8"):
        read_decisions([tmp_path / "net.csv"])


def test_folders_follow_the_rule_for_files(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "content", row())
    folder = tmp_path / "decisions"
    write(folder / "b.csv", row())
    write(folder / "._b.csv", row("broken"))
    (folder / "a.csv").symlink_to(tmp_path / "elsewhere" / "content")
    (folder / "b.json").write_text("{}")
    (folder / "notes.txt").write_text("x")
    (folder / "Thumbs.db").write_text("x")
    os.mkfifo(folder / "pipe.csv")
    # A link has its own name: it may lead to one that says nothing.
    assert [maker.name for maker in read_decisions([folder, folder / "b.csv"])] == ["a", "b"]
    files, left_out = find_decision_files([folder])
    assert [file.name for file in files] == ["a.csv", "b.csv"]
    assert left_out == [("notes.txt", "not a .csv file"), ("pipe.csv", "not a regular file")]
    with pytest.raises(UsageError, match=r"pipe\.csv cannot be read as CSV: not a regular file"):
        read_decisions([folder / "pipe.csv"])
    with pytest.raises(UsageError, match="--decisions is empty"):
        read_decisions([""])


def test_a_part_of_the_decisions_is_marked(published_decisions: Path, tmp_path: Path) -> None:
    """A file that was cut at the end of a row looks whole."""
    names = {"alexnet_session-1": 700, "vgg16_session-1": 1281, "subject-01_session_1": 1000}
    for name, lines in names.items():
        file = f"style-transfer-512-nomask-experiment_{name}.csv"
        text = (published_decisions / file).read_text().splitlines(keepends=True)
        (tmp_path / file).write_text("".join(text[:lines]))
    file = "style-transfer-512-nomask-experiment_subject-02_session_1.csv"
    (tmp_path / file).symlink_to(published_decisions / file)
    rows = {row.name: row for row in decision_makers(read_decisions([tmp_path]), reference=False)}
    assert {name: row.stimuli for name, row in rows.items()} == {
        "humans": "PARTIAL: 999 to 1280 of 1280 stimuli",
        "subject-01": "PARTIAL: 999 of 1280 stimuli",
        "subject-02": "",
        "alexnet": "PARTIAL: 699 of 1280 stimuli",
        "vgg16": "",
    }
    notes = tables.notes(tables.shape_bias_table(list(rows.values())))
    assert "Stimuli: PARTIAL: 699 of 1280 stimuli (alexnet)." in notes
