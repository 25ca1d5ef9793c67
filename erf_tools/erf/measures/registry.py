"""All measures there are: a module in ``families`` adds its own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract, isclass
from pkgutil import iter_modules

from erf_tools.erf.measures import families
from erf_tools.erf.measures.family import Family, Measure


def _defined() -> Iterator[Family]:
    """Yield the families whose classes the modules of ``families`` define."""
    for module in iter_modules(families.__path__, f"{families.__name__}."):
        for each in vars(import_module(module.name)).values():
            own = isclass(each) and each.__module__ == module.name and not isabstract(each)
            if own and issubclass(each, Family):
                yield each()


#: Measures that are found together, in the order of tables.
FAMILIES: tuple[Family, ...] = tuple(sorted(_defined(), key=lambda family: family.order))

#: Everything that is measured, in the order of tables.
MEASURES: dict[str, Measure] = {each.name: each for family in FAMILIES for each in family.measures}

#: The family of each measure, and its place among its values.
PLACES = {
    each.name: (family, place) for family in FAMILIES for place, each in enumerate(family.measures)
}
