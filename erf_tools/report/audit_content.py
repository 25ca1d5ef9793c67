"""What a page shows of networks that several protocols have measured, as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from erf_tools.erf import shown_audit
from erf_tools.erf.audit import (
    ORDERED_BY,
    agreement_table,
    audited,
    flip_table,
    protocols_of,
    tau_matrix,
)
from erf_tools.erf.maps import ERF
from erf_tools.erf.tables import erf_table


def audit_content(results: Sequence[ERF]) -> list[dict[str, Any]]:
    """Return sides by network and protocol, Kendall's tau, and what follows; else nothing.

    It is of the results of networks' own layers at the first result's resolution.
    """
    own = [
        result
        for result in results
        if result.setting["tap"]["default"]
        and result.setting["resolution"] == results[0].setting["resolution"]
    ]
    networks = {name: found for name, found in audited(own).items() if len(found) > 1}
    kept = [result for found in networks.values() for result in found.values()]
    if not kept:
        return []
    agreement, flips = agreement_table(kept), flip_table(kept)
    names = protocols_of(kept)
    measure = ORDERED_BY[0]
    rows = [
        {
            "label": label,
            "sides": [
                found[name].measures.estimate(measure).columns(measure) if name in found else None
                for name in names
            ],
        }
        for label, found in networks.items()
    ]
    tau = tau_matrix(agreement, names, measure).tolist()
    said = shown_audit.notes(erf_table(kept), agreement, flips)
    return [{"protocols": names, "rows": rows, "tau": tau, "notes": said}]
