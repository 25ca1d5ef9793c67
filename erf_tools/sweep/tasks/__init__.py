"""The kinds of tasks that sweeps have: a module each, which says in ``KIND`` what is in it."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from erf_tools.sweep.task import Task

#: All there are, by the names of their modules.
KINDS: tuple[type[Task], ...] = tuple(
    import_module(f"{__name__}.{module.name}").KIND for module in iter_modules(__path__)
)
