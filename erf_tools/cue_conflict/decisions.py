"""Decisions: who answered what to which stimulus, and the files they come in.

The eight columns are those of the published raw data (rgeirhos/texture-vs-shape, ``raw-data``),
which the toolbox model-vs-human reads as well. Files of labels, as of Gavrikov et al., ICLR 2025
(paulgavrikov/vlm_shapebias, ``raw-data``), are read too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from erf_tools.csv_files import Row, read_rows
from erf_tools.cue_conflict.categories import NO_ANSWER, SIXTEEN, Categories
from erf_tools.cue_conflict.scores import SCORES, Scores
from erf_tools.cue_conflict.stimulus_sets import TOTAL, parse_name, published_names
from erf_tools.errors import UsageError, suggestion
from erf_tools.files import file_sha256, read_json
from erf_tools.folders import Remark, find_files, given_path, shown
from erf_tools.records import differing_values
from erf_tools.tables import read_csv, write_csv
from erf_tools.text import first_few

COLUMNS = (
    "subj",
    "session",
    "trial",
    "rt",
    "object_response",
    "category",
    "condition",
    "imagename",
)

#: Of files of labels; a column ``pred_conf`` may say how sure a decision is.
LABEL_COLUMNS = ("image", "pred_label")

#: How no answer is written.
_NO_ANSWERS = (NO_ANSWER, "None")

#: As published with the stimuli, and by model-vs-human.
_PUBLISHED_FILE = re.compile(
    r"(?P<of>(?:.*-experiment|cue-conflict)_(?P<name>.+)_session)[-_](?P<session>\d+)"
)
#: Published as subject-01, and written subject_01 or Subject-01 by others.
_OBSERVER = re.compile(r"subject[-_](?P<number>\d+)", re.IGNORECASE)

#: Suffixes of decisions, of how they were made, and of the scores they were made by.
_BESIDE = (".csv", ".json", SCORES)

#: Of what is recorded beside decisions, what may differ between those of one network.
_OF_A_RUN = ("stimuli", "sha256", "device", "batch", "refused", "undecided")

#: Characters of a name; it is drawn, and becomes the name of a file.
_LONGEST_NAME = 200


@dataclass(frozen=True, eq=False)
class Decisions:
    """One decision maker's answers.

    Attributes:
        name: of the network or observer.
        frame: a row per stimulus, indexed by the stimulus' name (``cat7-elephant1``), with the
            columns ``shape``, ``texture`` (categories; equal where there is no conflict) and
            ``response`` (a category, or ``na``); and ``confidence``, where a file says it.
        provenance: what is known of how they were made, as JSON values.
        scores: that they were made by, of the same stimuli; ``None`` where they are not known.
        categories: among which was decided.
    """

    name: str
    frame: pd.DataFrame
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scores: Scores | None = None
    categories: Categories = SIXTEEN

    @property
    def human(self) -> bool:
        """Whether this is a human observer (``subject-01``)."""
        return bool(_OBSERVER.fullmatch(self.name))

    def save(self, path: Path) -> None:
        """Write the eight columns: LF, the published order of columns, ``NaN`` for ``rt``."""
        table = pd.DataFrame(
            {
                "subj": self.name,
                "session": 1,
                "trial": range(1, len(self.frame) + 1),
                "rt": "NaN",
                "object_response": self.frame["response"],
                "category": self.frame["shape"],
                "condition": 0,
                "imagename": [f"{stimulus}.png" for stimulus in self.frame.index],
            }
        )
        write_csv(table, path)


def load_frame(path: Path, categories: Categories = SIXTEEN) -> pd.DataFrame:
    """Return the frame of :class:`Decisions` that were saved; of single-cue stimuli as well.

    Args:
        path: the file.
        categories: of the stimuli.

    Raises:
        UsageError: the file is missing or cannot be read.
    """
    table = read_csv(path)
    in_pairs = len(categories.cues) > 1
    pairs = [parse_name(name, categories) if in_pairs else None for name in table["imagename"]]
    shapes = table["category"].tolist()
    return decision_frame(
        [name.removesuffix(".png") for name in table["imagename"]],
        shapes,
        [pair[1] if pair else shape for pair, shape in zip(pairs, shapes, strict=True)],
        table["object_response"].tolist(),
    )


def decision_frame(
    stimuli: Sequence[str],
    shapes: Sequence[str],
    textures: Sequence[str],
    answers: Sequence[str],
    confidences: Sequence[float] = (),
) -> pd.DataFrame:
    """Return the frame of :class:`Decisions`, ordered by stimulus; confidences if all are known."""
    columns: dict[str, Sequence[Any]] = {
        "shape": shapes,
        "texture": textures,
        "response": answers,
    }
    if len(confidences) and not any(isnan(confidence) for confidence in confidences):
        columns["confidence"] = confidences
    return pd.DataFrame(columns, index=pd.Index(stimuli, name="stimulus")).sort_index()


def read_decisions(
    sources: Sequence[str | Path], categories: Categories = SIXTEEN
) -> list[Decisions]:
    """Read decision files and folders of them.

    A decision maker is identified by the *file*, since the same ``subj`` stands for different
    networks in different published files; only an observer (``subject-01``, and ``Subject_01`` is
    the same one), and a file with several subjects, go by ``subj``. Files of one decision maker are
    put together where it is known to be one: those of an observer, those that are named as sessions
    in the published way, and those of which the records that ``erf-tools shape-bias`` has written
    beside them name one network, deciding in one way.

    Args:
        sources: files and folders.
        categories: among which was decided. Of the published ones, each stimulus has to be one that
            was published.

    Raises:
        UsageError: a file is missing or malformed, a category is unknown, a stimulus was never
            published, a decision maker answers to an image twice, or two files of one name may be
            of two networks; file and row are named.
    """
    rows: dict[str, list[pd.DataFrame]] = {}
    for path in find_decision_files(sources)[0]:
        for name, frame in _read(path, categories).items():
            rows.setdefault(name, []).append(frame)
    makers = []
    for name, frames in rows.items():
        table = pd.concat(frames)
        twice = table[table["stimulus"].duplicated()]
        if len(twice):
            first = twice.iloc[0]
            raise UsageError(
                f"{first['place']}: {name} answers to {first['stimulus']} a second time; a file "
                "of another decision maker needs another name"
            )
        frame = decision_frame(
            table["stimulus"].tolist(),
            table["shape"].tolist(),
            table["texture"].tolist(),
            table["response"].tolist(),
            table["confidence"].tolist(),
        )
        files = sorted(set(table["file"]))
        if not _OBSERVER.fullmatch(name):
            for one, other in combinations(files, 2):
                _check_one_network(name, Path(one), Path(other))
        known: dict[str, Any] = {"kind": "published decisions", "files": files}
        if categories.file:
            known["categories_file"] = categories.file
        makers.append(Decisions(name, frame, known, categories=categories))
    return sorted(makers, key=lambda maker: (not maker.human, maker.name))


def _check_one_network(name: str, one: Path, other: Path) -> None:
    """See that two files of decisions are of one network: by their records, or as sessions."""
    ours, theirs = _record_of(one), _record_of(other)
    why = "nothing says that they are of one network"
    if ours and theirs:
        differing = [found for found, *_ in differing_values(ours, theirs)]
        if not differing:
            return
        why = f"their records differ in {first_few(differing)}"
    elif _are_sessions(one, other):
        return
    raise UsageError(
        f"--decisions {one} and {other} both go by the name of {name}, and {why}: rename one of "
        "them if they are of two networks, else put their rows into one file"
    )


def _are_sessions(one: Path, other: Path) -> bool:
    """Tell whether files go by names of two sessions of one decision maker, as published."""
    ours, theirs = (_PUBLISHED_FILE.fullmatch(shown(path.stem)) for path in (one, other))
    if not (ours and theirs and ours["of"] == theirs["of"]):
        return False
    return int(ours["session"]) != int(theirs["session"])


def _record_of(path: Path) -> dict[str, Any] | None:
    """Return what was recorded of the network beside decisions; ``None`` if that is not known."""
    try:
        record = read_json(path.with_suffix(".json"))
    except UsageError:
        return None
    digests = record.get("sha256")
    if not isinstance(digests, dict) or digests.get("decisions") != file_sha256(path):
        return None  # it is of other decisions
    return {key: value for key, value in record.items() if key not in _OF_A_RUN}


def find_decision_files(sources: Sequence[str | Path]) -> tuple[list[Path], list[Remark]]:
    """Return the decision files among files and folders, and what in the folders is none.

    Raises:
        UsageError: there is no such file or folder, or there are none in it.
    """
    found: list[Path] = []
    left_out: list[Remark] = []
    for source in sources:
        path = given_path(source, "--decisions")
        if not path.is_dir():
            if not path.exists():
                raise UsageError(f"--decisions {path}: there is no such file or folder")
            found.append(path)
            continue
        inside = find_files(path, nested=False)
        files = [file for _, file in inside.files if file.suffix.lower() == ".csv"]
        if not files:
            raise UsageError(f"--decisions {path}: there are no .csv files in this folder")
        known = {file.with_suffix(suffix) for file in files for suffix in _BESIDE}
        left_out += [(name, "not a .csv file") for name, file in inside.files if file not in known]
        left_out += inside.left_out
        found += files
    # A file that is given twice is one file; it keeps the name it goes by, as a link too.
    once: dict[str, Path] = {}
    for file in found:
        once.setdefault(os.path.realpath(file), Path(os.path.abspath(file)))
    return list(once.values()), left_out


def _read(path: Path, categories: Categories) -> dict[str, pd.DataFrame]:
    rows = read_rows(path, "--decisions", COLUMNS, LABEL_COLUMNS)
    if not rows:
        raise UsageError(f"--decisions {path} holds no decisions")
    labels = any(column not in rows[0].values for column in COLUMNS)
    image, answer = LABEL_COLUMNS if labels else ("imagename", "object_response")
    decided = []
    for row in rows:
        stimulus, pair = _stimulus(row, image, categories)
        response = NO_ANSWER if row[answer] in _NO_ANSWERS else row[answer]
        if response not in (*categories.names, NO_ANSWER):
            near = suggestion(response, categories.names)
            raise UsageError(f"{row.place}: {answer} is {response!r}: {near}")
        subject, confidence = "", nan
        if labels:
            confidence = _confidence(row)
        else:
            subject = _as_published(row["subj"])
            if row["category"] != pair[0]:
                raise UsageError(
                    f"{row.place}: category is {row['category']!r}, but the "
                    f"{categories.cues[0]} is {pair[0]}"
                )
            if len(subject) > _LONGEST_NAME:
                raise UsageError(f"{row.place}: subj has over {_LONGEST_NAME} characters")
        decided.append((subject, stimulus, *pair, response, confidence, str(path), row.place))
    columns = ["subj", "stimulus", "shape", "texture", "response", "confidence", "file", "place"]
    read = pd.DataFrame(decided, columns=columns)
    subjects = [str(subject) for subject in read["subj"].unique()]
    if len(subjects) > 1:
        return {str(subject): group for subject, group in read.groupby("subj")}
    if _OBSERVER.fullmatch(subjects[0]):
        return {subjects[0]: read}
    published = _PUBLISHED_FILE.fullmatch(shown(path.stem))
    return {_as_published(published["name"] if published else shown(path.stem)): read}


def _as_published(name: str) -> str:
    """Return the name of an observer as it is in published files, and others as they are."""
    observer = _OBSERVER.fullmatch(name)
    return f"subject-{observer['number']}" if observer else name


def _stimulus(row: Row, column: str, categories: Categories) -> tuple[str, tuple[str, str]]:
    """Return which stimulus a row is about, and its shape and texture."""
    # model-vs-human writes what it knows of a trial before the name, in parts between "_".
    parts = row[column].removesuffix(".png").split("_")
    names = ("_".join(parts[place:]) for place in range(len(parts)))
    pairs = ((each, parse_name(f"{each}.png", categories)) for each in names)
    name, pair = next(((each, own) for each, own in pairs if own), ("", None))
    if pair is None:
        raise UsageError(
            f"{row.place}: {row[column]!r} is not the name of a cue-conflict stimulus "
            "(cat7-elephant1.png)"
        )
    if categories.as_published and f"{name}.png" not in published_names():
        raise UsageError(f"{row.place}: {name} is none of the {TOTAL} published stimuli")
    return name, pair


def _confidence(row: Row) -> float:
    """Return how sure a decision is; NaN where the file does not say it."""
    text = row.values.get("pred_conf")
    if text is None:
        return nan
    try:
        confidence = float(text)
    except ValueError:
        confidence = nan
    if not 0 <= confidence <= 1:
        raise UsageError(f"{row.place}: pred_conf is {text!r}; it is a number from 0 to 1")
    return confidence
