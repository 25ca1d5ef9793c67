"""The model hub, from which timm loads weights itself as it builds a network."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from erf_tools.downloads import is_offline
from erf_tools.errors import ErfToolsError
from erf_tools.failures import reason
from erf_tools.models.requests import HUB
from erf_tools.models.sources import ALTERNATIVES, WeightSource
from erf_tools.models.weights import Weights

#: How the hub's files of weights are called, in timm's order.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class HubWeights(WeightSource):
    """The model hub, from which timm loads weights itself as it builds the network.

    Attributes:
        architecture: timm's name of the network, or one of ``hf-hub:`` or ``local-dir:``.
        repository: of the hub; by default as timm knows it.
    """

    architecture: str
    repository: str = ""

    @property
    def place(self) -> str:
        return f"timm {self.architecture}"

    def find(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        if self.architecture.startswith("local-dir:"):
            folder = Path(self.architecture.partition(":")[2])
            return next((folder / file for file in _HUB_FILES if (folder / file).is_file()), None)
        repository, _, revision = (self.repository or self._repository()).partition("@")
        for file in _HUB_FILES if repository else ():
            found = try_to_load_from_cache(repository, file, revision=revision or None)
            if isinstance(found, str):
                return Path(found)
        return None

    def fetch(self, name: str, progress: bool = False) -> Path | None:
        import timm

        self.build(name, lambda: timm.create_model(self.architecture, pretrained=True))
        return self.find()

    def prefetch(self, name: str, progress: bool) -> None:
        """Leave it to timm, which fetches them as it builds the network."""

    def digest(self) -> None:
        """Return ``None``: results give the digest of the network as it was loaded."""

    def build(self, name: str, create: Callable[[], Any]) -> Any:
        """Return a network that timm builds and loads; offline from what is on this machine.

        Args:
            name: of the model, for the message.
            create: builds the network.

        Raises:
            ErfToolsError: the weights are not here, and cannot be had from the hub.
        """
        cause = None
        try:
            said = self._unreachable()
            if not said:
                with hub_as_allowed():
                    return create()
        except ErfToolsError:
            raise
        except Exception as error:  # timm's, the hub's and those of connections
            cause, said = error, reason(error)
        raise ErfToolsError(
            f"timm cannot get the trained weights of {name} ({said}): connect to the network once, "
            f"use {ALTERNATIVES}"
        ) from cause

    def _unreachable(self) -> str:
        """Return why the hub cannot be asked for what is not here; it would be for a minute."""
        if self.architecture.startswith("local-dir:") or self.find():
            return ""
        return _why_unreachable()

    def _repository(self) -> str:
        if self.architecture.startswith(HUB):
            return self.architecture.partition(":")[2]
        from timm.models import get_pretrained_cfg

        configuration = get_pretrained_cfg(self.architecture, allow_unregistered=True)
        return (configuration and configuration.hf_hub_id) or ""

    def describe_network(self, configuration: Any, digest: str) -> Weights:
        """Return what a result says of the weights of a network that timm has loaded.

        Args:
            configuration: the network's, of timm.
            digest: of its state dict.
        """
        place = configuration.get("hf_hub_id") or configuration.get("url")
        return Weights("pretrained", f"timm, {place}", digest)


@contextmanager
def hub_as_allowed() -> Iterator[None]:
    """Keep the hub's library off the network inside, where offline mode is on.

    It reads its own variable when it is imported, and asks the hub about files that it has.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or is_offline()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _why_unreachable() -> str:
    """Return why the hub cannot be asked; empty where it may be and its name is known."""
    if is_offline():
        return "offline mode is on"
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname
    if not getproxies():  # a proxy looks names up itself
        try:
            socket.getaddrinfo(host, 443)
        except OSError as error:
            return f"{host}: {error.strerror or error}"
    return ""
