"""What the tasks of a study have in common: its images, read and checked once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from erf_tools.errors import UsageError
from erf_tools.images import Selection, select

if TYPE_CHECKING:
    from erf_tools.sweep.study import StudyFile


class Sources:
    """The images of a study.

    Args:
        study: the study.
        progress: show the progress of downloads.

    Attributes:
        study: the study.
        progress: show the progress of downloads.
        selected: its images; ``None`` as long as no task asked for them.
    """

    def __init__(self, study: StudyFile, progress: bool = False) -> None:
        self.study, self.progress = study, progress
        self.selected: Selection | None = None

    def selection(self) -> Selection:
        """Return the study's images.

        Raises:
            UsageError: there are none.
        """
        if self.selected is None:
            images = self.study.images
            self.selected = select(images.source, images.count, images.order, self.study.seed)
        return self.selected

    @cached_property
    def labels(self) -> dict[str, int] | None:
        """The classes of the images that the study's table gives; ``None`` without a table.

        Raises:
            UsageError: there is no such table, or it names none of the images.
        """
        if not self.study.images.labels:
            return None
        labels = Path(self.study.images.labels)
        if not labels.is_file():
            raise UsageError(f"images.labels {labels}: there is no such file")
        from erf_tools.models.accuracy import find_labels  # with torch, which no plan needs else

        return find_labels(self.selection().images, labels, classes=None)


def divided(lengths: tuple[int, ...], about: int) -> Iterator[tuple[int, int]]:
    """Yield slices of ``lengths`` whose sums are as near to ``about`` as they can evenly be."""
    count = min(max(round(sum(lengths) / about), 1), len(lengths))
    yield from pairwise(len(lengths) * index // count for index in range(count + 1))
