"""What made a number: the versions of all that can change it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from typing import Any

#: All that can change any number, but for libraries that change those of their networks alone.
_PACKAGES = ("erf-tools", "torch", "torchvision", "timm", "numpy", "scipy", "pillow")

#: These libraries, by their importable names.
_LIBRARIES = {"transformers": "transformers", "open_clip": "open_clip_torch"}


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages, without importing any of them."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = _version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def library_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of libraries that change the numbers of their own networks alone.

    Args:
        packages: importable names; others than those of such libraries do not count.
    """
    found = versions(_LIBRARIES[package] for package in packages if package in _LIBRARIES)
    return {package: version for package, version in sorted(found.items()) if package != "python"}


def run_record(images: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return how something was measured, as JSON values: of which images, where, by what.

    Args:
        images: what :meth:`erf_tools.images.Selection.record` says of them.
        device: its name.
    """
    return {"images": images, "device": device, "versions": versions()}


@cache
def _version(package: str) -> str:
    return metadata.version(package)  # reads files each time
