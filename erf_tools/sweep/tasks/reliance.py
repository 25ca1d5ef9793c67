"""Reliance in a sweep: the table ``[reliance]`` of its study."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta

from erf_tools.choices import declared, values_of
from erf_tools.computing import Computing
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures
from erf_tools.images import PixelStore
from erf_tools.models.requests import Request, folder_name
from erf_tools.preprocessing import Preprocessing
from erf_tools.reliance.choices import Suppressing
from erf_tools.reliance.judged import JudgedImages, conflict_images, labelled_images
from erf_tools.reliance.result import SuppressedAnswers
from erf_tools.reliance.suppressions import chosen, variants
from erf_tools.sweep.sources import Sources, divided
from erf_tools.sweep.task import Opened, Published, Task, Text, removed_if_damaged, table
from erf_tools.text import dimensions

if TYPE_CHECKING:
    import pandas as pd

    from erf_tools.models.model import Model
    from erf_tools.sweep.plan import Measurement

_suppressed = PixelStore()  # the next network is shown the same images


@dataclass(frozen=True)
class JudgedShare:
    """What a unit measures.

    Attributes:
        judged: its images.
        seed: of what is random in their suppressions.
    """

    judged: JudgedImages
    seed: int


_Choices: Any = table(declared(Suppressing), Task)


class RelianceTask(_Choices):
    """The table ``[reliance]``: which cues are suppressed, in the study's images or in stimuli.

    Attributes:
        stimuli: cue-conflict stimuli in place of the study's images; as ``--stimuli``.
        allow_partial: as ``--allow-partial``.
        shard: about how many images make a unit of work.
    """

    table: ClassVar[str] = "reliance"

    stimuli: Text | None = None
    allow_partial: bool = False
    shard: Annotated[int, Meta(ge=1)] = 10

    def __post_init__(self) -> None:
        try:
            chosen(self.cues)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if self.allow_partial and not self.stimuli:
            raise ValueError("allow_partial is for stimuli; name them, or leave it out")

    @property
    def title(self) -> str:
        """What is measured."""
        return "reliance"

    @property
    def passes(self) -> int:
        """One for the image as it is, and one for each suppression at each strength."""
        return 1 + len(list(variants(chosen(self.cues))))

    def opened(self, sources: Sources) -> Opened:
        """Return the images with a label, or the stimuli, in shares."""
        judged = self._judged(sources)
        shares = [
            JudgedShare(replace(judged, images=judged.images[start:end]), sources.study.seed)
            for start, end in divided((1,) * len(judged.images), self.shard)
        ]
        identity = {
            "images": [
                [each.name, each.sha256, {name: list(own) for name, own in each.answers.items()}]
                for each in judged.images
            ],
            "shards": [len(share.judged.images) for share in shares],
        }
        return Opened(shares, len(judged.images), identity, {})

    def _judged(self, sources: Sources) -> JudgedImages:
        if self.stimuli:
            return conflict_images(open_stimuli(self.stimuli, self.allow_partial, sources.progress))
        labels = sources.study.images.labels
        return labelled_images(sources.selection(), Path(labels) if labels else None)

    def names(self, share: JudgedShare) -> list[str]:
        """Return the names of the images of a share."""
        return [image.name for image in share.judged.images]

    def marker(self, request: Request) -> Path:
        """Return where the rows go: beside the network's answers."""
        return Path(self.table, "decisions", f"{folder_name(request.model)}.parquet")

    def size(self, own: Preprocessing) -> tuple[int, int]:
        """Return height and width of the input."""
        return own.size, own.size

    def network(self, request: Request, seed: int, device: str, held: ExitStack) -> Model:
        """Return a network for its own size."""
        from erf_tools.models.loading import load_model

        return load_model(request.model, request.weights, seed, channels=request.channels)

    def measure(self, network: Model, share: JudgedShare, device: str, part: Path) -> None:
        """Write the answers to a share."""
        from erf_tools.reliance.deciding import answers

        suppressing = Suppressing(**values_of(declared(Suppressing), self))
        answers(
            network, share.judged, suppressing, share.seed, Computing(device=device), _suppressed
        ).save(part)

    def join(self, measurement: Measurement, parts: Sequence[Path], output: Path) -> pd.DataFrame:
        """Write the answers to all images, as the single command does."""
        import pandas as pd

        found = []
        for part in parts:
            with removed_if_damaged(part):
                found.append(SuppressedAnswers.load(part))
        whole = SuppressedAnswers.joined(found)
        if len(set(whole.names)) < len(whole.names):
            raise UsageError("an image is in two parts, which would count it twice")
        path = self.marker(measurement.request).with_suffix(".npz")
        whole.save(output / path)
        side = whole.setting["model"]["preprocessing"]["size"]
        return pd.DataFrame(
            {
                "model": [measurement.request.model],
                "weights": [whole.weights],
                "weights_sha256": [whole.setting["model"]["weights"]["sha256"]],
                "layer": "",
                "resolution": dimensions((side, side)),
                "images": len(whole.names),
                "file": [path.as_posix()],
            }
        )

    def publish(self, rows: pd.DataFrame, output: Path, failures: Failures) -> Published:
        """Write the tables and figures of ``erf-tools reliance``."""
        import pandas as pd

        from erf_tools.studies.reliance import write_reliance

        answers: list[SuppressedAnswers] = []
        files: list[str] = []
        for file in rows["file"]:
            with failures.alone(file):
                answers.append(SuppressedAnswers.load(output / file))
                files.append(file)
        if not answers:
            raise ErfToolsError("no answers can be read")
        written = write_reliance(answers, output / self.table, failures)
        measured = _by_network(written.table)
        known = rows[rows["file"].isin(files)].reset_index(drop=True)
        measures = [name for name in measured if not name.endswith(("_low", "_high"))]
        return Published(pd.concat([known, measured], axis=1), measures, written.files.written)


KIND = RelianceTask


def _by_network(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per network, without what is relative to an accuracy that is too low.

    Where several things are counted (shape and texture), columns begin with which.
    """
    import pandas as pd

    about = ["model", "weights", "counted", "images", "low_accuracy", "weights_sha256"]
    about += ["undecided", "undecided_changed"]
    measured = [name for name in table if name not in about]
    relative = [name for name in measured if not name.startswith("accuracy")]
    shown = table.copy()
    shown.loc[shown["low_accuracy"], relative] = float("nan")
    parts = [
        own[measured].reset_index(drop=True).add_prefix(f"{counted}_" * (counted != "accuracy"))
        for counted, own in shown.groupby("counted", sort=False)
    ]
    return pd.concat(parts, axis=1)
