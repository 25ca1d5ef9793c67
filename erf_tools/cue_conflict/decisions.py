"""Decisions: who answered what to which stimulus, and the eight-column files they come in.

The format is that of the published raw data (rgeirhos/texture-vs-shape, ``raw-data``), which the
toolbox model-vs-human reads as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from erf_tools.cue_conflict.categories import CATEGORIES, NO_ANSWER
from erf_tools.cue_conflict.stimuli import parse_name
from erf_tools.errors import UsageError, suggestion
from erf_tools.files import write_text

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

_PUBLISHED_FILE = re.compile(r".*-experiment_(?P<name>.+)_session[-_]\d+")
_OBSERVER = re.compile(r"subject-\d+")


@dataclass(frozen=True, eq=False)
class Decisions:
    """One decision maker's answers.

    Attributes:
        name: of the network or observer.
        frame: a row per stimulus, indexed by the stimulus' name (``cat7-elephant1``), with the
            columns ``shape``, ``texture`` (categories; equal where there is no conflict) and
            ``response`` (a category, or ``na``).
        provenance: what is known of how they were made, as JSON values.
    """

    name: str
    frame: pd.DataFrame
    provenance: Mapping[str, Any] = field(default_factory=dict)

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
        write_text(path, table.to_csv(index=False, lineterminator="\n"))


def decision_frame(
    stimuli: Sequence[str], shapes: Sequence[str], textures: Sequence[str], answers: Sequence[str]
) -> pd.DataFrame:
    """Return the frame of :class:`Decisions`, ordered by stimulus."""
    frame = pd.DataFrame(
        {"shape": shapes, "texture": textures, "response": answers},
        index=pd.Index(stimuli, name="stimulus"),
    )
    return frame.sort_index()


def read_decisions(sources: Sequence[str | Path]) -> list[Decisions]:
    """Read decision files and folders of them.

    A decision maker is identified by the *file*, since the same ``subj`` stands for different
    networks in different published files; only a file with several subjects is split by ``subj``.
    Sessions of one decision maker are put together.

    Raises:
        UsageError: a file is missing or malformed, a category is unknown, or a decision maker
            answers to an image twice; file and row are named.
    """
    rows: dict[str, list[pd.DataFrame]] = {}
    for path in _files(sources):
        for name, frame in _read(path).items():
            rows.setdefault(name, []).append(frame)
    makers = []
    for name, frames in rows.items():
        table = pd.concat(frames)
        twice = table[table["stimulus"].duplicated()]
        if len(twice):
            first = twice.iloc[0]
            raise UsageError(
                f"{first['file']}, line {first['line']}: {name} answers to "
                f"{first['stimulus']} a second time"
            )
        frame = decision_frame(
            table["stimulus"].tolist(),
            table["shape"].tolist(),
            table["texture"].tolist(),
            table["response"].tolist(),
        )
        files = sorted(set(table["file"]))
        makers.append(Decisions(name, frame, {"kind": "published decisions", "files": files}))
    return sorted(makers, key=lambda maker: (not maker.human, maker.name))


def _files(sources: Sequence[str | Path]) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        path = Path(source).expanduser()
        if path.is_dir():
            files = sorted(path.glob("*.csv"))
            if not files:
                raise UsageError(f"--decisions {path}: there are no .csv files in this folder")
            found += files
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"--decisions {path}: there is no such file or folder")
    return list(dict.fromkeys(file.resolve() for file in found))


def _read(path: Path) -> dict[str, pd.DataFrame]:
    try:
        # As text, or `na`, an answer, would become a missing value.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise UsageError(f"--decisions {path} cannot be read as CSV ({error})") from error
    absent = [column for column in COLUMNS if column not in table.columns]
    if absent:
        raise UsageError(f"--decisions {path} lacks the columns {', '.join(absent)}")
    if table.empty:
        raise UsageError(f"--decisions {path} holds no decisions")
    table = table.apply(lambda column: column.str.strip())
    images = [name.rsplit("_", 1)[-1].removesuffix(".png") for name in table["imagename"]]
    pairs = [parse_name(f"{image}.png") for image in images]
    for line, (pair, row) in enumerate(zip(pairs, table.itertuples(), strict=True), start=2):
        place = f"--decisions {path}, line {line}"
        if pair is None:
            raise UsageError(
                f"{place}: {row.imagename!r} is not the name of a cue-conflict stimulus "
                "(cat7-elephant1.png)"
            )
        if row.category != pair[0]:
            raise UsageError(f"{place}: category is {row.category!r}, but the shape is {pair[0]}")
        if row.object_response not in (*CATEGORIES, NO_ANSWER):
            raise UsageError(
                f"{place}: object_response is {row.object_response!r}: "
                f"{suggestion(row.object_response, CATEGORIES)}"
            )
    known = [pair for pair in pairs if pair is not None]
    read = pd.DataFrame(
        {
            "subj": table["subj"],
            "stimulus": images,
            "shape": [shape for shape, _ in known],
            "texture": [texture for _, texture in known],
            "response": table["object_response"],
            "file": str(path),
            "line": range(2, len(table) + 2),
        }
    )
    subjects = list(read["subj"].unique())
    if len(subjects) > 1:
        return {str(subject): group for subject, group in read.groupby("subj")}
    published = _PUBLISHED_FILE.fullmatch(path.stem)
    return {published["name"] if published else path.stem: read}
