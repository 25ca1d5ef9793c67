"""The sections of the page: each is a file ``NAME.html``, and ``NAME.py`` where it has own values.

``docs/howto/adding-a-section.md`` says what stands in them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from erf_tools.report.context import Context
from erf_tools.report.values import plain

_PARTS = re.compile(
    r'(?P<announcement><div data-for=.*?</div>\n)?(?P<markup><section id="[^"]*" '
    r'data-place="(?P<place>\d+)" hidden>.*</section>\n)<script>\n(?P<script>.*)</script>\n',
    re.DOTALL,
)


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
        """Return its values, as JSON values."""
        return plain(import_module(f"{__name__}.{self.file.stem}").content(context))


def read_sections() -> list[Section]:
    """Return all sections in the order of the page.

    Raises:
        ValueError: a file is no section.
    """
    files = [file for folder in __path__ for file in sorted(Path(folder).glob("*.html"))]
    return sorted(map(_section, files), key=lambda section: section.place)


def _section(file: Path) -> Section:
    found = _PARTS.fullmatch(file.read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"{file} is not a <section> with a data-place and a <script> after it")
    parts: dict[str, Any] = {**found.groupdict(""), "place": int(found["place"])}
    return Section(file, **parts)
