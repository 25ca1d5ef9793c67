"""How names of models begin: with the library that builds the network, or not at all.

A further library is a row of :data:`LIBRARIES` and a module in :mod:`erf_tools.models.libraries`.
Nothing here imports torch.
"""

from __future__ import annotations

from typing import NamedTuple


class LibraryModule(NamedTuple):
    """What builds a library's networks.

    Attributes:
        module: in :mod:`erf_tools.models.libraries`.
        package: the library's importable name.
        extra: of erf-tools, that installs it; empty where it always is.
        zero_shot: whether its networks decide among classes that are given in words.
    """

    module: str
    package: str
    extra: str = ""
    zero_shot: bool = False


#: By what stands before a name, as in ``torchvision:resnet50``.
LIBRARIES = {
    "timm": LibraryModule("timm_networks", "timm"),
    "torchvision": LibraryModule("torchvision_networks", "torchvision"),
    "transformers": LibraryModule("transformers_networks", "transformers", "transformers"),
    "open_clip": LibraryModule("open_clip_networks", "open_clip", "clip", zero_shot=True),
}
#: How timm's own names of networks begin that lie elsewhere than in its list.
HUB = ("hf-hub:", "hf_hub:", "local-dir:")


def is_factory(name: str) -> bool:
    """Tell whether a name is of a function: ``package.module:factory`` or ``file.py:factory``."""
    return ":" in name and not name.startswith(HUB) and name.partition(":")[0] not in LIBRARIES


def is_zero_shot(name: str) -> bool:
    """Tell whether a network of this name decides among classes that are given in words."""
    return name.partition(":")[0] in LIBRARIES and LIBRARIES[name.partition(":")[0]].zero_shot


def library_of(name: str) -> tuple[str, str]:
    """Return the library of a name that is no factory, and the name there; timm is the default."""
    prefix, _, rest = name.partition(":")
    return (prefix, rest) if prefix in LIBRARIES else ("timm", name)
