"""The server of the page: where it listens, and what ends with it.

It is run here and not by Gradio's ``launch``, which asks for its own page by way of whatever proxy
the environment names, cannot listen on every address, and heeds a dozen variables of its own.
"""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from erf_tools.addresses import is_loopback
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.explorer.callers import Names
from erf_tools.explorer.routes import OnlyThePage
from erf_tools.explorer.uploads import MOST_BYTES

if TYPE_CHECKING:
    from PIL import Image

    from erf_tools.explorer.session import Session

_FIRST_PORT = 7860

#: Seconds that answers under way are given when the server ends.
_LAST_ANSWERS = 2

#: What ends a program that waits; SIGHUP comes where its terminal is closed.
_ENDING = ("SIGTERM", "SIGHUP")


@dataclass(frozen=True)
class Listener:
    """A socket that listens, closed at the end of the block.

    Attributes:
        socket: which takes connections already.
        host: as it was asked for.
    """

    socket: socket.socket
    host: str

    @property
    def is_local(self) -> bool:
        """Whether it is reached from this machine only."""
        return is_loopback(self._place[0])

    @property
    def address(self) -> str:
        """The page's address in a browser on this machine."""
        name, port = self._place
        if name in ("0.0.0.0", "::"):
            name = "localhost"
        return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"

    @property
    def names(self) -> Names:
        """The names that whoever reaches it may call it by."""
        return Names(self.host, self._place[0])

    @property
    def _place(self) -> tuple[str, int]:
        name, port = self.socket.getsockname()[:2]
        return name, port

    def __enter__(self) -> Listener:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the socket."""
        self.socket.close()


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl+C does, so that uploads are removed then too.

    A signal that is ignored, as by ``nohup``, is left so.
    """
    signals = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in signals}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(host: str, port: int | None = None) -> Listener:
    """Listen on an address.

    Args:
        host: an address or a name of this machine; IPv6 addresses may stand in brackets.
        port: by default the first that is free from 7860.

    Raises:
        UsageError: there is no host.
        ErfToolsError: nothing can listen there.
    """
    bare = host.strip().removeprefix("[").removesuffix("]")
    if not bare:
        raise UsageError(
            "--host is empty; it is the address to listen on, 127.0.0.1 for this machine only"
        )
    reason = "all ports are taken"
    for candidate in [port] if port else range(_FIRST_PORT, _FIRST_PORT + 100):
        try:
            return Listener(_listening(bare, candidate), bare)
        except (OSError, UnicodeError) as error:  # the latter of names that are too long
            reason = getattr(error, "strerror", None) or str(error)
            if getattr(error, "errno", None) != errno.EADDRINUSE:
                break
    raise ErfToolsError(
        f"the page cannot be served on {host} ({reason}); choose another --port or --host"
    )


def _listening(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, address = min((family, address) for family, _, _, _, address in found)  # IPv4 first
    everywhere = address[0] == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address[:2], family=family, dualstack_ipv6=everywhere)


@contextmanager
def serve(
    session: Session,
    samples: Mapping[str, Path | Image.Image],
    listener: Listener,
    uploads: str,
) -> Iterator[None]:
    """Serve the page from other threads inside the block.

    Args:
        session: the networks.
        samples: see :func:`erf_tools.explorer.page.build`.
        listener: from :func:`listen`.
        uploads: from :func:`~erf_tools.explorer.uploads.uploads_folder`.

    Raises:
        ErfToolsError: the server does not start.
    """
    server = _server(session, samples, listener, uploads)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener.socket]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            if not thread.is_alive():
                raise ErfToolsError("the server of the page has not started")
        yield
    finally:
        server.should_exit = True
        thread.join()


def _server(
    session: Session,
    samples: Mapping[str, Path | Image.Image],
    listener: Listener,
    uploads: str,
) -> Any:
    # Gradio looks for its folder when it is imported: here there is one.
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware import Middleware

    from erf_tools.explorer.page import APPEARANCE, build

    page = build(session, samples)
    only = Middleware(OnlyThePage, uploads=uploads, names=listener.names)
    application = gr.mount_gradio_app(
        FastAPI(openapi_url=None, middleware=[only]),
        page,
        path="/",
        root_path="",
        show_error=False,
        max_file_size=MOST_BYTES,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        ssr_mode=False,
        **APPEARANCE,
    )
    open_ended = application.routes[-1].app.stop_event

    class Server(uvicorn.Server):
        """The server, whose end also ends the answers that go on for as long as a page is open."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            open_ended.set()
            page._queue.close()
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            application, ws="none", log_level="warning", timeout_graceful_shutdown=_LAST_ANSWERS
        )
    )
