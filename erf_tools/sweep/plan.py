"""The plan of a sweep: its measurements, and the units of work that each is made of.

Identities are digests of all that a result depends on, so that what lies in the output folder is
used again exactly where measuring again would give the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from erf_tools.cores import available_cores
from erf_tools.errors import ErfToolsError
from erf_tools.files import canonical_json
from erf_tools.images import Selection
from erf_tools.models import weight_files
from erf_tools.models.code import code_of
from erf_tools.models.hub import HubWeights
from erf_tools.models.names import source_of
from erf_tools.models.prefixes import LIBRARIES, is_factory, library_of
from erf_tools.models.requests import Request
from erf_tools.provenance import library_versions, versions
from erf_tools.sweep.sources import Sources
from erf_tools.sweep.study import StudyFile
from erf_tools.sweep.task import Task

_FORMAT = 1


@dataclass(frozen=True)
class Measurement:
    """One network under one task.

    Attributes:
        id: digest of all that its result depends on, but for weights that a model hub decides on.
        request: the network.
        network: what identified it when the plan was made.
        task: what is measured of it.
        seed: of random weights.
        threads: of the process on a CPU.
        shards: number of its units.
        images: number of images in all of them.
        whole: what the result says of all of them together.
    """

    id: str
    request: Request
    network: Mapping[str, Any]
    task: Task
    seed: int
    threads: int
    shards: int
    images: int
    whole: Mapping[str, Any]

    @property
    def marker(self) -> str:
        """Where the rows of its result go, below the sweep's folder."""
        return self.task.marker(self.request).as_posix()

    @property
    def units(self) -> list[str]:
        """Identities of its units, in the order of their images."""
        return [f"{self.id}-{shard:05d}" for shard in range(self.shards)]

    def record(self) -> dict[str, Any]:
        """Return what people and the status need to know, as JSON values."""
        return {
            "id": self.id,
            "model": self.request.model,
            "weights": self.request.weights,
            "protocol": self.task.title,
            "images": self.images,
            "units": self.units,
            "marker": self.marker,
        }


@dataclass(frozen=True)
class Unit:
    """What is handed to a worker: a share of a measurement's images.

    Attributes:
        measurement: what it belongs to.
        shard: its place among the measurement's units.
        share: its images, with all that the task needs to measure them.
    """

    measurement: Measurement
    shard: int
    share: Any

    @property
    def id(self) -> str:
        """Its identity, which names its file."""
        return self.measurement.units[self.shard]

    @property
    def names(self) -> list[str]:
        """Names of its images."""
        return self.measurement.task.names(self.share)


@dataclass(frozen=True)
class Plan:
    """All there is to do.

    Attributes:
        measurements: by task, then in the order of the models.
        units: by measurement; a measurement's in the order of its images.
        selection: the images, of which the units have shares; ``None`` where no task asks for them.
        threads: of each process on a CPU.
    """

    measurements: tuple[Measurement, ...]
    units: tuple[Unit, ...]
    selection: Selection | None
    threads: int

    def record(self) -> dict[str, Any]:
        """Return the plan but for the units' images, as JSON values."""
        return {
            "format": _FORMAT,
            "threads": self.threads,
            "images": self.selection.record() if self.selection else None,
            "versions": versions(),
            "measurements": [measurement.record() for measurement in self.measurements],
        }


def make_plan(study: StudyFile, threads: int | None = None, progress: bool = False) -> Plan:
    """Divide a study into units.

    Images and stimuli are read and checked, and weights fetched that the catalogue knows an address
    of; no network is built.

    Args:
        study: the study.
        threads: of an earlier plan, if the study leaves them open.
        progress: show the progress of downloads.

    Raises:
        UsageError: there are no such images or stimuli.
        ErfToolsError: the stimuli cannot be fetched.
    """
    threads = study.threads or threads or available_cores()
    wanted = study.requests
    # What cannot be fetched is the failure of its own measurement.
    with suppress(ErfToolsError):
        weight_files.prefetch(wanted, progress)
    common = {
        "format": _FORMAT,
        "seed": study.seed,
        "threads": threads,
        "versions": versions(),
    }
    requests = [(request, network_identity(request)) for request in wanted]
    sources = Sources(study, progress)
    units: list[Unit] = []
    for task in study.tasks:
        opened = task.opened(sources)
        settings = {
            **common,
            "table": task.table,
            "task": msgspec.to_builtins(task),
            **opened.identity,
        }
        for request, known in requests:
            measurement = Measurement(
                _digest({**known, **settings, "marker": task.marker(request).as_posix()}),
                request,
                known,
                task,
                study.seed,
                threads,
                len(opened.shares),
                opened.images,
                opened.whole,
            )
            units += [Unit(measurement, *share) for share in enumerate(opened.shares)]
    measurements = {unit.measurement.id: unit.measurement for unit in units}
    return Plan(tuple(measurements.values()), tuple(units), sources.selected, threads)


def network_identity(request: Request) -> dict[str, Any]:
    """Return what identifies a network before it is loaded, as JSON values.

    A digest is ``None`` where it is not known yet: of weights that are to be fetched.
    """
    return {
        "model": request.model,
        "weights": request.weights,
        "channels": request.channels,
        "weights_sha256": _weights_digest(request),
        "folder_sha256": _folder_digest(request),
        "libraries": library_versions(
            LIBRARIES if is_factory(request.model) else [library_of(request.model)[0]]
        ),
        **({"code_sha256": code_of(request.model).sha256} if is_factory(request.model) else {}),
    }


def hub_version(request: Request) -> str:
    """Return which version of a network's weights the model hub's cache holds; empty for others."""
    with suppress(ErfToolsError):
        source = source_of(request.model, request.weights)
        return source.version() if isinstance(source, HubWeights) else ""
    return ""


def _folder_digest(request: Request) -> str | None:
    """Return a digest of the local folder that a network is, whatever weights it is to have."""
    with suppress(ErfToolsError):
        source = source_of(request.model, "pretrained")
        return source.folder_sha256() if isinstance(source, HubWeights) else None
    return None


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]


def _weights_digest(request: Request) -> str | None:
    """Return the SHA-256 of the file that a network's weights come from, where one is known.

    Weights of a model hub have none before they are fetched, by whoever needs them first; parts of
    results say which they were, and do not add up where they differ.
    """
    with suppress(ErfToolsError):
        source = source_of(request.model, request.weights)
        return source.digest() if source else None
    return None
