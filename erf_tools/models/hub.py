"""The model hub, through timm and the hub's own library: whether it may and can be asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

from erf_tools.downloads import is_offline
from erf_tools.errors import ErfToolsError
from erf_tools.models.catalogue import Entry, weights_file


@contextmanager
def hub_as_allowed() -> Iterator[None]:
    """Keep the hub's library off the network inside, where offline mode is on.

    It reads its own variable when it is imported, and asks the hub about files that it has.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or is_offline()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def check_hub(entry: Entry) -> None:
    """Fail at once where the model hub cannot be reached; it would be asked for a minute.

    Raises:
        ErfToolsError: the weights are not on this machine, and offline mode is on or the hub's
            name is not known to the network.
    """
    if weights_file(entry) or entry.architecture.startswith("local-dir:"):
        return
    if is_offline():
        raise ErfToolsError(no_hub(entry, "offline mode is on"))
    host = urlsplit(constants.ENDPOINT).hostname
    if not getproxies():  # a proxy looks names up itself
        try:
            socket.getaddrinfo(host, 443)
        except OSError as error:
            raise ErfToolsError(no_hub(entry, f"{host}: {error.strerror or error}")) from error


def no_hub(entry: Entry, reason: str) -> str:
    """Return what is to be said where trained weights cannot be had from the hub."""
    return (
        f"timm cannot get the trained weights of {entry.name} ({reason}): connect to the network "
        "once, use --weights FILE for a file of your own, or --weights random for the untrained "
        "network"
    )
