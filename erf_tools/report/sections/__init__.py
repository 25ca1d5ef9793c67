"""The sections of the page: each is a file ``NAME.html``, and ``NAME.py`` where it has own values.

``docs/howto/adding-a-section.md`` says what stands in them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from erf_tools.report.context import Context
from erf_tools.report.values import plain

_PARTS = re.compile(
    r'(?P<announcement><div data-for=.*?</div>\n)?(?P<markup><section id="[^"]*" '
    r'data-place="(?P<place>\d+)" hidden>.*</section>\n)<script>\n(?P<script>.*)</script>',
    re.DOTALL,
)

#: What would end the one script of the page, or hide its end.
_UNWRITABLE = re.compile("</script|<!--", re.IGNORECASE)

#: What the page's data hold beside the values of sections.
_SHARED = ("version", "erfs", "makers", "failures", "colours")


@dataclass(frozen=True)
class Section:
    """A kind of section.

    Attributes:
        file: ``NAME.html``, which has the rest.
        place: where it stands among all sections, the lowest first.
        announcement: its part of the page's header, as HTML.
        markup: as HTML.
        script: JavaScript that draws it.
    """

    file: Path
    place: int
    announcement: str
    markup: str
    script: str

    @property
    def has_values(self) -> bool:
        """Whether it has values of its own."""
        return self.file.with_suffix(".py").is_file()

    def values(self, context: Context) -> Any:
        """Return its values, as JSON values.

        Raises:
            TypeError: some are not.
        """
        found = plain(import_module(f"{__name__}.{self.file.stem}").content(context))
        json.dumps(found, allow_nan=False)  # else the whole page would fail by it
        return found


def read_sections() -> list[Section]:
    """Return all sections in the order of the page.

    Raises:
        ValueError: a file is no section.
    """
    files = [file for folder in __path__ for file in sorted(Path(folder).glob("*.html"))]
    return sorted(map(_section, files), key=lambda section: section.place)


def _section(file: Path) -> Section:
    found = _PARTS.fullmatch(file.read_text(encoding="utf-8").rstrip())
    if not found or found["markup"].count("<section") > 1:
        raise ValueError(
            f"{file} is no section: a <div data-for> or none, one <section> with id, data-place (a "
            "whole number) and hidden, in this order, and a <script>, each on a line of its own"
        )
    if _UNWRITABLE.search(found["script"]):
        raise ValueError(f"the script of {file} holds </script or <!--, which no script can")
    if file.stem in _SHARED:
        raise ValueError(f"{file} has the name of other data of the page; choose another")
    parts: dict[str, Any] = {**found.groupdict(""), "place": int(found["place"])}
    return Section(file, **parts)
