"""Web addresses: which may be asked."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from erf_tools.errors import UsageError


def is_address(place: str | Path) -> bool:
    """Tell whether a place is named by a web address rather than as a file."""
    return str(place).startswith(("https://", "http://"))


def name_at(place: str | Path) -> str:
    """Return the name of the file at an address or a path; empty if an address names none."""
    return Path(unquote(urlsplit(str(place)).path) if is_address(place) else place).name


def check_address(address: str) -> None:
    """Refuse every address but ``https``, and ``http`` to this machine itself.

    Raises:
        UsageError: the address is another one, or is malformed.
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        well_formed = bool(host) and parts.port != 0
    except ValueError:
        raise UsageError(
            f"{address!r} is no web address; give one such as https://host/file"
        ) from None
    # urlsplit drops line ends, and urllib.request takes a user name for a part of the host: what
    # was checked would not be what is asked for.
    if not well_formed or "@" in parts.netloc or not re.fullmatch(r"[!-~]+", address):
        raise UsageError(f"{address!r} is no web address; give one such as https://host/file")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise UsageError(
            f"{address} is refused; give an https address (http is for this machine only)"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
