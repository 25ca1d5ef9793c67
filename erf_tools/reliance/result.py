"""What one network answered to images under all suppressions: saved, loaded, gone on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erf_tools.errors import UsageError
from erf_tools.files import canonical_json, read_archive, understood, write_archive
from erf_tools.reliance.suppressions import Suppression, recorded
from erf_tools.text import visible


@dataclass(frozen=True, eq=False)
class SuppressedAnswers:
    """The answers of one network.

    Attributes:
        setting: all that they depend on but for the images, as JSON values.
        source: where the images come from, as JSON values.
        names: of the images.
        sha256: of the images.
        answers: ``[images, 1 + variants]``: the class, or the category's number; the first column
            is of the unchanged images.
        hits: by what is counted, which answers do, ``[images, 1 + variants]``.
        changes: ``[images, 1 + variants, 3]``; see
            :func:`erf_tools.reliance.changes.measure_changes`.
        chances: of guessing each image right, ``[images]``.
        example: the first image as it was changed, uint8 ``[224, 224, 3]``.
        tied: for which versions all classes, or categories, have the same score, so that the first
            is answered, ``[images, 1 + variants]``; ``None`` where it was not recorded.
    """

    setting: Mapping[str, Any]
    source: Mapping[str, Any]
    names: tuple[str, ...]
    sha256: tuple[str, ...]
    answers: np.ndarray
    hits: Mapping[str, np.ndarray]
    changes: np.ndarray
    chances: np.ndarray
    example: np.ndarray
    tied: np.ndarray | None = None

    @property
    def rows(self) -> tuple[Suppression, ...]:
        """The suppressions, in the order of the columns."""
        return recorded(self.setting)

    @property
    def name(self) -> str:
        """Of the network."""
        return str(self.setting["model"]["name"])

    @property
    def weights(self) -> str:
        """Its weights in a word or two."""
        return str(self.setting["model"]["weights"]["label"])

    @property
    def stimuli(self) -> tuple[str, ...] | None:
        """The names of stimuli, which share images; ``None`` of images that stand alone."""
        return self.names if "shape" in self.hits else None

    def to_frame(self) -> pd.DataFrame:
        """Return accuracy, profile and areas with their intervals, a row per what is counted.

        As :func:`~erf_tools.reliance.tables.reliance_table` has them.
        """
        from erf_tools.reliance.tables import reliance_table

        return reliance_table([self], self.rows)

    def curves(self) -> pd.DataFrame:
        """Return every strength, as :func:`~erf_tools.reliance.tables.curves_table` has them."""
        from erf_tools.reliance.tables import curves_table

        return curves_table([self], self.rows)

    def _repr_html_(self) -> str:
        from erf_tools.reliance.tables import readable

        shown = readable(self.to_frame(), self.rows).map(visible)
        return str(shown.to_html(index=False, border=0))

    @classmethod
    def joined(cls, parts: Sequence[SuppressedAnswers]) -> SuppressedAnswers:
        """Return the answers to several shares of the images, in their order, as one.

        Raises:
            UsageError: they depend on other things: weights, suppressions, versions.
        """
        first = parts[0]
        if len({canonical_json(part.setting) for part in parts}) > 1:
            raise UsageError(
                f"{first.name} had other weights or settings for some of its images, so that its "
                "answers do not add up"
            )

        def stacked(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts])

        return replace(
            first,
            source=parts[-1].source,
            names=tuple(name for part in parts for name in part.names),
            sha256=tuple(digest for part in parts for digest in part.sha256),
            answers=stacked("answers"),
            hits={name: np.concatenate([part.hits[name] for part in parts]) for name in first.hits},
            changes=stacked("changes"),
            chances=stacked("chances"),
            tied=None if any(part.tied is None for part in parts) else stacked("tied"),
        )

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
            "chances": self.chances,
            "example": self.example,
            **{f"hits_{name}": hits for name, hits in self.hits.items()},
            **({} if self.tied is None else {"tied": self.tied}),
        }
        write_archive(path, arrays, {"setting": dict(self.setting), "source": dict(self.source)})

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
                record["source"],
                tuple(arrays["names"].tolist()),
                tuple(arrays["sha256"].tolist()),
                arrays["answers"],
                {
                    name.removeprefix("hits_"): values
                    for name, values in sorted(arrays.items())
                    if name.startswith("hits_")
                },
                arrays["changes"],
                arrays["chances"],
                arrays["example"],
                arrays.get("tied"),
            )
