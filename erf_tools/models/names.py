"""What the name of a model means: a row of the catalogue, a library's network, or a factory."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from erf_tools.errors import UsageError
from erf_tools.models.catalogue import ENTRIES, Entry
from erf_tools.models.hub import HubWeights
from erf_tools.models.prefixes import LIBRARIES, LibraryModule, is_factory, library_of
from erf_tools.models.sources import WeightSource, own_source

if TYPE_CHECKING:
    from erf_tools.models.libraries.library import Library

_BUILT_HERE = LibraryModule("built_here", "erf_tools")


def open_library(key: str) -> Library:
    """Return a library by its prefix, or that of the networks that are built here for any other.

    Raises:
        UsageError: it is not installed.
    """
    place = LIBRARIES.get(key, _BUILT_HERE)
    if find_spec(place.package) is None:
        raise UsageError(
            f"{place.package}, which the prefix {key}: is of, is not installed; "
            f'pip install "erf-tools[{place.extra}]"'
        )
    found: Library = import_module(f"erf_tools.models.libraries.{place.module}").LIBRARY
    return found


def resolve(name: str) -> Entry:
    """Return the catalogue's entry for a name, or one made for a library's.

    Raises:
        UsageError: no one knows the name (near names are suggested), or its library is not
            installed.
    """
    if name in ENTRIES:
        return ENTRIES[name]
    key, there = library_of(name)
    if not there:
        raise UsageError(f"{name!r} has no name of a model behind its prefix")
    return open_library(key).entry(there)


def source_of(name: str, weights: str | Path) -> WeightSource | None:
    """Return where the weights asked for come from.

    Args:
        name: of a model, as for :func:`erf_tools.load_model`.
        weights: ``pretrained``, ``random``, a file or an address.

    Returns:
        ``None`` for those that come with the network: random ones, and a factory's own.

    Raises:
        UsageError: an address is not https, or there is no such model.
    """
    if weights == "random":
        return None
    if weights != "pretrained":
        return own_source(weights)
    if is_factory(name):
        return None
    key, there = library_of(name)
    if name not in ENTRIES and key == "timm":
        return HubWeights(there)  # without importing timm
    return resolve(name).weights
