"""How the site is built: ``sphinx-build -W -n docs docs/_build/html``.

Recipes are scripts in ``recipes/``. sphinx-gallery runs them all in one process, so that torch is
imported once, and anybody can run one alone. Reference pages are written here from the package:
modules from their docstrings, commands from their own help.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the analyses, which are not installed

import analyses
import erf_tools
from erf_tools.cli import app
from erf_tools.cores import share_cores

share_cores()  # before torch is imported, which the recipes do beside what reads the pages

project = "erf-tools"
author = "The authors of erf-tools"
version = release = installed_version("erf-tools")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery/**/*.ipynb", "gallery/**/*.md5"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "erf-tools"
html_show_copyright = False  # the licence is said in the README
html_static_path = ["static"]
html_css_files = ["site.css"]

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_rtype = False
napoleon_use_ivar = True
# What other projects document; there is no network to look it up in a build.
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|np|torch|nn|pandas|pd|matplotlib|PIL|Image|msgspec|timm|ipaddress)\..*"),
    ("py:.*", r"(pathlib|collections|typing|functools|concurrent|contextlib|socket|abc)\..*"),
    ("py:class", r"(importlib|types|_frozen_importlib(_external)?)\..*"),
    # The last: halves of a type with a comma.
    ("py:class", r"Path|Figure|ExitStack|RecordedResult|.*\[.*"),
    # Variables of types, and what lies in analyses, of which only the docstrings are shown.
    ("py:.*", r"erf_tools\.(.*\._\w+|studies\.\w+\.\w*Result|sweep\.task\.Table)"),
    ("py:(func|class|data)", r"analyses\..*"),
]

matplotlib.use("agg")


def library_figures(
    _block: object, variables: Mapping[str, Any], configuration: Mapping[str, Any]
) -> str:
    """Show figures of the library, which are no pyplot's: those that a block has made."""
    made = [
        figure
        for figure in variables["example_globals"].values()
        if isinstance(figure, Figure)
        and getattr(figure, "number", None) is None
        and figure not in _SHOWN
    ]
    _SHOWN.extend(made)
    paths = [next(variables["image_path_iterator"]) for _ in made]
    for figure, path in zip(made, paths, strict=True):
        figure.savefig(path, dpi=200)
    return figure_rst(paths, configuration["src_dir"]) if paths else ""


_SHOWN: list[Figure] = []

suppress_warnings = ["config.cache"]  # of the function above
sphinx_gallery_conf = {
    "image_scrapers": (library_figures, "matplotlib"),
    "examples_dirs": "../recipes",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py",
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "min_reported_time": 1000,
    "show_memory": False,
    "image_srcset": ["2x"],
}

_HERE = Path(__file__).parent
_GENERATED = _HERE / "reference" / "generated"


def _write(name: str, *paragraphs: str) -> None:
    """Write a page, unless it is there as it is: Sphinx reads what has changed."""
    path, text = _GENERATED / f"{name}.rst", "\n\n".join(paragraphs) + "\n"
    path.parent.mkdir(exist_ok=True)
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def _titled(title: str, line: str) -> str:
    return f"{title}\n{line * len(title)}"


def _write_library() -> None:
    """Write a page for the names of ``erf_tools`` itself, and one for each of its packages."""
    names = [
        f".. auto{'class' if isinstance(thing, type) else 'function'}:: erf_tools.{name}"
        for name, thing in ((name, getattr(erf_tools, name)) for name in erf_tools.__all__)
    ]
    _write("erf_tools", _titled("erf_tools", "="), *names)
    single = []
    for module in pkgutil.iter_modules(erf_tools.__path__, "erf_tools."):
        if module.name == "erf_tools.cli":
            continue  # the commands
        if not module.ispkg:
            single.append(module.name)
            continue
        path = [str(_HERE.parent / "erf_tools" / module.name.rpartition(".")[2])]
        below = pkgutil.walk_packages(path, f"{module.name}.")
        _write_modules(module.name, module.name, [module.name, *(each.name for each in below)])
    _write_modules("modules", "Modules of their own", single)


def _write_modules(page: str, title: str, modules: list[str], option: str = "") -> None:
    parts = []
    for name in modules:
        public = [each for each, home in erf_tools._HOMES.items() if home == name]
        there = f"   :exclude-members: {', '.join(public)}" if public else ""  # on the first page
        parts += [
            _titled(name, "-"),
            "\n".join(filter(None, [f".. automodule:: {name}", there, option])),
        ]
    _write(page, _titled(title, "="), *parts)


def _write_analyses() -> None:
    """Write what each program says of itself: its claim, its method and what was found."""
    found = [f"analyses.{each.name}" for each in pkgutil.iter_modules(analyses.__path__)]
    _write_modules("analyses", "Methods and findings", found, "   :no-members:")


def _write_commands() -> None:
    """Write the help of every command, as the command itself prints it."""
    parts = []
    for words in [(), *_commands()]:
        name = " ".join(["erf-tools", *words])
        shown = CliRunner().invoke(app, [*words, "--help"], prog_name="erf-tools").output
        indented = "\n".join(f"   {line}".rstrip() for line in shown.splitlines())
        parts += [_titled(name, "-"), f".. code-block:: text\n\n{indented}"]
    _write("commands", _titled("Commands", "="), *parts)


def _commands() -> list[tuple[str, ...]]:
    names = [
        (str(each.name or each.callback.__name__),)  # type: ignore[union-attr]
        for each in app.registered_commands
    ]
    for group in app.registered_groups:
        below = group.typer_instance.registered_commands
        names += [
            (str(group.name), str(each.name or each.callback.__name__))  # type: ignore[union-attr]
            for each in below
        ]
    return names


def _first_line_is_no_type(
    _app: Sphinx, what: str, _name: str, _thing: object, _options: object, lines: list[str]
) -> None:
    """Keep napoleon from taking what stands before a colon for the type of an attribute."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # a comment, which has no colon


def _is_field_of_tuple(
    _app: Sphinx, _what: str, _name: str, thing: object, _skip: bool, _options: object
) -> bool | None:
    """Leave out what Python says of the fields of named tuples."""
    return True if str(thing.__doc__).startswith("Alias for field number") else None


def _short_defaults(
    _app: Sphinx,
    _what: str,
    _name: str,
    _thing: object,
    _options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Leave out what default values consist of, where that is long."""
    long = r"= (\w+)\((?:[^()]|\([^()]*\)){60,}\)"
    return re.sub(long, r"= \1(...)", signature) if signature else signature, returned


def setup(app: Sphinx) -> None:
    """Write the pages of the package; called by Sphinx."""
    _write_library()
    _write_analyses()
    _write_commands()
    app.connect("autodoc-process-docstring", _first_line_is_no_type, priority=400)
    app.connect("autodoc-skip-member", _is_field_of_tuple)
    app.connect("autodoc-process-signature", _short_defaults)
