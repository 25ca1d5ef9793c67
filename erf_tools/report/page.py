"""One file that shows results in any browser, without a network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from matplotlib import colormaps

from erf_tools.errors import UsageError
from erf_tools.failures import Failures
from erf_tools.files import check_writable, write_text
from erf_tools.report.content import collect
from erf_tools.report.results import Results, are_read_from, find_results, read_results
from erf_tools.report.sections import read_sections

#: What sections are drawn with, in the order in which the files need each other.
_SHARED = ("elements.js", "maps.js", "charts.js", "cues.js")

#: What could end the element that holds the data, or a line of it in an old reader.
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def report(places: Sequence[Path], output: Path) -> Failures:
    """Write the page of all results in files and folders, and return what is not on it.

    Args:
        places: see :func:`~erf_tools.report.results.find_results`.
        output: the page.

    Raises:
        UsageError: a place holds no results, or the page would replace one.
        OutputError: the page cannot be written.
        FailuresError: no result can be read.
    """
    failures = Failures()
    found = find_results(places, failures)
    if are_read_from(found, output):
        raise UsageError(f"{output} is one of the results; choose another --output folder")
    check_writable(output)
    write_report(output, read_results(found, failures), failures)
    return failures


def write_report(path: Path, results: Results, failures: Failures, reference: bool = True) -> Path:
    """Write the page of some results, atomically, and return its path.

    Args:
        path: of the page.
        results: that it shows.
        failures: what has failed before, which the page names too. What cannot be shown is added;
            everything else is on the page.
        reference: put published values beside.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(path, render(collect(results, failures, reference)))
    return path


def render(content: Mapping[str, Any]) -> str:
    """Return the page of what :func:`erf_tools.report.content.collect` gave.

    Style, script and data lie in the page, and its policy lets it fetch nothing and run only this
    script. Data are read as JSON and become text, never markup.
    """
    style, sections = _package_file("report.css"), read_sections()
    drawn = [f"attempt(() => {{\n{section.script}\n}});" for section in sections]
    scripts = [*map(_package_file, _SHARED), *drawn, _package_file("report.js")]
    script = "\n".join(['"use strict";\n(() => {', *scripts, "})();\n"])
    # As in the figures; colour-blind readers can read both.
    colours = {"map": _colours("magma"), "difference": _colours("PuOr")}
    data = json.dumps({**content, "colours": colours}, allow_nan=False, separators=(",", ":"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; "
        f"script-src {_digest(script)}; base-uri 'none'; form-action 'none'"
    )
    return Template(_package_file("report.html")).substitute(
        policy=policy,
        style=style,
        announcements="".join(section.announcement for section in sections),
        sections="".join(f"{section.markup}\n" for section in sections),
        data=data.translate(_ESCAPES),
        script=script,
    )


def _package_file(name: str) -> str:
    return (resources.files("erf_tools.report") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _colours(scheme: str) -> list[list[int]]:
    """Return 256 colours, each red, green and blue from 0 to 255."""
    table: list[list[int]] = colormaps[scheme](range(256), bytes=True)[:, :3].tolist()
    return table
