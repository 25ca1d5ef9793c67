"""The model hub, from which libraries load weights themselves as they build a network."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from erf_tools.downloads import is_offline
from erf_tools.errors import ErfToolsError
from erf_tools.failures import reason
from erf_tools.files import canonical_json, file_sha256
from erf_tools.models.code import joint_sha256
from erf_tools.models.prefixes import HUB
from erf_tools.models.shards import read_index, weights_sha256
from erf_tools.models.sources import ALTERNATIVES, WeightSource
from erf_tools.models.weights import Weights


@dataclass(frozen=True)
class HubWeights(WeightSource):
    """The model hub, from which timm loads weights itself as it builds the network.

    Other libraries have subclasses of their own.

    Attributes:
        architecture: the library's name of the network.
        repository: of the hub; by default as the library knows it.
    """

    #: The library, and how it calls the files of weights, the first it looks for first.
    library: ClassVar[str] = "timm"
    files: ClassVar[tuple[str, ...]] = ("model.safetensors", "pytorch_model.bin")

    architecture: str
    repository: str = ""

    @property
    def place(self) -> str:
        return f"{self.library} {self.architecture}"

    @property
    def folder(self) -> Path | None:
        """The folder on this machine that the architecture is the name of, if it is."""
        is_folder = self.architecture.startswith("local-dir:")
        return Path(self.architecture.partition(":")[2]) if is_folder else None

    def find(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        if folder := self.folder:
            return next((folder / file for file in self.files if (folder / file).is_file()), None)
        repository, _, revision = (self.repository or self.known_repository()).partition("@")
        for file in self.files if repository else ():
            found = try_to_load_from_cache(repository, file, revision=revision or None)
            if isinstance(found, str):
                return Path(found)
        return None

    def fetch(self, name: str, progress: bool = False) -> Path | None:
        self.build(name, self.create)
        return self.find()

    def prefetch(self, name: str, progress: bool) -> None:
        """Leave it to the library, which fetches them as it builds the network."""

    def digest(self) -> None:
        """Return ``None``: results give the digest of the network as it was loaded."""

    def folder_sha256(self) -> str | None:
        """Return a digest of the weights and settings in a local folder; ``None`` without one.

        The settings decide what is built for other weights too.
        """
        if self.folder is None:
            return None
        weights = self.find()
        digests = {weights: weights_sha256(weights)} if weights else {}
        settings = [file for file in self.folder.glob("*.json") if file.is_file()]
        return joint_sha256({**{file: file_sha256(file) for file in settings}, **digests})

    def version(self) -> str:
        """Return which version of the weights the hub's cache holds; empty where it holds none."""
        if self.folder:
            return ""
        repository, _, revision = (self.repository or self.known_repository()).partition("@")
        for file in self.files if repository else ():
            if content := _content(repository, revision, file):
                kept = {"repository": repository, "revision": revision, "file": file}
                return canonical_json({**kept, "content": content})
        return ""

    def create(self) -> Any:
        """Return the network with its weights, as the library builds it."""
        import timm

        return timm.create_model(self.architecture, pretrained=True)

    def known_repository(self) -> str:
        """Return the repository that the library knows; empty where it knows none."""
        if self.architecture.startswith(HUB):
            return self.architecture.partition(":")[2]
        from timm.models import get_pretrained_cfg

        configuration = get_pretrained_cfg(self.architecture, allow_unregistered=True)
        return (configuration and configuration.hf_hub_id) or ""

    def build(self, name: str, create: Callable[[], Any]) -> Any:
        """Return a network that the library builds and loads; offline from what is here.

        Args:
            name: of the model, for the message.
            create: builds the network.

        Raises:
            ErfToolsError: the weights are not here, and cannot be had from the hub.
        """
        cause = None
        try:
            said = "" if self.folder or self.find() else _why_unreachable()
            if not said:
                with hub_as_allowed():
                    return create()
        except ErfToolsError:
            raise
        except Exception as error:  # the library's, the hub's and those of connections
            cause, said = error, reason(error)
        raise ErfToolsError(
            f"{self.library} cannot get the trained weights of {name} ({said}): connect to the "
            f"network once, use {ALTERNATIVES}"
        ) from cause

    def describe_network(self, module: Any, digest: str) -> Weights:
        """Return what a result says of the weights of a network that the library has loaded.

        Args:
            module: the network.
            digest: of its state dict.
        """
        known = getattr(module, "pretrained_cfg", {})
        place = known.get("hf_hub_id") or known.get("url") or self.repository or self.architecture
        return Weights("pretrained", f"{self.library}, {place}", digest)


def changed_since(version: str) -> bool:
    """Tell whether the hub's cache holds another version of weights than it did.

    Args:
        version: from :meth:`HubWeights.version`.
    """
    if not version:
        return False
    known = json.loads(version)
    now = _content(known["repository"], known["revision"], known["file"])
    return bool(now) and now != known["content"]


def _content(repository: str, revision: str, file: str) -> list[str]:
    """Return where the content of a file of weights lies in the hub's cache, and of its shards.

    That is named by its digest, or by the version of the repository where there are no links.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file, revision=revision or None)
    if not isinstance(found, str):
        return []
    files = [Path(found)]
    with suppress(ErfToolsError, OSError):  # a shard that is missing is told when it is loaded
        index = read_index(files[0])
        files += index.files if index else []
    return ["/".join(each.resolve().parts[-2:]) for each in files]


@contextmanager
def hub_as_allowed(asked: bool = False) -> Iterator[None]:
    """Keep the hub's library off the network inside, where offline mode is on.

    It reads its own variable when it is imported, and asks the hub about files that it has.

    Args:
        asked: whether it will ask the hub inside. It is kept off then where the hub's name is not
            known either, which it would try for half a minute.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or bool(_why_unreachable() if asked else is_offline())
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
