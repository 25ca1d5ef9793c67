"""Which requests the page's server answers: those the page makes, and no others.

Gradio's server can do more than this page needs, among it fetching addresses of the web for whoever
asks, and for whoever gives one in place of an upload. What is not listed here is not reached.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from erf_tools.explorer.callers import Names, header, is_from_the_page
from erf_tools.explorer.uploads import MOST_BYTES, has_room

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_Server = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_PAGES = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json")
_FOLDERS = ("/assets/", "/static/", "/svelte/")
_EVENTS = (
    *("startup-events", "theme.css", "upload", "upload_progress"),
    *("queue/join", "queue/data", "cancel", "reset"),
)

#: Where the page sends its events and its files, and the most bytes of one request.
_JOIN, _LONGEST_EVENT = "/gradio_api/queue/join", 2**16
_UPLOAD, _LONGEST_UPLOAD = "/gradio_api/upload", MOST_BYTES + 2**16


_NO_ROOM = (
    "There is no room for more uploads now: each is removed an hour after it came, and all of them "
    "when the page is ended."
)


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
    """Pass on what the page itself asks for; refuse all other requests.

    Args:
        app: the server.
        uploads: see :func:`is_answered`.
        names: that the server is known by.
    """

    def __init__(self, app: _Server, uploads: str, names: Names) -> None:
        self._app = app
        self._uploads = uploads
        self._names = names
        self._arriving = 0

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif not self._is_known(scope):
            await _refuse(send, 404, "This page is answered under its own address only.")
        elif not is_answered(scope["path"], self._uploads):
            await _refuse(send, 404, "Not found")
        elif scope["path"] == _JOIN:
            await self._join(scope, receive, send)
        elif scope["path"] == _UPLOAD:
            await self._upload(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_known(self, scope: _Message) -> bool:
        asked = header(scope["headers"], b"host") or ""
        opens = scope["path"] == "/" and scope["method"] == "GET"
        return self._names.hold(asked) and is_from_the_page(
            scope["headers"], scope["scheme"], opens
        )

    async def _join(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        body = await _whole(receive, _LONGEST_EVENT)
        if body is None or not names_only_uploads(body, self._uploads):
            await _refuse(send, 404, "Not found")
        else:
            await self._app(scope, _again(body, receive), send)

    async def _upload(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Pass on an upload when all of it is there: one that breaks off leaves nothing."""
        if not has_room(self._uploads, self._arriving + 1):
            await _refuse(send, 413, _NO_ROOM)
            return
        self._arriving += 1
        try:
            body = await _whole(receive, _LONGEST_UPLOAD)
            if body is None:
                await _refuse(send, 413, f"The most is {MOST_BYTES >> 20} MB.")
            else:
                await self._app(scope, _again(body, receive), send)
        finally:
            self._arriving -= 1


async def _refuse(send: _Send, status: int, reason: str) -> None:
    plain = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": plain})
    await send({"type": "http.response.body", "body": reason.encode()})


async def _whole(receive: _Receive, longest: int) -> bytes | None:
    """Return the body of a request; ``None`` where it is longer, or the browser went away."""
    parts: list[bytes] = []
    length = 0
    while length <= longest:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if not message.get("more_body", False):
            return b"".join(parts) if length <= longest else None
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
