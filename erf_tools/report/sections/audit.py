"""Networks that several protocols have measured, as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from erf_tools.erf import audit, shown_audit
from erf_tools.erf.maps import ERF
from erf_tools.erf.networks import conditions_in_words
from erf_tools.erf.tables import erf_table
from erf_tools.labels import distinct
from erf_tools.report.context import Context


def content(context: Context) -> list[dict[str, Any]]:
    """Return an audit for each kind of conditions under which networks' own layers were measured.

    Each has sides by network and protocol, Kendall's tau, and what follows.
    """
    own = [each.result for each in context.erfs if each.result.setting["tap"]["default"]]
    groups = audit.audits(own)
    conditions = distinct([", ".join(conditions_in_words(group[0])) for group in groups])
    return [
        {"conditions": said, **_audit(group)}
        for said, group in zip(conditions, groups, strict=True)
    ]


def _audit(results: Sequence[ERF]) -> dict[str, Any]:
    agreement, flips = audit.agreement_table(results), audit.flip_table(results)
    names, measure = audit.protocols_of(results), audit.ORDERED_BY[0]
    rows = [
        {
            "label": label,
            "sides": [
                found[name].measures.estimate(measure).columns(measure) if name in found else None
                for name in names
            ],
        }
        for label, found in audit.audited(results).items()
    ]
    tau = audit.tau_matrix(agreement, names, measure).tolist()
    notes = shown_audit.notes(erf_table(results), agreement, flips)
    return {"protocols": names, "rows": rows, "tau": tau, "notes": notes}
