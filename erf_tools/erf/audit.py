"""How far protocols disagree about the order of networks, and whether that is beyond chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from erf_tools.erf.maps import ERF
from erf_tools.tables import DIFFERENCES, difference_row

#: What networks are ordered by.
ORDERED_BY = ("effective_side", "linear_20", "linear_30", "linear_50", "linear_99")

#: Networks by name, each with its results by the name of their protocol.
Audited = dict[str, dict[str, ERF]]


def audited(results: Sequence[ERF]) -> Audited:
    """Return results by network and protocol, in their order."""
    found: Audited = {}
    for result in results:
        found.setdefault(result.network_label, {})[protocol_of(result)] = result
    return found


def protocol_of(result: ERF) -> str:
    """Return the name of a result's protocol."""
    return str(result.setting["protocol"]["name"])


def protocols_of(results: Sequence[ERF]) -> list[str]:
    """Return the names of protocols, in their order."""
    return list(dict.fromkeys(map(protocol_of, results)))


def agreement_table(results: Sequence[ERF]) -> pd.DataFrame:
    """Return Kendall's tau-b between protocols: 1 where they order networks alike, -1 reversed.

    A row per measure and pair of protocols, over the networks that both have measured. NaN for
    fewer than two, and where all of them are equal.
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
            rows.append([measure, one, other, len(pairs), kendall(pairs)])
    columns = ["measure", "protocol", "other_protocol", "networks", "tau"]
    return pd.DataFrame(rows, columns=columns)


def kendall(pairs: Sequence[tuple[float, float]]) -> float:
    """Return Kendall's tau-b of pairs (Kendall 1945), in [-1, 1]; those with NaN are left out."""
    from scipy.stats import kendalltau  # which takes a second that few pages need

    known = np.array([pair for pair in pairs if np.isfinite(pair).all()]).reshape(-1, 2)
    return float(kendalltau(known[:, 0], known[:, 1]).statistic) if len(known) > 1 else nan


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
    another's below.
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
    for measure in ORDERED_BY:
        for one, other in combinations(networks, 2):
            yield (
                measure,
                [
                    {
                        **difference_row(
                            own.subject,
                            other[name].subject,
                            measure,
                            own.measures.difference(other[name].measures, measure),
                        ),
                        "protocol": name,
                    }
                    for name, own in one.items()
                    if name in other
                ],
            )


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
