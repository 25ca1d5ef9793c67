"""What made a number: the versions of all that can change it."""

from __future__ import annotations

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Return the versions of everything that can change a number, without importing any of it."""
    found = {"python": platform.python_version()}
    for package in ("erf-tools", "torch", "torchvision", "timm", "numpy", "scipy", "pillow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
