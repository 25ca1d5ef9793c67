"""How the site is built: `sphinx-build -W -n docs docs/_build/html`."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "erf-tools"
author = "The authors of erf-tools"
version = release = installed_version("erf-tools")

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "erf-tools"
