"""Networks that are built here."""

from __future__ import annotations

from erf_tools.errors import UsageError
from erf_tools.models import replknet
from erf_tools.models.catalogue import ENTRIES, Entry
from erf_tools.models.hub import HubWeights
from erf_tools.models.libraries.library import Built, Form, Library
from erf_tools.models.renamings import mmpretrain_to_official


class _BuiltHere(Library):
    package = "erf_tools"

    def names(self) -> list[str]:
        return list(ENTRIES)

    def entry(self, name: str) -> Entry:
        return ENTRIES[name]

    def build(self, entry: Entry, form: Form, hub: HubWeights | None) -> Built:
        if form.channels != 3:
            raise UsageError(f"{entry.name} takes images of 3 channels; leave --channels out")
        merged = form.merged or any(".lkb_reparam." in key for key in form.keys)
        return Built(
            replknet.build(entry.architecture, merged),
            entry.preprocessing,
            arguments={"merged": True} if merged else {},
            head=("head",),
            renamings=(mmpretrain_to_official,),
        )


LIBRARY = _BuiltHere()
