"""Networks that are built here."""

from __future__ import annotations

from erf_tools.errors import UsageError
from erf_tools.models.catalogue import ENTRIES, Entry
from erf_tools.models.hub import HubWeights
from erf_tools.models.libraries.library import Built, Form, Library
from erf_tools.models.staged import family_of


class _BuiltHere(Library):
    def names(self) -> list[str]:
        return list(ENTRIES)

    def entry(self, name: str) -> Entry:
        return ENTRIES[name]

    def build(self, entry: Entry, form: Form, hub: HubWeights | None) -> Built:
        if form.channels != 3:
            raise UsageError(f"{entry.name} takes images of 3 channels; leave --channels out")
        family = family_of(entry.library)
        merged = form.merged or family.is_merged(form.keys)
        return Built(
            family.build(entry.architecture, merged),
            entry.preprocessing,
            arguments={"merged": True} if merged else {},
            head=(family.classifier,),
            renamings=family.renamings,
        )


LIBRARY = _BuiltHere()
