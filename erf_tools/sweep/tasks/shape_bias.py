"""Decisions in a sweep: the table ``[shape_bias]`` of its study."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta

from erf_tools.choices import declared, values_of
from erf_tools.computing import Computing
from erf_tools.cue_conflict.categories import SIXTEEN, Categories
from erf_tools.cue_conflict.choices import Deciding, StimulusChoices
from erf_tools.cue_conflict.scores import SCORES
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.cue_conflict.stimulus_sets import SIDE, StimulusSet
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures
from erf_tools.files import read_archive, write_archive
from erf_tools.models.requests import Request, folder_name
from erf_tools.preprocessing import Preprocessing
from erf_tools.sweep.sources import Sources, divided
from erf_tools.sweep.task import Opened, Published, Task, removed_if_damaged, table
from erf_tools.text import dimensions

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from erf_tools.models.model import Model
    from erf_tools.sweep.plan import Measurement

#: How the names of a part's scores begin.
_SCORE = "score of "

_Choices: Any = table((*declared(StimulusChoices), *declared(Deciding)), Task)


class ShapeBiasTask(_Choices):
    """The table ``[shape_bias]``: on which stimuli (cue conflict only), and how it is decided.

    Attributes:
        shard: about how many stimuli make a unit of work.
    """

    table: ClassVar[str] = "shape_bias"
    beside: ClassVar[tuple[str, ...]] = (".json", SCORES)

    shard: Annotated[int, Meta(ge=1)] = 320

    @property
    def title(self) -> str:
        """What is measured, and by which preset."""
        return f"shape-bias {self.preset}"

    def opened(self, sources: Sources) -> Opened:
        """Return the stimuli in shares."""
        from erf_tools.models.zero_shot import EIGHTY, read_templates

        stimuli = open_stimuli(self.stimuli, self.allow_partial, sources.progress, self._categories)
        if not stimuli.conflict:
            raise UsageError(
                f"{stimuli.source} holds single-cue stimuli, which have no shape bias; use "
                "erf-tools shape-bias"
            )
        shares = [
            replace(stimuli, stimuli=stimuli.stimuli[start:end])
            for start, end in divided((1,) * len(stimuli), self.shard)
        ]
        identity = {
            # The eighty change with their library alone.
            "prompts": None if self.prompts == EIGHTY else read_templates(self.prompts),
            "stimuli": stimuli.sha256,
            "categories": stimuli.categories.record(),
            "shards": [len(share) for share in shares],
        }
        whole = {"stimuli": {**stimuli.record(), "label": stimuli.label}}
        return Opened(shares, len(stimuli), identity, whole)

    def names(self, share: StimulusSet) -> list[str]:
        """Return the names of the stimuli of a share."""
        return [stimulus.name for stimulus in share.stimuli]

    def marker(self, request: Request) -> Path:
        """Return where the rows go: beside the network's decisions."""
        return Path(self.table, "decisions", f"{folder_name(request.model)}.parquet")

    def size(self, own: Preprocessing) -> tuple[int, int]:
        """Return height and width of the input."""
        side = SIDE if self.preset == "mvh" else own.size
        return side, side

    def network(self, request: Request, seed: int, device: str, held: ExitStack) -> Model:
        """Return a network for the size at which it is shown stimuli."""
        from erf_tools.studies.shape_bias import load_deciding

        return load_deciding(request, self._deciding(), seed, self._categories)

    def measure(self, network: Model, share: StimulusSet, device: str, part: Path) -> None:
        """Write the decisions on a share, and how they were made."""
        from erf_tools.cue_conflict.classify import decide

        made = decide(network, share, self._deciding(), computing=Computing(device=device))
        assert made.scores
        frame = made.frame.reset_index()
        arrays = {column: frame[column].to_numpy(dtype=str) for column in frame}
        scores = made.scores.table
        arrays |= {f"{_SCORE}{column}": scores[column].to_numpy() for column in scores}
        write_archive(part, arrays, dict(made.provenance))

    def join(self, measurement: Measurement, parts: Sequence[Path], output: Path) -> pd.DataFrame:
        """Write the decisions on all stimuli in the published format."""
        import numpy as np
        import pandas as pd

        from erf_tools.cue_conflict.decisions import Decisions, decision_frame
        from erf_tools.cue_conflict.scores import Scores
        from erf_tools.studies.shape_bias import save_decisions

        arrays: dict[str, list[np.ndarray]] = {}
        records = []
        for part in parts:
            with removed_if_damaged(part):
                own, record = read_archive(part)
            for column, values in own.items():
                arrays.setdefault(column, []).append(values)
            records.append(record)
        provenance = {**records[0], **measurement.whole}
        model = provenance["model"]
        if any(record["model"] != model for record in records):
            raise UsageError(f"{model['name']} had other weights for some of its stimuli")
        table = {column: np.concatenate(values) for column, values in arrays.items()}
        names = table["stimulus"].tolist()
        frame = decision_frame(
            names, *(table[column].tolist() for column in ("shape", "texture", "response"))
        )
        if not frame.index.is_unique:
            raise UsageError("a stimulus is in two parts, which would count it twice")
        numbers = {
            column.removeprefix(_SCORE): values
            for column, values in table.items()
            if column.startswith(_SCORE)
        }
        scores = Scores.of_table(pd.DataFrame(numbers, index=names))
        path = self.marker(measurement.request).with_suffix(".csv")
        made = Decisions(model["name"], frame, provenance, scores, self._categories)
        save_decisions(made, output / path)
        return pd.DataFrame(
            {
                "model": [measurement.request.model],
                "weights": [model["weights"]["label"]],
                "weights_sha256": [model["weights"]["sha256"]],
                "file": [path.as_posix()],
            }
        )

    def publish(self, rows: pd.DataFrame, output: Path, failures: Failures) -> Published:
        """Write the tables and figures of ``erf-tools shape-bias``."""
        from erf_tools.cue_conflict.makers import decision_makers
        from erf_tools.studies.shape_bias import load_decisions, write_shape_bias

        decided, files = [], []
        for file in rows["file"]:
            with failures.alone(file):
                decided.append(load_decisions(output / file))
                files.append(file)
        if not decided:
            raise ErfToolsError("no decisions can be read")
        written = write_shape_bias(decision_makers(decided), output / self.table, failures)
        own = [made.name for made in decided]
        networks = written.table.set_index("model").loc[own].reset_index()
        table = networks.rename(columns={"total": "images"}).assign(
            layer="",
            resolution=[dimensions(made.provenance["input"]) for made in decided],
            file=files,
        )
        return Published(
            table, ("shape_bias", "coverage", "mean_of_categories"), written.files.written
        )

    @property
    def _categories(self) -> Categories:
        if self.categories is None:
            return SIXTEEN
        from erf_tools.cue_conflict.category_files import read_categories

        return read_categories(self.categories)

    def _deciding(self) -> Deciding:
        return Deciding(**values_of(declared(Deciding), self))


KIND = ShapeBiasTask
