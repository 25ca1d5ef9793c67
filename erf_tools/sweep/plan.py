"""The plan of a sweep: its measurements, and the units of work that each is made of.

Identities are digests of all that a result depends on, so that what lies in the output folder is
used again exactly where measuring again would give the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from erf_tools.addresses import is_address
from erf_tools.cue_conflict.stimuli import StimulusSet, open_stimuli
from erf_tools.erf.parts import group_lengths
from erf_tools.erf.procedure import DEFAULT_RESOLUTION
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.files import canonical_json, file_sha256
from erf_tools.images import Selection, select
from erf_tools.models import weight_files
from erf_tools.models.catalogue import ENTRIES, weights_file
from erf_tools.models.requests import Request, folder_name
from erf_tools.provenance import versions
from erf_tools.sweep.study import ErfProtocol, ShapeBias, StudyFile

_FORMAT = 1


@dataclass(frozen=True)
class Measurement:
    """One network under one protocol.

    Attributes:
        id: digest of all that its result depends on, but for weights that a model hub decides on.
        request: the network.
        protocol: an ERF protocol, or how it decides on stimuli.
        seed: of random weights.
        threads: of the process on a CPU.
        shards: number of its units.
        images: number of images or stimuli in all of them.
        stimuli: what the decisions say of the whole set of stimuli; empty for ERFs.
        folder: where its results go, below the sweep's folder.
    """

    id: str
    request: Request
    protocol: ErfProtocol | ShapeBias
    seed: int
    threads: int
    shards: int
    images: int
    stimuli: Mapping[str, Any]
    folder: str

    @property
    def protocol_name(self) -> str:
        """The protocol in a word."""
        if isinstance(self.protocol, ErfProtocol):
            return self.protocol.name
        return f"shape-bias {self.protocol.preset}"

    @property
    def marker(self) -> str:
        """Where the rows of its result go, below the sweep's folder."""
        if isinstance(self.protocol, ErfProtocol):
            return f"{self.folder}/measured.parquet"
        return f"{self.folder}/decisions/{folder_name(self.request.model)}.parquet"

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
            "protocol": self.protocol_name,
            "images": self.images,
            "units": self.units,
            "marker": self.marker,
        }


@dataclass(frozen=True)
class Unit:
    """What is handed to a worker: a shard of a measurement's images.

    Attributes:
        measurement: what it belongs to.
        shard: its place among the measurement's units.
        images: its images or stimuli.
        lengths: of the groups of images whose sums are kept for intervals; for ERFs.
        labels: classes of its images that a table gives; ``None`` without one.
        labels_file: that table.
    """

    measurement: Measurement
    shard: int
    images: Selection | StimulusSet
    lengths: tuple[int, ...] = ()
    labels: Mapping[str, int] | None = None
    labels_file: Path | None = None

    @property
    def id(self) -> str:
        """Its identity, which names its file."""
        return self.measurement.units[self.shard]

    @property
    def names(self) -> list[str]:
        """Names of its images or stimuli."""
        images = self.images
        listed = images.images if isinstance(images, Selection) else images.stimuli
        return [each.name for each in listed]


@dataclass(frozen=True)
class Plan:
    """All there is to do.

    Attributes:
        measurements: by protocol, then in the order of the models.
        units: by measurement; a measurement's in the order of its images.
        selection: the images, of which the units have shards; ``None`` without ERFs.
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
    threads = study.threads or threads or os.cpu_count() or 1
    wanted = study.requests
    # What cannot be fetched is the failure of its own measurement.
    with suppress(ErfToolsError):
        weight_files.prefetch({each.model: each.weights for each in wanted}, progress)
    common = {
        "format": _FORMAT,
        "seed": study.seed,
        "threads": threads,
        "versions": versions(),
    }
    requests = [(request, {**common, **_identity(request)}) for request in wanted]
    selection, units = None, []
    if study.erf:
        images = study.images
        selection = select(images.source, images.count, images.order, study.seed)
        for protocol in study.erf:
            units += _erf_units(study, threads, requests, protocol, selection)
    if study.shape_bias:
        units += _decision_units(study.shape_bias, study.seed, threads, requests, progress)
    measurements = {unit.measurement.id: unit.measurement for unit in units}
    return Plan(tuple(measurements.values()), tuple(units), selection, threads)


def _erf_units(
    study: StudyFile,
    threads: int,
    requests: Sequence[tuple[Request, Mapping[str, Any]]],
    protocol: ErfProtocol,
    selection: Selection,
) -> list[Unit]:
    shards = _erf_shards(selection, protocol, study.images.shard)
    labels = _labels(study, selection)
    file = Path(study.images.labels) if study.images.labels else None
    units = []
    for request, known in requests:
        folder = f"erf/{folder_name(protocol.name)}/{request.folder}"
        identity = _digest(
            {
                **known,
                "protocol": msgspec.to_builtins(protocol),
                "folder": folder,
                "images": [[image.name, image.sha256] for image in selection.images],
                "shards": [lengths for _, lengths in shards],
                "labels": labels,
            }
        )
        measurement = Measurement(
            identity,
            request,
            protocol,
            study.seed,
            threads,
            len(shards),
            len(selection),
            {},
            folder,
        )
        units += [
            Unit(measurement, shard, images, lengths, _of(images, labels), file)
            for shard, (images, lengths) in enumerate(shards)
        ]
    return units


def _labels(study: StudyFile, selection: Selection) -> dict[str, int] | None:
    """Return the classes of images that the study's table gives, read once for all units."""
    if not study.images.labels:
        return None
    labels = Path(study.images.labels)
    if not labels.is_file():
        raise UsageError(f"images.labels {labels}: there is no such file")
    from erf_tools.models.accuracy import find_labels  # with torch, which no plan needs otherwise

    return find_labels(selection.images, labels)


def _of(images: Selection, labels: Mapping[str, int] | None) -> dict[str, int] | None:
    if labels is None:
        return None
    return {image.name: labels[image.name] for image in images.images if image.name in labels}


def _decision_units(
    protocol: ShapeBias,
    seed: int,
    threads: int,
    requests: Sequence[tuple[Request, Mapping[str, Any]]],
    progress: bool,
) -> list[Unit]:
    stimuli = open_stimuli(protocol.stimuli, protocol.allow_partial, progress)
    if not stimuli.conflict:
        raise UsageError(
            f"{stimuli.source} holds single-cue stimuli, which have no shape bias; use "
            "erf-tools shape-bias"
        )
    whole, count = {**stimuli.record(), "label": stimuli.label}, len(stimuli)
    shards = _stimulus_shards(stimuli, protocol.shard)
    units = []
    for request, known in requests:
        identity = _digest(
            {
                **known,
                "protocol": msgspec.to_builtins(protocol),
                "stimuli": stimuli.sha256,
                "shards": [len(shard) for shard in shards],
            }
        )
        measurement = Measurement(
            identity, request, protocol, seed, threads, len(shards), count, whole, "shape_bias"
        )
        units += [Unit(measurement, shard, images) for shard, images in enumerate(shards)]
    return units


def _identity(request: Request) -> dict[str, Any]:
    """Return what identifies a network before it is loaded."""
    return {
        "model": request.model,
        "weights": request.weights,
        "weights_sha256": _weights_digest(request),
    }


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]


def _weights_digest(request: Request) -> str | None:
    """Return the SHA-256 of the file that a network's weights come from, where one is known.

    Weights of a model hub have none before they are fetched, by whoever needs them first; parts of
    results say which they were, and do not add up where they differ.
    """
    if is_address(request.weights):
        with suppress(ErfToolsError):
            return file_sha256(weight_files.obtain_address(request.weights))
        return None
    if request.weights == "pretrained":
        entry = ENTRIES.get(request.model)
        found = weights_file(entry) if entry and entry.weights.kind != "timm" else None
        return file_sha256(found) if found else None
    file = Path(request.weights).expanduser()
    return file_sha256(file) if request.weights != "random" and file.is_file() else None


def _erf_shards(
    selection: Selection, protocol: ErfProtocol, about: int
) -> list[tuple[Selection, tuple[int, ...]]]:
    """Return the images of each unit, and the lengths of the groups that they make.

    Units are made of whole groups, which do not depend on the units' size.
    """
    side = protocol.resolution or DEFAULT_RESOLUTION
    lengths = group_lengths(len(selection), (side, side))
    shards: list[tuple[Selection, tuple[int, ...]]] = []
    start = 0
    for first, last in _runs(lengths, about):
        own = lengths[first:last]
        images = selection.images[start : start + sum(own)]
        shards.append((replace(selection, images=images), own))
        start += sum(own)
    return shards


def _runs(lengths: tuple[int, ...], about: int) -> Iterator[tuple[int, int]]:
    """Yield slices of ``lengths`` whose sums are as near to ``about`` as they can evenly be."""
    count = min(max(round(sum(lengths) / about), 1), len(lengths))
    yield from pairwise(len(lengths) * index // count for index in range(count + 1))


def _stimulus_shards(stimuli: StimulusSet, about: int) -> list[StimulusSet]:
    return [
        replace(stimuli, stimuli=stimuli.stimuli[start:end])
        for start, end in _runs((1,) * len(stimuli), about)
    ]
