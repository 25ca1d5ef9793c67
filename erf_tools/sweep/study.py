"""Study files: which models, images, protocols and stimuli a sweep measures, in TOML.

Names and meanings are those of the options of ``erf-tools erf`` and ``erf-tools shape-bias``; paths
are relative to the folder in which the command is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, structs

from erf_tools.erf.procedure import Precision, Procedure, Square
from erf_tools.erf.protocols import RGB, Display, Gradient, Scalar, Transform, find_protocol
from erf_tools.errors import UsageError
from erf_tools.images import Order
from erf_tools.models.requests import Request, check_folders, requests

_Positive = Annotated[int, Meta(ge=1)]
_Text = Annotated[str, Meta(pattern=r"\S")]

#: Of a process; more than any machine has, and torch dies of far more.
MOST_THREADS = 1024

#: Bytes of a study file; a device, or a file of another kind, is not read on and on.
_LONGEST = 2**20


class Models(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table ``[[models]]``.

    Attributes:
        names: as ``--model``.
        weights: as ``--weights``: one choice for all of them.
    """

    names: tuple[_Text, ...]
    weights: _Text = "pretrained"


class Images(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table ``[images]``.

    Attributes:
        source: as ``--images``.
        count: as ``--num-images``.
        order: as ``--order``.
        labels: as ``--labels``.
        shard: about how many make a unit of work.
    """

    source: _Text = "builtin"
    count: _Positive = 50
    order: Order = "spread"
    labels: _Text | None = None
    shard: _Positive = 50


class ErfProtocol(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table ``[[erf]]``: a protocol, and of which layers.

    Attributes:
        name: of its results; the protocol's by default.
        protocol: and what follows until ``precision``: as the options.
        layers: as ``--layer``.
        stages: as ``--stages``.
        output_key: as ``--output-key``.
        exact: as ``--exact``.
    """

    name: str = ""
    protocol: str = "ding2022"
    scalar: Scalar | None = None
    gradient: Gradient | None = None
    rgb: RGB | None = None
    transform: Transform | None = None
    display: Display | None = None
    unit: str = "center"
    square: Square = "center"
    resolution: _Positive | None = None
    precision: Precision = "fp32"
    layers: tuple[_Text, ...] = ()
    stages: bool = False
    output_key: _Text | None = None
    exact: bool = False

    def procedure(self) -> Procedure:
        """Return what is measured.

        Raises:
            UsageError: there is no such protocol, or its choices exclude each other.
        """
        varied = find_protocol(
            self.protocol,
            scalar=self.scalar,
            gradient=self.gradient,
            rgb=self.rgb,
            transform=self.transform,
            display=self.display,
        )
        return Procedure(varied, self.unit, self.square, self.resolution, self.precision)


class ShapeBias(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table ``[shape_bias]``.

    Attributes:
        stimuli: as ``--stimuli``; cue conflict only.
        allow_partial: as ``--allow-partial``.
        preset: as ``--preset``.
        aggregation: as ``--aggregation``.
        output_key: as ``--output-key``.
        shard: about how many stimuli make a unit of work.
    """

    stimuli: _Text = "cue-conflict"
    allow_partial: bool = False
    preset: str = "direct"
    aggregation: Literal["mean", "sum", "max"] = "mean"
    output_key: str | None = None
    shard: _Positive = 320


class StudyFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A study as its file describes it.

    Attributes:
        output: folder for the results.
        models: networks with their weights.
        images: for ERFs.
        erf: what is measured of each network's ERFs.
        shape_bias: on what each network decides; ``None`` for nothing.
        seed: of random weights and of the order of images.
        threads: of each process on a CPU; ``None`` for as many as there are cores. The last bits
            of results can depend on it.
        slurm: parameters of a cluster's jobs, as submitit names them.
        ray: ``num_cpus`` and ``num_gpus`` of each worker, as Ray names them.
    """

    output: _Text
    models: tuple[Models, ...]
    images: Images = Images()
    erf: tuple[ErfProtocol, ...] = ()
    shape_bias: ShapeBias | None = None
    seed: Annotated[int, Meta(ge=0)] = 0
    threads: Annotated[int, Meta(ge=1, le=MOST_THREADS)] | None = None
    slurm: Mapping[str, Any] = msgspec.field(default_factory=dict)
    ray: Mapping[str, float] = msgspec.field(default_factory=dict)

    @property
    def requests(self) -> list[Request]:
        """The networks, each with its weights.

        Raises:
            UsageError: one is named twice, or its weights are no file.
        """
        names = [name for table in self.models for name in table.names]
        weights = [table.weights for table in self.models for _ in table.names]
        return requests(names, weights)


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
        study = msgspec.toml.decode(content.decode("utf-8-sig"), type=StudyFile)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a study file: it is not UTF-8 text") from error
    except (msgspec.DecodeError, RecursionError) as error:  # errors of validation are of this kind
        raise UsageError(f"{path} is not a study file: {error}") from error
    try:
        return _checked(study)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _checked(study: StudyFile) -> StudyFile:
    """Return the study with its protocols named.

    Raises:
        UsageError: something in it makes no sense.
    """
    if not study.erf and study.shape_bias is None:
        raise UsageError("it measures nothing; add a table [[erf]] or [shape_bias]")
    study.requests  # noqa: B018 - raises
    named = tuple(_named(entry) for entry in study.erf)
    names = [entry.name for entry in named]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two tables [[erf]] are called {twice}; give them different names")
    check_folders(names, "[[erf]]")
    return structs.replace(study, erf=named)


def _named(entry: ErfProtocol) -> ErfProtocol:
    procedure = entry.procedure()
    if entry.stages and entry.layers:
        raise UsageError(f"[[erf]] {entry.name}: stages and layers exclude each other")
    if entry.output_key and not entry.layers:
        raise UsageError(f"[[erf]] {entry.name}: output_key is for a layer; name it with layers")
    return structs.replace(entry, name=entry.name or procedure.protocol.name)
