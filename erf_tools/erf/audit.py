"""How far protocols disagree about the order of networks, and whether that is beyond chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from erf_tools.erf.maps import ERF
from erf_tools.erf.networks import conditions_of, network_names, network_of
from erf_tools.erf.tables import comparable
from erf_tools.errors import UsageError
from erf_tools.files import canonical_json
from erf_tools.labels import distinct
from erf_tools.statistics import Estimate
from erf_tools.tables import DIFFERENCES, Subject, difference_row

#: What networks are ordered by.
ORDERED_BY = ("effective_side", "linear_20", "linear_30", "linear_50", "linear_99")

#: Networks by name, each with its results by the name of their protocol.
Audited = dict[str, dict[str, ERF]]


def audits(results: Sequence[ERF]) -> list[list[ERF]]:
    """Return the results that can be audited together: those under the same conditions.

    These are resolution, unit, square, precision and images. Of what was measured twice, the first
    is taken; networks that only one protocol has measured are left out.
    """
    groups: dict[str, dict[tuple[str, str], ERF]] = {}
    for result in results:
        measured = network_of(result), canonical_json(result.setting["protocol"])
        groups.setdefault(conditions_of(result), {}).setdefault(measured, result)
    found = []
    for group in groups.values():
        by_several = Counter(network for network, _ in group)
        own = [result for (network, _), result in group.items() if by_several[network] > 1]
        found += [own] if own else []
    return found


def audited(results: Sequence[ERF]) -> Audited:
    """Return results by network and protocol, in their order.

    Raises:
        UsageError: they were measured under different conditions, or a network twice by one
            protocol; their order would not be that of networks.
    """
    if len({conditions_of(result) for result in results}) > 1:
        raise UsageError(
            "an audit is of results of the same images, resolution, unit, square and precision, "
            "and these differ in them; audit each kind alone"
        )
    names = network_names(results)
    found: Audited = {}
    for result in results:
        own = found.setdefault(names[network_of(result)], {})
        if protocol_of(result) in own:
            raise UsageError(
                f"{result.network_label} is there twice by {protocol_of(result)}; an audit takes "
                "each network once by each protocol, and of one layer"
            )
        own[protocol_of(result)] = result
    return found


def protocol_of(result: ERF) -> str:
    """Return the name of a result's protocol."""
    return str(result.setting["protocol"]["name"])


def protocols_of(results: Sequence[ERF]) -> list[str]:
    """Return the names of protocols, in their order."""
    return list(dict.fromkeys(map(protocol_of, results)))


def agreement_table(results: Sequence[ERF]) -> pd.DataFrame:
    """Return Kendall's tau-b between protocols: 1 where they order networks alike, -1 reversed.

    A row per measure and pair of protocols, over the ``networks`` of which both have a value (a map
    of zeros has none). NaN for fewer than two, and where all of them are equal.

    Raises:
        UsageError: the results are not those of one audit; see :func:`audited`.
    """
    networks = audited(results).values()
    rows = []
    for measure in ORDERED_BY:
        for one, other in combinations(protocols_of(results), 2):
            pairs = [
                (getattr(own[one].measures, measure), getattr(own[other].measures, measure))
                for own in networks
                if one in own and other in own
            ]
            rows.append([measure, one, other, len(_known(pairs)), kendall(pairs)])
    columns = ["measure", "protocol", "other_protocol", "networks", "tau"]
    return pd.DataFrame(rows, columns=columns)


def kendall(pairs: Sequence[tuple[float, float]]) -> float:
    """Return Kendall's tau-b of pairs (Kendall 1945), in [-1, 1]; those with NaN are left out."""
    from scipy.stats import kendalltau  # which takes a second that few pages need

    known = _known(pairs)
    return float(kendalltau(known[:, 0], known[:, 1]).statistic) if len(known) > 1 else nan


def _known(pairs: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return the pairs without NaN: ``[pairs, 2]``."""
    return np.array([pair for pair in pairs if np.isfinite(pair).all()]).reshape(-1, 2)


def tau_matrix(agreement: pd.DataFrame, names: Sequence[str], measure: str) -> np.ndarray:
    """Return Kendall's tau of a measure, a row and a column per protocol.

    Args:
        agreement: of :func:`agreement_table`.
        names: of the protocols.
        measure: its name.
    """
    found = np.eye(len(names))
    for row in agreement[agreement["measure"] == measure].itertuples():
        if {row.protocol, row.other_protocol} <= {*names}:
            one, other = names.index(row.protocol), names.index(row.other_protocol)
            found[one, other] = found[other, one] = row.tau
    return found


def flip_table(results: Sequence[ERF]) -> pd.DataFrame:
    """Return the pairs of networks that protocols order differently, with all their differences.

    A row per measure, pair and protocol: the difference, and its paired interval over the images.
    ``settled`` says whether the flip is beyond the intervals: one protocol's lies above zero and
    another's below. There is no interval where two results are not comparable
    (:func:`erf_tools.erf.tables.comparable`), as where a network left out an image. Networks of
    one name have where their weights are from behind their weights.

    Raises:
        UsageError: the results are not those of one audit; see :func:`audited`.
    """
    rows = []
    for measure, found in _pairs(results):
        signs = {np.sign(row["difference"]) for row in found}
        above = any(row["difference_low"] > 0 for row in found)
        below = any(row["difference_high"] < 0 for row in found)
        if {1.0, -1.0} <= signs:
            rows += [{**row, "measure": measure, "settled": above and below} for row in found]
    return pd.DataFrame(rows, columns=[*DIFFERENCES, "protocol", "settled"])


def _pairs(results: Sequence[ERF]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each measure and pair of networks, with their difference by each protocol."""
    networks = list(audited(results).values())
    subjects = _subjects(networks)
    for measure in ORDERED_BY:
        for one, other in combinations(range(len(networks)), 2):
            yield (
                measure,
                [
                    {
                        **difference_row(
                            subjects[one],
                            subjects[other],
                            measure,
                            _difference(own, networks[other][name], measure),
                        ),
                        "protocol": name,
                    }
                    for name, own in networks[one].items()
                    if name in networks[other]
                ],
            )


def _difference(one: ERF, other: ERF, measure: str) -> Estimate:
    found = one.measures.difference(other.measures, measure)
    return found if comparable(one, other) else Estimate(found.value)


def _subjects(networks: Sequence[Mapping[str, ERF]]) -> list[Subject]:
    """Return model, weights and layer of each network, so that no two are the same."""
    first = [next(iter(own.values())) for own in networks]
    found = [each.subject for each in first]
    for model in {subject.model for subject in found}:
        places = [place for place, subject in enumerate(found) if subject.model == model]
        weights = [found[place].weights for place in places]
        sources = [first[place].setting["model"]["weights"]["source"] for place in places]
        for place, own in zip(places, distinct(weights, sources), strict=True):
            found[place] = found[place]._replace(weights=own)
    return found


def flips_in_words(flips: pd.DataFrame, measure: str) -> list[str]:
    """Return a sentence for each pair of networks of which a measure's order flips."""
    found = []
    own = flips[flips["measure"] == measure]
    keys = ["model", "weights", "other", "other_weights"]
    for (model, weights, other, other_weights), rows in own.groupby(keys, sort=False):
        above, below = (
            ", ".join(rows.loc[sign * rows["difference"] > 0, "protocol"]) for sign in (1, -1)
        )
        if rows["difference_low"].isna().all():
            verdict = "may be chance: there are no paired intervals"
        else:
            beyond = "beyond" if rows["settled"].all() else "within"
            verdict = f"is {beyond} the paired intervals over images"
        found.append(
            f"{model} ({weights}) is above {other} ({other_weights}) by {above}, and below by "
            f"{below}; the flip {verdict}."
        )
    return found
