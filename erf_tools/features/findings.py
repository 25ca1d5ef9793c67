"""What was found out about an architecture, kept in the cache for all networks of its kind.

It serves every command, each worker of a sweep and the explorer. Whoever takes something from here
tries it before it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from erf_tools.downloads import cache_folder
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.architecture import RELEASED
from erf_tools.features.taps import Tap
from erf_tools.files import canonical_json, file_sha256, read_json, write_json
from erf_tools.provenance import versions

#: Folders of our own code that decide what is found.
_CODE = ("erf", "features", "fields", "kernels", "models")


class Finding:
    """One thing found out, under all that it can depend on but the values of weights.

    Args:
        kind: what is found; the folder in the cache.
        architecture: see :func:`~erf_tools.features.architecture.architecture_sha256`; with
            ``None`` nothing is known, and nothing kept.
        taps: the layers it is about.
        size: height and width of the images, in pixels.
        conditions: further JSON values it depends on.
    """

    def __init__(
        self,
        kind: str,
        architecture: str | None,
        taps: Sequence[Tap],
        size: tuple[int, int],
        **conditions: Any,
    ) -> None:
        self._conditions = {
            "architecture_sha256": architecture,
            "taps": [asdict(tap) for tap in taps],
            "resolution": list(size),
            "versions": versions(RELEASED.values()),
            "code_sha256": _code_sha256(),
            **conditions,
        }
        name = hashlib.sha256(canonical_json(self._conditions).encode()).hexdigest()
        self._file = None if architecture is None else cache_folder() / kind / f"{name}.json"

    @property
    def known(self) -> Mapping[str, Any]:
        """What was kept; empty if nothing was, or what was is damaged."""
        try:
            return read_json(self._file)["found"] if self._file else {}
        except (UsageError, KeyError, TypeError):
            return {}

    def keep(self, **found: Any) -> None:
        """Keep JSON values; where nothing can be kept, they are found anew each time."""
        if self._file:
            with suppress(ErfToolsError):
                write_json(self._file, {**self._conditions, "found": found})


@cache
def _code_sha256() -> str:
    """Return a digest of our own code that decides what is found."""
    package = Path(__file__).parents[1]
    files = sorted(file for folder in _CODE for file in (package / folder).rglob("*.py"))
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()
