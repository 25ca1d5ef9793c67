"""Web addresses: which may be asked."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address
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
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise UsageError(
            f"{address} is refused; give an https address (http is for this machine only)"
        )


def is_loopback(host: str) -> bool:
    """Tell whether a name or address, in lower case, is that of this machine for itself."""
    found = ip_address(host)
    return host == "localhost" or (found is not None and found.is_loopback)


def ip_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is named by; ``None`` for other names."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
