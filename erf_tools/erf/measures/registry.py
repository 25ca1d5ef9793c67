"""All measures there are: to add one, write its family's module and add it here."""

from __future__ import annotations

from erf_tools.erf.measures.cross import Cross
from erf_tools.erf.measures.extent import Extent
from erf_tools.erf.measures.family import Family, Measure
from erf_tools.erf.measures.gaussian import Gaussian
from erf_tools.erf.measures.kurtosis import Kurtosis
from erf_tools.erf.measures.legacy import Legacy
from erf_tools.erf.measures.moments import Moments
from erf_tools.erf.measures.participation import Participation
from erf_tools.erf.measures.squares import Squares

#: Measures that are found together, in the order of tables.
FAMILIES: tuple[Family, ...] = (
    Legacy(),
    Squares(),
    Moments(),
    Gaussian(),
    Cross(),
    Participation(),
    Extent(),
    Kurtosis(),
)

#: Everything that is measured, in the order of tables.
MEASURES: dict[str, Measure] = {each.name: each for family in FAMILIES for each in family.measures}

#: The family of each measure, and its place among its values.
PLACES = {
    each.name: (family, place) for family in FAMILIES for place, each in enumerate(family.measures)
}
