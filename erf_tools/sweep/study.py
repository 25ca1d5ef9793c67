"""Study files: which models a sweep measures, over which images, and what of them, in TOML.

Names and meanings are those of the options of ``erf-tools erf``, ``shape-bias`` and ``reliance``;
paths are relative to the folder in which the command is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from erf_tools.choices import declared
from erf_tools.errors import UsageError
from erf_tools.image_choices import ImageChoices
from erf_tools.models.requests import Request, check_folders, requests
from erf_tools.numbers import LARGEST_SEED
from erf_tools.sweep.task import Task, Text, table
from erf_tools.sweep.tasks import KINDS

#: Of a process; more than any machine has, and torch dies of far more.
MOST_THREADS = 1024

#: Bytes of a study file; a device, or a file of another kind, is not read on and on.
_LONGEST = 2**20


class ListedModels(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table ``[[models]]``.

    Attributes:
        names: as ``--model``.
        weights: as ``--weights``: one choice for all of them.
        channels: as ``--channels``.
    """

    names: tuple[Text, ...]
    weights: Text = "pretrained"
    channels: Literal[1, 3, 4] = 3


_Choices: Any = table(declared(ImageChoices))


class Images(_Choices):
    """The table ``[images]``: what :class:`~erf_tools.image_choices.ImageChoices` declares.

    Attributes:
        shard: about how many make a unit of work.
    """

    shard: Annotated[int, Meta(ge=1)] = 50


class StudyFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A study as its file describes it, but for the tables of its tasks.

    Attributes:
        output: folder for the results.
        models: networks with their weights.
        images: for the tasks that are measured over images.
        seed: of random weights and of the order of images.
        threads: of each process on a CPU; ``None`` for as many as there are cores. The last bits
            of results can depend on it.
        slurm: parameters of a cluster's jobs, as submitit names them.
        ray: ``num_cpus`` and ``num_gpus`` of each worker, as Ray names them.
    """

    output: Text
    models: tuple[ListedModels, ...]
    images: Images = Images()
    seed: Annotated[int, Meta(ge=0, le=LARGEST_SEED)] = 0
    threads: Annotated[int, Meta(ge=1, le=MOST_THREADS)] | None = None
    slurm: Mapping[str, Any] = msgspec.field(default_factory=dict)
    ray: Mapping[str, float] = msgspec.field(default_factory=dict)

    @property
    def tasks(self) -> list[Task]:
        """What is measured of each network."""
        tables = [getattr(self, kind.table, None) for kind in KINDS]
        return [
            task
            for table in tables
            if table is not None
            for task in (table if isinstance(table, tuple) else [table])
        ]

    @property
    def requests(self) -> list[Request]:
        """The networks, each with its weights.

        Raises:
            UsageError: one is named twice, or its weights are no file.
        """
        listed = [(table, name) for table in self.models for name in table.names]
        found = requests([name for _, name in listed], [table.weights for table, _ in listed])
        channels = {name: table.channels for table, name in listed}
        return [replace(request, channels=channels[request.model]) for request in found]


def _table(kind: type[Task]) -> tuple[str, Any, Any]:
    """Return name, type and default of a kind's table in a study file."""
    several = GenericAlias(tuple, (kind, ...))
    return (kind.table, several, ()) if kind.repeatable else (kind.table, kind | None, None)


#: A study file with the tables of all kinds of tasks.
_WHOLE: type = msgspec.defstruct(
    "StudyFile",
    [_table(kind) for kind in KINDS],
    bases=(StudyFile,),
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
)


def read_study(path: Path) -> StudyFile:
    """Read and check a study file.

    Raises:
        UsageError: it is missing, is no TOML, or says something that makes no sense; the key is
            named.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} cannot be read: it is no file")
        with path.open("rb") as stream:
            content = stream.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise UsageError(f"{path} is not a study file: it is longer than {_LONGEST} bytes")
        study: StudyFile = msgspec.toml.decode(content.decode("utf-8-sig"), type=_WHOLE)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a study file: it is not UTF-8 text") from error
    except (msgspec.DecodeError, RecursionError) as error:  # errors of validation are of this kind
        raise UsageError(f"{path} is not a study file: {error}") from error
    try:
        _check(study)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return study


def _check(study: StudyFile) -> None:
    """See that a study makes sense as a whole.

    Raises:
        UsageError: something in it does not.
    """
    if not study.tasks:
        tables = (f"[[{kind.table}]]" if kind.repeatable else f"[{kind.table}]" for kind in KINDS)
        raise UsageError(f"it measures nothing; add a table {' or '.join(tables)}")
    study.requests  # noqa: B018 - raises
    for kind in KINDS:
        titles = [task.title for task in study.tasks if isinstance(task, kind)]
        if twice := next((title for title in titles if titles.count(title) > 1), None):
            raise UsageError(
                f"two tables [[{kind.table}]] are called {twice}; give them different names"
            )
        check_folders(titles, f"[[{kind.table}]]")
