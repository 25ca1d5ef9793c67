"""ERFs in a sweep: the tables ``[[erf]]`` of its study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from erf_tools.choices import declared, values_of
from erf_tools.computing import EXACT, Computing
from erf_tools.erf.parts import Part, group_lengths, join, joined_runs, load_parts, save_parts
from erf_tools.erf.procedure import DEFAULT_RESOLUTION, PROCEDURE, Procedure
from erf_tools.errors import UsageError
from erf_tools.failures import Failures
from erf_tools.images import PixelStore, Selection, identities
from erf_tools.models.requests import Layers, Request, folder_name
from erf_tools.preprocessing import Preprocessing
from erf_tools.sweep.sources import Sources, divided
from erf_tools.sweep.task import Opened, Published, Task, removed_if_damaged, table

if TYPE_CHECKING:
    import pandas as pd

    from erf_tools.erf.measuring import MeasurableNetwork
    from erf_tools.sweep.plan import Measurement

#: Columns of the ERF table that are measured in other ways.
_SINGLE = ("theoretical_height", "theoretical_width", "top1", "top1_natively")

_pixels = PixelStore()  # the next network is shown the same images


@dataclass(frozen=True)
class Share:
    """What a unit measures.

    Attributes:
        images: its images.
        lengths: of the groups of them whose sums are kept for intervals.
        labels: classes that the study's table gives; ``None`` without a table.
    """

    images: Selection
    lengths: tuple[int, ...]
    labels: Mapping[str, int] | None = None


_Choices: Any = table((*PROCEDURE, *declared(Layers), EXACT), Task)


class ErfTask(_Choices):
    """A table ``[[erf]]``: what can be chosen of the procedure, and of which layers.

    Attributes:
        name: of its results; the protocol's by default.
    """

    table: ClassVar[str] = "erf"
    repeatable: ClassVar[bool] = True

    name: str = ""

    def __post_init__(self) -> None:
        try:
            self._procedure(), self._layers()
        except UsageError as error:
            raise ValueError(str(error)) from error

    @property
    def title(self) -> str:
        """Name of its results."""
        return self.name or self._procedure().protocol.name

    @property
    def passes(self) -> int:
        """Forward and back."""
        return 2

    def opened(self, sources: Sources) -> Opened:
        """Return the study's images in shares of whole groups, which do not depend on its size."""
        selection, labels = sources.selection(), sources.labels
        shares = [
            Share(images, lengths, _of(images, labels))
            for images, lengths in self.shares(selection, sources.study.images.shard)
        ]
        identity = {
            "images": identities(selection.images),
            "shards": [share.lengths for share in shares],
            "labels": labels,
        }
        return Opened(shares, len(selection), identity, {"labels": sources.study.images.labels})

    def shares(self, selection: Selection, about: int) -> list[tuple[Selection, tuple[int, ...]]]:
        """Return the images of each unit, and the lengths of the groups that they make."""
        side = self.resolution or DEFAULT_RESOLUTION
        lengths = group_lengths(len(selection), (side, side))
        found: list[tuple[Selection, tuple[int, ...]]] = []
        start = 0
        for first, last in divided(lengths, about):
            own = lengths[first:last]
            images = selection.images[start : start + sum(own)]
            found.append((replace(selection, images=images), own))
            start += sum(own)
        return found

    def names(self, share: Share) -> list[str]:
        """Return the names of the images of a share."""
        return [image.name for image in share.images.images]

    def marker(self, request: Request) -> Path:
        """Return where the rows go: beside the network's results."""
        return Path(self.table, folder_name(self.title), request.folder, "measured.parquet")

    def size(self, own: Preprocessing) -> tuple[int, int]:
        """Return height and width of the input."""
        return self._procedure().size(own)

    def network(
        self, request: Request, seed: int, device: str, held: ExitStack
    ) -> MeasurableNetwork:
        """Return a network with its layers ready to be measured."""
        from erf_tools.erf.measuring import measurable
        from erf_tools.studies.requested import find_layers, load_requested

        procedure = self._procedure()
        model = load_requested(request, procedure, seed)
        taps = find_layers(model, self._layers())
        computing = Computing(self.exact, device=device)
        return held.enter_context(measurable(model, procedure, taps, computing))

    def measure(self, network: MeasurableNetwork, share: Share, device: str, part: Path) -> None:
        """Write the sums of the maps of a share."""
        from erf_tools.models.accuracy import find_labels

        labels = find_labels(share.images.images) if share.labels is None else share.labels
        save_parts(part, network.measure(share.images, share.lengths, labels, store=_pixels))

    def join(self, measurement: Measurement, parts: Sequence[Path], output: Path) -> pd.DataFrame:
        """Write ``erf.npz`` of each layer, and what shows it."""
        import pandas as pd

        from erf_tools.erf.tables import erf_table
        from erf_tools.studies.erf import write_result

        place, labels = self.marker(measurement.request).parent, measurement.whole["labels"]
        tables = []
        for index in range(len(_read(parts[0]))):
            result = join(_read(part, index)[0] for part in parts)
            result = replace(result, runs=joined_runs(result.runs))
            own = place / self._layers().folder(result.setting["tap"]["name"])
            result = write_result(result, output / own, Path(labels) if labels else None)
            tables.append(erf_table([result]).assign(file=(own / "erf.npz").as_posix()))
        return pd.concat(tables, ignore_index=True)

    def publish(self, rows: pd.DataFrame, output: Path, failures: Failures) -> Published:
        """Write the ERF table of all networks, and pictures that were lost since."""
        from erf_tools.erf.measures import MEASURES
        from erf_tools.erf.shown_tables import write_erf_table
        from erf_tools.studies.erf import show_again

        for file in rows["file"]:
            with failures.alone(file):
                show_again((output / file).parent)
        files: list[Path] = []
        with failures.alone(f"erf_table of {self.title}"):
            stem = output / self.table / folder_name(self.title) / "erf_table"
            files += write_erf_table(rows.drop(columns="file"), stem)
        return Published(rows, [*MEASURES, *_SINGLE], files)

    def _procedure(self) -> Procedure:
        return Procedure().varied(**values_of(PROCEDURE, self))

    def _layers(self) -> Layers:
        return Layers(**values_of(declared(Layers), self))


KIND = ErfTask


def _of(images: Selection, labels: Mapping[str, int] | None) -> dict[str, int] | None:
    if labels is None:
        return None
    return {image.name: labels[image.name] for image in images.images if image.name in labels}


def _read(part: Path, layer: int | None = None) -> list[Part]:
    with removed_if_damaged(part):
        return load_parts(part, layer)
