"""Which requests the page's server answers: those the page makes, and no others.

Gradio's server can do more than this page needs, among it fetching addresses of the web for whoever
asks, and for whoever gives one in place of an upload. What is not listed here is not reached.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

_Message = MutableMapping[str, Any]
_Server = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]],
    Awaitable[None],
]
_Receive = Callable[[], Awaitable[_Message]]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PAGES = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json")
_FOLDERS = ("/assets/", "/static/", "/svelte/")
_EVENTS = (
    *("startup-events", "theme.css", "upload", "upload_progress"),
    *("queue/join", "queue/data", "cancel", "reset"),
)

#: Where the page sends its events, and the most bytes of one.
_JOIN, _LONGEST_EVENT = "/gradio_api/queue/join", 2**16


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


def names_only_uploads(body: bytes, uploads: str) -> bool:
    """Tell whether every file that an event's values name is an upload.

    Args:
        body: of the request, JSON.
        uploads: see :func:`is_answered`.
    """
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        return False
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if path is not None and not _is_inside(path, uploads):
                return False
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return True


def _is_inside(path: object, folder: str) -> bool:
    if not isinstance(path, str) or "\0" in path:
        return False
    return Path(path).is_absolute() and Path(path).resolve().is_relative_to(Path(folder).resolve())


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
        receive: _Receive,
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        allowed = self._allows(scope)
        if allowed and scope["type"] == "http" and scope["path"] == _JOIN:
            body = await _whole(receive)
            allowed = body is not None and names_only_uploads(body, self._uploads)
            receive = _again(body or b"", receive)
        if allowed:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"Not found"})

    def _allows(self, scope: _Message) -> bool:
        asked = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        name = asked.rpartition(":")[0] if asked.rpartition(":")[2].isdecimal() else asked
        if is_loopback(self._host) and not is_loopback(name.strip("[]")):
            return False
        return is_answered(scope["path"], self._uploads)


async def _whole(receive: _Receive) -> bytes | None:
    """Return the body of a request; ``None`` where it is longer than any of the page's."""
    body = b""
    while len(body) <= _LONGEST_EVENT:
        message = await receive()
        if message["type"] != "http.request":  # the browser went away
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body if len(body) <= _LONGEST_EVENT else None
    return None


def _again(body: bytes, receive: _Receive) -> _Receive:
    """Return what gives a body that was read already, and then what comes after it."""
    given = False

    async def give() -> _Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give
