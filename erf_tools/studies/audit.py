"""An audit: several networks by all published protocols on the same images, and how these agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from erf_tools.computing import Computing
from erf_tools.erf import audit as numbers
from erf_tools.erf import shown_audit
from erf_tools.erf.audit_figure import audit_figure
from erf_tools.erf.maps import ERF
from erf_tools.erf.measuring import MeasurableNetwork, measurable
from erf_tools.erf.parts import group_lengths, join
from erf_tools.erf.procedure import DEFAULT_RESOLUTION, Procedure
from erf_tools.erf.protocols import PROTOCOLS, Protocol
from erf_tools.erf.tables import erf_table
from erf_tools.failures import Failures
from erf_tools.files import locked
from erf_tools.images import PixelStore, Selection
from erf_tools.models.model import Model
from erf_tools.models.requests import Request, folder_name
from erf_tools.report.results import Results
from erf_tools.studies.erf import earlier_result
from erf_tools.studies.one_by_one import Earlier, clear, measure_one_by_one
from erf_tools.studies.requested import expected_setting, load_requested
from erf_tools.studies.written import Files, TableStudy, WrittenTables


@dataclass(frozen=True, kw_only=True)
class Audit(TableStudy):
    """What an audit gave; its table has a row per network and protocol.

    Attributes:
        results: of each network by each protocol.
        agreement: :func:`erf_tools.erf.audit.agreement_table`.
        flips: :func:`erf_tools.erf.audit.flip_table`.
    """

    results: tuple[ERF, ...]
    agreement: pd.DataFrame
    flips: pd.DataFrame


def audit_erfs(
    wanted: Sequence[Request],
    selection: Selection,
    output: Path,
    procedure: Procedure | None = None,
    computing: Computing | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> Audit:
    """Measure each network by every published protocol on the same images.

    Protocols that differ only in what is made of a gradient share its pass. Each result is that of
    a run of its own, to rounding.

    Args:
        wanted: the networks.
        selection: the images.
        output: folder for the results.
        procedure: unit, square, resolution and precision; its protocol does not count.
        computing: how.
        seed: of random weights.
        overwrite: replace other results of these networks in the folder.
        progress: show progress bars (in a terminal only).

    Raises:
        UsageError: the folder holds another result of a network.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder, or no network could be measured.
    """
    procedure, computing = procedure or Procedure(), computing or Computing()
    # All protocols at one size, those that have none of their own too.
    procedure = replace(procedure, resolution=procedure.resolution or DEFAULT_RESOLUTION)
    store = PixelStore()

    def place(request: Request, protocol: Protocol) -> Path:
        return output / request.folder / folder_name(protocol.name) / "erf.npz"

    def earlier(request: Request) -> Earlier[list[ERF]]:
        if not (output / request.folder).is_dir():
            return Earlier()
        model = load_requested(request, procedure, seed)
        results: list[ERF] = []
        others: list[str] = []
        protocols = protocols_for(model)
        for protocol in protocols:
            expected = expected_setting(model, model.tap, replace(procedure, protocol=protocol))
            folder = place(request, protocol).parent
            found, other = earlier_result(folder, expected, selection, {}, computing.exact)
            results += [found] if found else []
            others += other
        whole = len(results) == len(protocols) and not others
        return Earlier(results) if whole else Earlier(differences=list(dict.fromkeys(others)))

    def measure(request: Request) -> list[ERF]:
        model = load_requested(request, procedure, seed)
        protocols = protocols_for(model)
        first = replace(procedure, protocol=protocols[0])
        images = len(selection)
        found: dict[str, ERF] = {}
        with measurable(model, first, [model.tap], computing, images) as network:
            for sharing in _sharing(protocols, model):
                found |= _measured(network, sharing, selection, store, progress)
        results = [found[protocol.name] for protocol in protocols]
        for result, protocol in zip(results, protocols, strict=True):
            result.save(place(request, protocol))
        return [ERF.load(place(request, protocol)) for protocol in protocols]

    with locked(output):
        clear(output, [output / request.folder for request in wanted])
        course = measure_one_by_one(wanted, output, earlier, measure, overwrite)
        results = [result for own in course.results.values() for result in own]
        reused = [request.label for request in course.reused]
        return _written(results, output, reused, course.failures)


def protocols_for(model: Model) -> list[Protocol]:
    """Return the published protocols that a network can be measured by."""
    gives_image = not model.tap.path
    return [each for each in PROTOCOLS.values() if gives_image or not each.of_output]


def _sharing(protocols: Sequence[Protocol], model: Model) -> list[list[Protocol]]:
    """Return the protocols in groups that share images, units and so forward passes."""
    patches = hasattr(model.module, "patch_embed")
    groups: dict[tuple[str, bool], list[Protocol]] = {}
    for each in protocols:
        groups.setdefault((each.transform, each.upper_token and patches), []).append(each)
    return list(groups.values())


def _measured(
    network: MeasurableNetwork,
    protocols: Sequence[Protocol],
    selection: Selection,
    store: PixelStore,
    progress: bool,
) -> dict[str, ERF]:
    """Return the results by the names of protocols that share images and units."""
    # Those that define the same map differ in how it is shown, and in nothing that is measured.
    different = {each.defines: each for each in protocols}
    own = network.under(list(different.values()))
    lengths = group_lengths(len(selection), own.size, len(different))
    parts = own.measure(selection, lengths, progress=progress, store=store)
    by_map = {defined: join([part]) for defined, part in zip(different, parts, strict=True)}
    return {
        each.name: replace(found, setting={**found.setting, "protocol": each.record()})
        for each in protocols
        for found in [by_map[each.defines]]
    }


def _written(
    results: Sequence[ERF], output: Path, reused: Sequence[str], failures: Failures
) -> Audit:
    """Write what shows the results together; each of the files stands alone."""
    table = erf_table(results)
    agreement = numbers.agreement_table(results)
    flips = numbers.flip_table(results)
    shown, remarks = shown_audit.readable(table), shown_audit.notes(table, agreement, flips)
    files = Files(output, failures, {"results": [result.record() for result in results]})
    files.tables("audit", table, shown, remarks)
    files.csv("audit_agreement", lambda: agreement)
    files.csv("audit_flips", lambda: flips)
    files.figure("audit", lambda: audit_figure(results, agreement))
    files.page(lambda: Results(results))
    made = WrittenTables(table, shown, remarks, files)
    return Audit.of(made, reused, results=tuple(results), agreement=agreement, flips=flips)
