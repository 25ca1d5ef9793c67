"""What a head says beyond its decision: a number for each category, and ranks among all classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from erf_tools.files import atomic_path

#: Suffix of their files.
SCORES = ".scores.parquet"

#: Columns of such a file behind those of the categories.
_RANKS = {"shape": "rank of shape", "texture": "rank of texture"}


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one network on some stimuli.

    Attributes:
        categories: indexed by the stimulus, a float32 column per category: what the probabilities
            of its classes come to, in [0, 1], or that over its sum where float32 has no room for
            it. The largest is the decision.
        ranks: indexed alike; columns ``shape`` and ``texture``: the rank, from 1, of the best class
            of the stimulus' shape and texture category among all classes of the head.
    """

    categories: pd.DataFrame
    ranks: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """Both in one table, as it is written: a column per category, then two of ranks."""
        ranks = self.ranks.astype("int32").rename(columns=_RANKS)
        return self.categories.astype("float32").join(ranks)

    @classmethod
    def of_table(cls, table: pd.DataFrame) -> Scores:
        """Return the scores of which :attr:`table` is given, ordered by stimulus.

        Raises:
            KeyError: it lacks the ranks.
        """
        table = table.rename_axis("stimulus").sort_index()
        names = list(_RANKS.values())
        ranks = table[names].set_axis(list(_RANKS), axis=1)
        return cls(table.drop(columns=names).astype("float32"), ranks.astype("int32"))

    def save(self, path: Path) -> None:
        """Write :attr:`table` as Parquet, atomically: about 110 bytes a stimulus."""
        with atomic_path(path) as temporary:
            self.table.to_parquet(temporary)

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Read what :meth:`save` wrote; raises what pandas raises of a file that is damaged."""
        return cls.of_table(pd.read_parquet(path))
