"""Decision files: every published variant, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from erf_tools.cue_conflict.decisions import COLUMNS, Decisions, decision_frame, read_decisions
from erf_tools.errors import UsageError

HEADER = ",".join(COLUMNS)


def row(
    image: str = "cat7-elephant1.png", answer: str = "cat", subject: str = "net", category: str = ""
) -> str:
    category = category or "".join(c for c in image.split("_")[-1].split("-")[0] if c.isalpha())
    return f"{subject},1,1,NaN,{answer},{category},0,{image}"


def write(path: Path, *rows: str, end: str = "\n") -> Path:
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
    ],
)
def test_the_file_names_the_decision_maker(
    file: str, name: str, human: bool, tmp_path: Path
) -> None:
    write(tmp_path / file, row(subject="something-else"))
    (maker,) = read_decisions([tmp_path / file])
    assert (maker.name, maker.human) == (name, human)


def test_one_subject_in_two_files_is_two_decision_makers(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.csv", row(subject="net"))
    assert [maker.name for maker in read_decisions([tmp_path])] == ["one", "two"]


def test_a_file_of_several_subjects_is_split(tmp_path: Path) -> None:
    write(tmp_path / "all.csv", row(subject="subject-01"), row(subject="subject-02"))
    assert [maker.name for maker in read_decisions([tmp_path])] == ["subject-01", "subject-02"]


def test_sessions_are_put_together(tmp_path: Path) -> None:
    for session, image in ((1, "cat1-dog1.png"), (2, "cat2-dog1.png")):
        write(tmp_path / f"x-experiment_subject-01_session_{session}.csv", row(image))
    (maker,) = read_decisions([tmp_path])
    assert len(maker.frame) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row()], r"bad\.csv, line 3: bad answers to cat7-elephant1 a second time"),
        ([row(), row("0002_x_cat7-elephant1.png")], r"line 3: bad answers to cat7-elephant1"),
        ([row(answer="kitten")], r"bad\.csv, line 2: object_response is 'kitten': did you mean"),
        ([row("cat7-unicorn1.png")], r"line 2: 'cat7-unicorn1.png' is not the name"),
        ([row(category="dog")], r"line 2: category is 'dog', but the shape is cat"),
        ([], r"bad\.csv holds no decisions"),
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
        ["cat1-dog1", "bear1-cat2"], ["cat", "bear"], ["dog", "cat"], ["dog", "na"]
    )
    Decisions("net", frame).save(tmp_path / "net.csv")
    raw = (tmp_path / "net.csv").read_bytes()
    assert b"\r" not in raw
    table = pd.read_csv(tmp_path / "net.csv", keep_default_na=False)
    assert tuple(table.columns) == COLUMNS
    assert table["rt"].tolist() == ["NaN", "NaN"]
    (back,) = read_decisions([tmp_path / "net.csv"])
    pd.testing.assert_frame_equal(back.frame, frame, check_dtype=False)
