"""Networks that several protocols have measured, as JSON values."""

from __future__ import annotations

from typing import Any

from erf_tools.erf import audit, shown_audit
from erf_tools.erf.tables import erf_table
from erf_tools.report.context import Context


def content(context: Context) -> list[dict[str, Any]]:
    """Return sides by network and protocol, Kendall's tau, and what follows; else nothing.

    It is of the results of networks' own layers at the first result's resolution.
    """
    results = [each.result for each in context.erfs]
    own = [
        result
        for result in results
        if result.setting["tap"]["default"]
        and result.setting["resolution"] == results[0].setting["resolution"]
    ]
    networks = {name: found for name, found in audit.audited(own).items() if len(found) > 1}
    kept = [result for found in networks.values() for result in found.values()]
    if not kept:
        return []
    agreement, flips = audit.agreement_table(kept), audit.flip_table(kept)
    names, measure = audit.protocols_of(kept), audit.ORDERED_BY[0]
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
    tau = audit.tau_matrix(agreement, names, measure).tolist()
    notes = shown_audit.notes(erf_table(kept), agreement, flips)
    return [{"protocols": names, "rows": rows, "tau": tau, "notes": notes}]
