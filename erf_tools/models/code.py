"""The code behind a factory, by which results tell networks apart that have the same weights."""

from __future__ import annotations

import importlib.util
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from erf_tools.files import file_sha256

if TYPE_CHECKING:
    from torch import nn


def code_sha256(name: str, module: nn.Module | None = None) -> str | None:
    """Return the SHA-256 of the code behind a factory, which the values of weights do not show.

    It is that of what ``sha256sum`` prints of the files, in the order of their digests: the
    factory's own, and those in which the classes of the network's parts are defined, but torch's.

    Args:
        name: of the factory.
        module: the network it made; without it, the digest is of the factory's own file alone.

    Returns:
        ``None`` where there is no file.
    """
    places = [_place(name.partition("?")[0].rpartition(":")[0])]
    for defined in {type(part).__module__ for part in module.modules()} if module else ():
        if defined.partition(".")[0] != "torch":
            places.append(getattr(sys.modules.get(defined), "__file__", None))
    files = {Path(place).expanduser().resolve() for place in places if place}
    lines = sorted(f"{file_sha256(file)}  {file.name}\n" for file in files if file.is_file())
    return sha256("".join(lines).encode()).hexdigest() if lines else None


def look_in(folder: str) -> None:
    """Have modules looked for in a folder too."""
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _place(imported: str) -> str | None:
    """Return the file of a module, which is itself given as a file or by its name."""
    if imported.endswith(".py"):
        return imported
    look_in(os.getcwd())
    try:
        spec = importlib.util.find_spec(imported)
    except Exception:  # its package cannot be imported; the network cannot be built either
        return None
    return spec.origin if spec else None
