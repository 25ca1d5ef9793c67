"""Where the explorer listens, whom it answers, what may be uploaded, what is left at the end."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import Command

from erf_tools.errors import ErfToolsError, OutputError, UsageError
from erf_tools.explorer.callers import Names, header, is_from_the_page
from erf_tools.explorer.server import ended_like_ctrl_c, listen, serve
from erf_tools.explorer.uploads import MOST_BYTES, MOST_UPLOADED, has_room, uploads_folder

UPLOAD = "/gradio_api/upload"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("asked", "local", "reached"),
    [
        ("127.0.0.1:7860", True, True),
        ("localhost", True, True),
        ("LOCALHOST:7860", True, True),
        ("LocalHost.:7860", True, True),
        ("127.0.0.2:7860", True, True),
        ("[::1]:7860", True, True),
        ("[::1]", True, True),
        ("[::ffff:127.0.0.1]:7860", True, True),
        ("MyBox:7860", True, True),
        ("192.168.1.5:7860", False, True),
        ("[fd00::5]:7860", False, True),
        (f"{socket.gethostname()}:7860", False, True),
        ("", False, False),
        ("pages.example", False, False),
        ("localhost.pages.example:7860", False, False),
        ("127.0.0.1.pages.example", False, False),
        ("user@127.0.0.1:7860", False, False),
        ("127.0.0.1:7860, pages.example", False, False),
        ("[::1", False, False),
        ("[pages.example]:7860", False, False),
        ("::1", False, False),
        ("localhost:7860:7860", False, False),
        ("localhost..", False, False),
    ],
)
def test_a_server_is_asked_under_its_own_names(asked: str, local: bool, reached: bool) -> None:
    """A page elsewhere can point its own name here; nobody can point an address."""
    assert Names("mybox", "127.0.0.1").hold(asked) is local
    assert Names("mybox", "0.0.0.0").hold(asked) is reached


OPENED = {"sec-fetch-dest": "document", "sec-fetch-mode": "navigate"}


@pytest.mark.parametrize(
    ("headers", "opens", "answered"),
    [
        ({}, False, True),
        ({"origin": "http://localhost:7860"}, False, True),
        ({"origin": "http://LOCALHOST:7860"}, False, True),
        ({"origin": "http://localhost:7860", "sec-fetch-site": "same-origin"}, False, True),
        ({"sec-fetch-site": "none"}, False, True),
        ({"origin": "https://evil.example"}, False, False),
        ({"origin": "null"}, False, False),
        ({"origin": ""}, False, False),
        ({"origin": "http://localhost:7861"}, False, False),
        ({"origin": "http://localhost"}, False, False),
        ({"origin": "http://127.0.0.1:7860"}, False, False),
        ({"origin": "https://localhost:7860"}, False, False),
        ({"origin": "http://localhost:7860.evil.example"}, False, False),
        ({"sec-fetch-site": "cross-site"}, False, False),
        ({"sec-fetch-site": "same-site"}, False, False),  # another port of this machine
        ({"sec-fetch-site": "cross-site", **OPENED}, True, True),  # a link was followed
        ({"sec-fetch-site": "cross-site", **OPENED}, False, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"}, True, False),
        ({"origin": "https://evil.example", **OPENED}, True, False),
    ],
)
def test_only_the_page_itself_asks(headers: dict[str, str], opens: bool, answered: bool) -> None:
    sent = [(b"host", b"localhost:7860")]
    sent += [(name.encode(), value.encode()) for name, value in headers.items()]
    assert is_from_the_page(sent, "http", opens) is answered


def test_of_two_hosts_or_origins_none_is_right() -> None:
    twice = [(b"host", b"localhost"), (b"host", b"pages.example")]
    assert not Names("localhost", "127.0.0.1").hold(header(twice, b"host") or "")
    origins = [(b"host", b"localhost")] + [(b"origin", b"http://localhost")] * 2
    assert not is_from_the_page(origins, "http", opens=False)


@pytest.mark.parametrize(
    ("host", "local", "name"),
    [
        ("127.0.0.1", True, "127.0.0.1"),
        ("127.0.0.2", True, "127.0.0.2"),
        ("localhost", True, "127.0.0.1"),
        ("LOCALHOST", True, "127.0.0.1"),
        ("::1", True, "::1"),
        ("[::1]", True, "::1"),
        ("0.0.0.0", False, "localhost"),
        ("::", False, "localhost"),
    ],
)
def test_it_listens_where_it_is_told_to(host: str, local: bool, name: str) -> None:
    with listen(host) as listener:
        assert listener.is_local is local
        assert urlsplit(listener.address).hostname == name
        place = (name, urlsplit(listener.address).port)
        socket.create_connection(place).close()
        with pytest.raises(ErfToolsError, match="in use"):
            listen(host, place[1])
        with listen(host) as other:
            assert other.address != listener.address


@pytest.mark.parametrize("host", ["", " ", "[]"])
def test_no_host_is_not_a_host(host: str, run_command: Command) -> None:
    with pytest.raises(UsageError, match="--host is empty"):
        listen(host)
    code, _, error = run_command("app", "--host", host)
    assert code == 2
    assert "--host is empty" in error


@pytest.mark.parametrize("host", ["192.0.2.77", "no.such.host.invalid", "a" * 64, "a..b", "::zz"])
def test_where_nothing_can_listen_is_one_sentence(host: str) -> None:
    with pytest.raises(ErfToolsError, match=r"cannot be served on .+ choose another"):
        listen(host)


def test_there_is_room_for_ten_of_the_largest(tmp_path: Path) -> None:
    assert has_room(str(tmp_path), MOST_UPLOADED // MOST_BYTES)
    assert not has_room(str(tmp_path), MOST_UPLOADED // MOST_BYTES + 1)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "empty").touch()  # even that takes a place on the disk
    assert not has_room(str(tmp_path), MOST_UPLOADED // MOST_BYTES)


def test_a_full_disk_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = shutil.disk_usage(tmp_path)._replace(free=2 * MOST_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: left)
    assert has_room(str(tmp_path), 1)
    assert not has_room(str(tmp_path), 2)


def test_no_folder_for_uploads_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_command: Command
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"no folder for uploads \(.+\); let TMPDIR name"):
        uploads_folder().__enter__()
    code, _, error = run_command("app", "--model", "resnet18")
    assert code == 1
    assert "let TMPDIR name" in error


def ask(
    address: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET" if body is None else "POST", path, body, sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


HEAD = b'--X\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
FORM = "multipart/form-data; boundary=X"


def upload(address: str, content: bytes, chunked: bool = False, **headers: str) -> tuple[int, str]:
    """Send a file as a form does; return the status and its path, or why it was not taken."""
    body: Any = HEAD + content + b"\r\n--X--\r\n"
    if chunked:  # no length is said beforehand
        body = iter([body[start : start + 2**16] for start in range(0, len(body), 2**16)])
    status, _, answer = ask(address, UPLOAD, body, Content_Type=FORM, **headers)
    return status, json.loads(answer)[0] if status == 200 else answer.decode()


def half_an_upload(address: str) -> socket.socket:
    place = urlsplit(address)
    connection = socket.create_connection((place.hostname, place.port))
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: {FORM}\r\n"
    connection.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode() + HEAD + b"x" * 50_000)
    return connection


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server, behind a proxy that knows nothing of this machine's own addresses."""
    pytest.importorskip("gradio", reason="the extra `app` is missing")
    from erf_tools.explorer.pictures import samples
    from erf_tools.explorer.session import Session

    session = Session(["resnet18"])
    with pytest.MonkeyPatch.context() as environment, uploads_folder() as uploads:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            environment.setenv(name, "http://127.0.0.1:9")
        environment.delenv("no_proxy", raising=False)
        environment.delenv("NO_PROXY", raising=False)
        with listen("::1") as listener, serve(session, samples(), listener, uploads):
            yield listener.address


@pytest.fixture(scope="module")
def folder(address: str) -> Path:
    """Where uploads lie."""
    status, path = upload(address, PNG)
    assert status == 200
    assert Path(path).read_bytes() == PNG
    return Path(path).parents[1]


def test_the_page_is_served_over_ipv6_and_behind_a_proxy(address: str) -> None:
    assert address.startswith("http://[::1]:")
    status, _, page = ask(address, "/")
    assert status == 200
    assert b"erf-tools" in page
    assert ask(address, "/config")[0] == 200


@pytest.mark.parametrize("path", ["/", "/config", "/theme.css", UPLOAD, "/gradio_api/queue/join"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Host": "pages.example"},
    ],
)
def test_every_address_is_closed_to_others(
    address: str, path: str, headers: dict[str, str]
) -> None:
    for body in (None, b"{}"):
        status, answered, _ = ask(address, path, body, **headers)
        assert status == 404
        assert "access-control-allow-origin" not in answered


def test_no_websocket_is_opened(address: str) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    key = {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    for path in ("/", "/gradio_api/queue/join"):
        status, answered, _ = ask(address, path, **upgrade, **key)
        assert status != 101
        assert "sec-websocket-accept" not in answered


def test_an_upload_from_elsewhere_is_not_kept(address: str, folder: Path) -> None:
    own = address.rstrip("/")
    assert upload(address, PNG, Origin=own)[0] == 200
    before = sorted(folder.rglob("*"))
    for origin in ("https://evil.example", "null", own.replace("http", "https")):
        assert upload(address, PNG + origin.encode(), Origin=origin)[0] == 404
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads_have_a_limit_each_and_together(address: str, folder: Path, chunked: bool) -> None:
    status, path = upload(address, b"x" * MOST_BYTES, chunked)
    assert status == 200
    assert Path(path).stat().st_size == MOST_BYTES
    before = sorted(folder.rglob("*"))
    assert upload(address, b"x" * (MOST_BYTES + 2**17), chunked) == (413, "The most is 20 MB.")
    filler = folder / "filler"
    with filler.open("wb") as stream:
        stream.truncate(MOST_UPLOADED - 2 * MOST_BYTES)
    status, said = upload(address, PNG, chunked)
    filler.unlink()
    assert status == 413
    assert "no room for more uploads" in said
    assert upload(address, PNG, chunked)[0] == 200
    assert sorted(folder.rglob("*")) == before


def test_an_upload_that_breaks_off_leaves_nothing(address: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    half_an_upload(address).close()
    assert ask(address, "/config")[0] == 200  # asked later than that
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_uploads_are_removed_however_it_ends(name: str, run_command: Command) -> None:
    """Another upload is under way, and a page is open, when the signal comes."""
    pytest.importorskip("gradio", reason="the extra `app` is missing")
    with listen("127.0.0.1") as free:
        address = free.address
    kept: list[str] = []
    open_until_the_end: list[Any] = []

    def visit() -> None:
        try:
            for _ in range(600):
                try:
                    kept.append(upload(address, PNG)[1])
                    break
                except ConnectionError:
                    threading.Event().wait(0.05)
            open_until_the_end.append(half_an_upload(address))
            page = http.client.HTTPConnection(urlsplit(address).netloc)
            page.request("GET", "/gradio_api/heartbeat/x")
            open_until_the_end.append(page.getresponse())
        finally:
            os.kill(os.getpid(), number)

    def forgotten(*_: object) -> None:
        raise AssertionError(f"{name} is not heeded")

    number = getattr(signal, name)
    usual = signal.signal(number, signal.default_int_handler if name == "SIGINT" else forgotten)
    try:
        visitor = threading.Thread(target=visit)
        visitor.start()
        code, out, error = run_command("app", "--port", urlsplit(address).port)
        visitor.join()
        assert signal.getsignal(number) is (
            signal.default_int_handler if name == "SIGINT" else forgotten
        )
    finally:
        signal.signal(number, usual)
    assert code == 0, error
    assert out == f"{address} (Ctrl+C ends it)\n"
    assert len(open_until_the_end) == 2
    assert kept
    assert not Path(kept[0]).parents[1].exists()


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_like_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)
