"""What the sections of a page are made from: results, and what is shown of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erf_tools.erf.maps import ERF
from erf_tools.erf.networks import running_order
from erf_tools.erf.tables import erf_table
from erf_tools.failures import Failures
from erf_tools.files import understood
from erf_tools.report.coded_maps import block_sides
from erf_tools.report.maker_content import makers_content
from erf_tools.report.map_content import erf_content, of_others_content, told_apart
from erf_tools.report.results import Results
from erf_tools.report.values import plain, set_distinct


@dataclass(frozen=True, eq=False)
class ShownERF:
    """A result, its row of the table, and what the page shows of it."""

    result: ERF
    row: Mapping[str, Any]
    content: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Context:
    """What sections are made from.

    Attributes:
        results: all of them.
        reference: published values are to stand beside.
        failures: what has failed; what cannot be shown is added.
        erfs: those measured here that can be shown, layers of a network in the order of a forward
            pass.
        maps: what is shown of these and of the maps of others, as JSON values.
        makers: what is shown of decision makers, as JSON values.
    """

    results: Results
    reference: bool
    failures: Failures
    erfs: Sequence[ShownERF]
    maps: Sequence[dict[str, Any]]
    makers: Sequence[dict[str, Any]]


def read_context(results: Results, failures: Failures, reference: bool) -> Context:
    """Return what sections are made from; each result that cannot be shown is a failure."""
    erfs, others = results.erfs, results.others
    shown: list[ShownERF] = []
    of_others: list[dict[str, Any]] = []
    names = results.names or [f"result {number + 1}" for number in range(len(erfs))]
    blocks = block_sides([*(erf.map.shape for erf in erfs), *(map_.map.shape for map_ in others)])
    for name, result, block in zip(names, erfs, blocks, strict=False):
        with failures.alone(name), understood(Path(name)):
            (row,) = erf_table([result]).to_dict("records")
            check = next((each for each in results.checks if each.is_of(result)), None)
            shown.append(ShownERF(result, row, plain(erf_content(result, block, row, check))))
    shown = [shown[place] for place in running_order([each.result for each in shown])]
    for map_, block in zip(others, blocks[len(erfs) :], strict=True):
        with failures.alone(map_.name):
            of_others.append(plain(of_others_content(map_, block)))
    maps = [*(each.content for each in shown), *of_others]
    apart = [plain(told_apart(each.result)) for each in shown]
    ways = zip(*apart, strict=True)
    set_distinct(maps, *([*own, *(each["details"] for each in of_others)] for own in ways))
    makers = makers_content(results.biases, failures)
    return Context(results, reference, failures, shown, maps, makers)
