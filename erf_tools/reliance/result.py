"""What one network answered to images under all suppressions: saved, loaded, gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erf_tools.files import read_archive, understood, write_archive


@dataclass(frozen=True, eq=False)
class SuppressedAnswers:
    """The answers of one network.

    Attributes:
        setting: all that they depend on, as JSON values.
        names: of the images.
        sha256: of the images.
        answers: ``[images, 1 + variants]``: the class, or the category's number; the first column
            is of the unchanged images.
        hits: by what is counted, which answers do, ``[images, 1 + variants]``.
        changes: ``[images, 1 + variants, 3]``; see
            :func:`erf_tools.reliance.changes.measure_changes`.
        guess: share of hits that guessing gives.
    """

    setting: Mapping[str, Any]
    names: tuple[str, ...]
    sha256: tuple[str, ...]
    answers: np.ndarray
    hits: Mapping[str, np.ndarray]
    changes: np.ndarray
    guess: float

    @property
    def name(self) -> str:
        """Of the network."""
        return str(self.setting["model"]["name"])

    @property
    def weights(self) -> str:
        """Its weights in a word or two."""
        return str(self.setting["model"]["weights"]["label"])

    def save(self, path: Path) -> None:
        """Write it as ``.npz``, without pickle.

        Raises:
            OutputError: it cannot be written.
        """
        arrays = {
            "names": np.array(self.names),
            "sha256": np.array(self.sha256),
            "answers": self.answers,
            "changes": self.changes,
            **{f"hits_{name}": hits for name, hits in self.hits.items()},
        }
        write_archive(path, arrays, {"setting": dict(self.setting), "guess": self.guess})

    @classmethod
    def load(cls, path: Path) -> SuppressedAnswers:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: it is missing or damaged.
        """
        arrays, record = read_archive(path)
        with understood(path):
            return cls(
                record["setting"],
                tuple(arrays["names"].tolist()),
                tuple(arrays["sha256"].tolist()),
                arrays["answers"],
                {
                    name.removeprefix("hits_"): values
                    for name, values in sorted(arrays.items())
                    if name.startswith("hits_")
                },
                arrays["changes"],
                record["guess"],
            )
