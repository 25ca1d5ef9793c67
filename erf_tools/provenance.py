"""What made a number: the versions of all that can change it."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata

#: All that can change any number.
_PACKAGES = ("erf-tools", "torch", "torchvision", "timm", "numpy", "scipy", "pillow")


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages, without importing any of them."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
