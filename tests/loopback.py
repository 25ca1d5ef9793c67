"""A web server on this machine that answers well or badly, as a test wants it."""

from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal


@dataclass
class Answer:
    """What the server says to a path.

    Attributes:
        body: the file.
        status: sent with the body.
        location: where a redirect leads.
        content_type: none is sent where it is empty.
        length: ``stated`` beforehand, not at all (``closing`` ends the body), or ``chunked``.
        stops: how many answers stop early.
        stop_at: after how many bytes of the body; ``None`` is before the status line.
        stop_by: ``closing`` or ``resetting`` the connection, or ``holding`` it until
            :attr:`Loopback.release` is set and then going on.
    """

    body: bytes = b""
    status: int = 200
    location: str = ""
    content_type: str = "application/octet-stream"
    length: Literal["stated", "closing", "chunked"] = "stated"
    stops: int = 0
    stop_at: int | None = None
    stop_by: Literal["closing", "resetting", "holding"] = "closing"


@dataclass(frozen=True)
class Request:
    path: str


class Loopback:
    """The server, as a context; ``answers`` can be changed while it runs."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[Request] = []
        self.release = threading.Event()
        loopback = self

        class Handler(_Handler):
            server_of_test = loopback

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _StopError(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test: Loopback

    def do_GET(self) -> None:
        loopback = self.server_of_test
        loopback.requests.append(Request(self.path))
        answer = loopback.answers.get(self.path, Answer(status=404))
        stops = answer.stops > 0
        answer.stops -= stops
        self.close_connection = True
        try:
            if stops and answer.stop_at is None:
                self._stop(answer)
            self._send_head(answer)
            body = answer.body
            stop_at = answer.stop_at if stops and answer.stop_at is not None else len(body)
            self._send(answer, body[:stop_at])
            if stop_at < len(body):
                self._stop(answer)
                self._send(answer, body[stop_at:])
            if answer.length == "chunked":
                self.wfile.write(b"0\r\n\r\n")
        except (_StopError, ConnectionError):
            pass

    def _send_head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in (
            ("Location", answer.location),
            ("Content-Type", answer.content_type),
        ):
            if value:
                self.send_header(name, value)
        if answer.length == "stated":
            self.send_header("Content-Length", str(len(answer.body)))
        if answer.length == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, answer: Answer, data: bytes) -> None:
        if data and answer.length == "chunked":
            data = b"%x\r\n%s\r\n" % (len(data), data)
        self.wfile.write(data)

    def _stop(self, answer: Answer) -> None:
        if answer.stop_by == "holding":
            self.server_of_test.release.wait()
            return
        if answer.stop_by == "resetting":
            # What was sent must have been read before, or the reset discards it.
            self.server_of_test.release.wait(0.1)
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        raise _StopError

    def log_message(self, format: str, *arguments: Any) -> None:
        pass
