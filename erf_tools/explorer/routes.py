"""Which requests the page's server answers: those the page makes, and no others.

Gradio's server can do more than this page needs, among it fetching addresses of the web for whoever
asks. What is not listed here is not reached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_Message = MutableMapping[str, Any]
_Server = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]],
    Awaitable[None],
]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PAGES = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json")
_FOLDERS = ("/assets/", "/static/", "/svelte/")
_EVENTS = (
    *("startup-events", "theme.css", "upload", "upload_progress"),
    *("queue/join", "queue/data", "cancel", "reset"),
)


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on can be reached from this machine only."""
    return host in _LOOPBACK


def is_answered(path: str, uploads: str) -> bool:
    """Tell whether a path is one that the page asks for.

    Args:
        path: of a request, decoded.
        uploads: the folder that uploaded files lie in; files elsewhere are not sent.
    """
    if path in _PAGES or path.startswith(_FOLDERS):
        return True
    event = path.removeprefix("/gradio_api/")
    if event == path:
        return False
    return event in _EVENTS or event.startswith(("heartbeat/", f"file={uploads}/"))


class OnlyThePage:
    """Pass on the requests of the page; answer all others with 404.

    Of a server on loopback, those under any other name are refused as well: a page of the web whose
    name its owner points at 127.0.0.1 would otherwise be let in.

    Args:
        app: the server.
        uploads: see :func:`is_answered`.
        host: that the server listens on.
    """

    def __init__(self, app: _Server, uploads: str, host: str) -> None:
        self._app = app
        self._uploads = uploads
        self._host = host

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["type"] != "lifespan" and not self._allows(scope):
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 404, "headers": []})
                await send({"type": "http.response.body", "body": b"Not found"})
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: _Message) -> bool:
        asked = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        name = asked.rpartition(":")[0] if asked.rpartition(":")[2].isdecimal() else asked
        if is_loopback(self._host) and not is_loopback(name.strip("[]")):
            return False
        return is_answered(scope["path"], self._uploads)
