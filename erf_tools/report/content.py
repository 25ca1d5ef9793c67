"""What a page shows, as JSON values: numbers by the library, words, pictures of maps."""

from __future__ import annotations

from typing import Any

from erf_tools.failures import Failures
from erf_tools.provenance import versions
from erf_tools.report.context import read_context
from erf_tools.report.results import Results
from erf_tools.report.sections import read_sections
from erf_tools.report.values import plain


def collect(results: Results, failures: Failures, reference: bool = True) -> dict[str, Any]:
    """Return all that a page shows of results, as JSON values; what is missing is ``None``.

    Each result and each section stands alone: one that cannot be shown is left out.

    Args:
        results: that it shows.
        failures: what has failed before; what cannot be shown is added.
        reference: put published values beside.
    """
    context = read_context(results, failures, reference)
    content: dict[str, Any] = {
        "version": versions()["erf-tools"],
        "erfs": context.maps,
        "makers": context.makers,
    }
    for section in read_sections():
        if section.has_values:
            name = section.file.stem
            content[name] = []
            with failures.alone(f"the page's section {name}"):
                content[name] = section.values(context)
    content["failures"] = [plain(str(failure)) for failure in failures]
    return content
