"""Who is answered: whoever asks under one of the server's own names, and from its own page.

A page of the web can have a browser send requests to this machine, under a name that its owner
points here or straight to the address. Both are told by headers that a page cannot set.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable

from erf_tools.addresses import ip_address, is_loopback

#: Name and port of a ``Host`` header; an IPv6 address stands in brackets.
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^\s:/?#@\[\]]+))(?::\d{1,5})?")

#: How browsers say that a request comes from the page itself, or from whoever typed its address.
_OWN_SITES = ("same-origin", "none")

Headers = Iterable[tuple[bytes, bytes]]


class Names:
    """The names that a server is known by, so that others can be told from them.

    Args:
        host: to listen on, as it was asked for.
        address: that it listens on.
    """

    def __init__(self, host: str, address: str) -> None:
        self._local = is_loopback(address)
        self._names = {"localhost", host.lower()}
        if not self._local:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own}.local"}

    def hold(self, asked: str) -> bool:
        """Tell whether a ``Host`` header has one of them.

        Any loopback address is one; any other address is too where the server listens on more than
        loopback, since only names can be pointed elsewhere by their owners.
        """
        found = _HOST.fullmatch(asked.lower())
        if not found:
            return False
        name = found["address"] or found["name"].removesuffix(".")
        if name in self._names or is_loopback(name):
            return True
        return not self._local and ip_address(name) is not None


def header(headers: Headers, name: bytes) -> str | None:
    """Return the value of a header; ``None`` where there is none.

    Of several values none is right, and what is returned equals none of them.
    """
    values = [value.decode("latin-1") for key, value in headers if key == name]
    return ", ".join(values) if values else None


def is_from_the_page(headers: Headers, scheme: str, opens: bool) -> bool:
    """Tell whether a request comes from the page that the server itself has sent.

    Args:
        headers: of the request.
        scheme: of the server's address, ``http`` or ``https``.
        opens: whether the request is for the page as such, which a link elsewhere may lead to.
    """
    headers = list(headers)
    origin = header(headers, b"origin")
    if origin is not None and origin.lower() != f"{scheme}://{header(headers, b'host')}".lower():
        return False
    site = header(headers, b"sec-fetch-site")
    followed = opens and header(headers, b"sec-fetch-dest") == "document"
    return site is None or site in _OWN_SITES or followed
