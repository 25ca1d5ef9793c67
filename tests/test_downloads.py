"""Downloads, from a real server: whole and verified, or not there at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback import Answer, Loopback

from erf_tools import downloads
from erf_tools.addresses import check_address
from erf_tools.downloads import cache_folder, download, is_offline
from erf_tools.errors import ErfToolsError, UsageError

BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(280_000)
HALF = 150_000
SHA256 = hashlib.sha256(BODY).hexdigest()
PAGE = b"\xef\xbb\xbf\n  <!DocType HTML><title>Please log in</title>"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ERF_TOOLS_OFFLINE", "HF_HUB_OFFLINE", "ERF_TOOLS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    monkeypatch.setattr(downloads, "_PAUSES", (0.01, 0.01, None))


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "net.pth"


def left_of(target: Path) -> set[str]:
    """What lies in the target's folder, but the lock."""
    names = {path.name for path in target.parent.iterdir()} if target.parent.is_dir() else set()
    return names - {target.name + ".lock"}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder().is_absolute()
    assert "erf-tools" in cache_folder().parts
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("ERF_TOOLS_CACHE", "~/kept")
    assert cache_folder() == tmp_path / "kept"


@pytest.mark.parametrize("name", ["ERF_TOOLS_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_values(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_offline()
    for value, expected in [
        ("1", True),
        ("TRUE", True),
        ("yes", True),
        ("", False),
        ("0", False),
        ("False", False),
        ("NO", False),
        ("off", False),
    ]:
        monkeypatch.setenv(name, value)
        assert is_offline() is expected, value


@pytest.mark.parametrize(
    "address",
    [
        "https://download.openmmlab.com/net.pth",
        "https://host:8443/net.pth?id=1&x=%20",
        "http://127.0.0.1/net.pth",
        "http://127.8.9.10:80/net.pth",
        "http://[::1]:8000/net.pth",
        "http://localhost:8000/net.pth",
        "HTTP://LocalHost/net.pth",
    ],
)
def test_accepted_addresses(address: str) -> None:
    check_address(address)


REFUSED = [
    "http://example.org/net.pth",
    "http://127.0.0.1@evil.example/net.pth",
    "http://127.0.0.1:80@evil.example/net.pth",
    "http://evil.example\\@127.0.0.1/net.pth",
    "http://127.0.0.1\\@evil.example/net.pth",
    "http://evil.example#@127.0.0.1/net.pth",
    "http://127.0.0.1.evil.example/net.pth",
    "http://localhost.evil.example/net.pth",
    "http://128.0.0.1/net.pth",
    "http://0.0.0.0/net.pth",
    "http://192.168.0.1/net.pth",
    "http://[::2]/net.pth",
    "http://[::1/net.pth",
    "http:///net.pth",
    "https:///net.pth",
    "https://",
    "https://host:port/net.pth",
    "https://user:word@host/net.pth",
    "https://host/net\n.pth",
    "https://host/a b",
    "https://höst/net.pth",
    "file:///etc/hostname",
    "file://localhost/etc/hostname",
    "ftp://127.0.0.1/net.pth",
    "data:text/plain,net",
    "net.pth",
    "",
]


@pytest.mark.parametrize("address", REFUSED)
def test_refused_addresses(address: str, target: Path) -> None:
    for refuse in (check_address, lambda address: download(address, target)):
        with pytest.raises(UsageError) as caught:
            refuse(address)
        assert address in str(caught.value) or repr(address) in str(caught.value)
    assert not target.parent.exists()


@pytest.mark.parametrize("length", ["stated", "closing", "chunked"])
@pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain", ""])
def test_a_file_arrives(length: Any, content_type: str, server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(BODY, length=length, content_type=content_type)
    assert download(server.address("/net"), target, sha256_prefix=SHA256[:8].upper()) == SHA256
    assert target.read_bytes() == BODY
    assert left_of(target) == {"net.pth"}
    assert len(server.requests) == 1


def test_a_file_that_arrives_is_as_readable_as_others(server: Loopback, target: Path) -> None:
    """A cache may be shared."""
    server.answers["/net"] = Answer(BODY)
    download(server.address("/net"), target)
    other = target.with_name("other")
    other.touch()
    assert target.stat().st_mode == other.stat().st_mode


def test_a_target_that_is_there_is_used_without_network(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.parent.mkdir()
    target.write_bytes(BODY)
    monkeypatch.setenv("ERF_TOOLS_OFFLINE", "1")
    for prefix in ("", SHA256[:8], SHA256):
        assert download(server.address("/net"), target, sha256_prefix=prefix) == SHA256
    with pytest.raises(ErfToolsError, match=r"net\.pth is not the file .* 0123abcd .* delete it"):
        download(server.address("/net"), target, sha256_prefix="0123abcd")
    assert target.read_bytes() == BODY
    assert server.requests == []


@pytest.mark.parametrize("name", ["ERF_TOOLS_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_opens_no_socket(name: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    for owner, function in [
        (socket.socket, "connect"),
        (socket, "create_connection"),
        (socket, "getaddrinfo"),
    ]:
        monkeypatch.setattr(owner, function, lambda *_, **__: pytest.fail("the network was used"))
    with pytest.raises(ErfToolsError, match=r"https://host/net .*offline mode is on"):
        download("https://host/net", target)
    assert left_of(target) == set()


@pytest.mark.parametrize("stop_by", ["closing", "resetting"])
@pytest.mark.parametrize("length", ["stated", "chunked"])
@pytest.mark.parametrize("stop_at", [None, 0, 100_000])
def test_a_connection_that_breaks_is_tried_again(
    stop_at: int | None, length: Any, stop_by: Any, server: Loopback, target: Path
) -> None:
    server.answers["/net"] = answer = Answer(
        BODY, length=length, stops=2, stop_at=stop_at, stop_by=stop_by
    )
    assert download(server.address("/net"), target, sha256_prefix=SHA256) == SHA256
    assert target.read_bytes() == BODY
    assert len(server.requests) == 3
    target.unlink()
    answer.stops = 3
    with pytest.raises(ErfToolsError, match=r"/net cannot be fetched \(.*; .*try again") as caught:
        download(server.address("/net"), target)
    assert "\n" not in str(caught.value)
    assert left_of(target) == set()
    assert len(server.requests) == 6


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int, server: Loopback, target: Path) -> None:
    server.answers["/old"] = Answer(status=status, location=server.address("/net"))
    server.answers["/net"] = Answer(BODY)
    assert download(server.address("/old"), target) == SHA256
    assert [request.path for request in server.requests] == ["/old", "/net"]


@pytest.mark.parametrize(
    "location",
    [
        "http://example.invalid/net",
        "http://127.0.0.1@example.invalid/net",
        "ftp://127.0.0.1/net",
        "file:///etc/hostname",
    ],
)
def test_redirects_to_refused_addresses(
    location: str, server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def only_loopback(host: str, *arguments: Any, **options: Any) -> Any:
        assert host == "127.0.0.1", f"{host} was asked for"
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", only_loopback)
    server.answers["/old"] = Answer(status=302, location=location)
    with pytest.raises(ErfToolsError) as caught:
        download(server.address("/old"), target)
    assert server.address("/old") in str(caught.value)
    assert location in str(caught.value)
    assert "\n" not in str(caught.value)
    assert left_of(target) == set()


def test_a_redirect_to_itself_ends(server: Loopback, target: Path) -> None:
    server.answers["/old"] = Answer(status=302, location="/old")
    with pytest.raises(ErfToolsError, match=r"/old cannot be fetched \(the server answered 302"):
        download(server.address("/old"), target)


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(404, "404 Not Found"), (403, "403 Forbidden"), (500, "500 Internal Server Error")],
)
def test_statuses_are_named(status: int, phrase: str, server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(PAGE, status=status, content_type="text/html")
    with pytest.raises(
        ErfToolsError, match=rf"/net cannot be fetched \(the server answered {phrase}\)"
    ):
        download(server.address("/net"), target)
    assert left_of(target) == set()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (BODY, "text/html; charset=utf-8"),
        (PAGE, "application/octet-stream"),
        (b"\r\n\t<HTML lang=en>", ""),
    ],
)
def test_web_pages_are_no_files(
    body: bytes, content_type: str, server: Loopback, target: Path
) -> None:
    server.answers["/net"] = Answer(body, content_type=content_type)
    with pytest.raises(ErfToolsError, match=r"http://\S+/net gave a web page"):
        download(server.address("/net"), target)
    assert left_of(target) == set()


def test_a_wrong_digest_leaves_nothing(server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(OTHER)
    with pytest.raises(ErfToolsError) as caught:
        download(server.address("/net"), target, sha256_prefix=SHA256[:8])
    for part in (server.address("/net"), SHA256[:8], hashlib.sha256(OTHER).hexdigest()):
        assert part in str(caught.value)
    assert left_of(target) == set()


@pytest.mark.parametrize("status", [200, 204])
def test_an_empty_file_is_none(status: int, server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(b"", status=status)
    with pytest.raises(ErfToolsError, match="/net is an empty file"):
        download(server.address("/net"), target)
    assert left_of(target) == set()


@pytest.mark.parametrize("stop_at", [None, 50_000])
def test_a_server_that_falls_silent_is_not_waited_for(
    stop_at: int | None, server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pooch.downloaders.DEFAULT_TIMEOUT", 0.1)  # for its users, its docs say
    server.answers["/net"] = Answer(BODY, stops=9, stop_at=stop_at, stop_by="holding")
    with pytest.raises(ErfToolsError, match=r"/net cannot be fetched \(timed out\)"):
        download(server.address("/net"), target)
    assert len(server.requests) == 3
    assert left_of(target) == set()


def test_a_refused_connection_fails_at_once(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("tried again"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening: refused, and free for nobody else
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/net"
        with pytest.raises(ErfToolsError, match=r"/net cannot be fetched \(Connection refused\)"):
            download(address, target)
    assert left_of(target) == set()


def test_an_unknown_name_fails_at_once(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unknown(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("tried again"))
    with pytest.raises(
        ErfToolsError, match=r"https://host\.invalid/net cannot be fetched \(Name or service"
    ):
        download("https://host.invalid/net", target)
    assert asked == ["host.invalid"]


@pytest.mark.parametrize("length", ["stated", "chunked"])
def test_a_disk_without_room(length: Any, server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(BODY, length=length)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ErfToolsError, match=r"/net cannot be fetched to .*; make room there"):
            download(server.address("/net"), target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_of(target) == set()
    assert len(server.requests) == 1


def test_other_errors_of_files_are_named(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    server.answers["/net"] = Answer(BODY)
    with pytest.raises(ErfToolsError, match=r"/net cannot be fetched to .*another folder"):
        download(server.address("/net"), tmp_path / "file" / "net.pth")
    (tmp_path / "net.pth").mkdir()
    with pytest.raises(ErfToolsError, match=r"/net cannot be fetched to .*directory"):
        download(server.address("/net"), tmp_path / "net.pth")


def start_process(address: str, target: Path) -> subprocess.Popen[str]:
    """Start a process that says ``ready``, fetches, and says the digest."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom erf_tools.downloads import download\n"
        "print('ready', flush=True)\nprint(download(sys.argv[1], Path(sys.argv[2])))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, address, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_a_killed_process_leaves_is_no_file(server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(BODY, stops=1, stop_at=HALF, stop_by="holding")
    with start_process(server.address("/net"), target) as process:
        # The last few bytes may wait in the process, and die with it.
        wait_until(lambda: size_of(target.parent) > HALF - 70_000)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not [path for path in target.parent.glob("[!.]*") if path.suffix != ".lock"]
    assert download(server.address("/net"), target, sha256_prefix=SHA256) == SHA256
    assert target.read_bytes() == BODY
    assert left_of(target) == {"net.pth"}


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_two_processes_fetch_once(server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(BODY, stops=9, stop_at=HALF, stop_by="holding")
    with (
        start_process(server.address("/net"), target) as first,
        start_process(server.address("/net"), target) as second,
    ):
        wait_until(lambda: len(server.requests) > 0)
        time.sleep(0.3)  # time enough for the other to ask too, if it did
        assert first.poll() is None
        assert second.poll() is None
        server.release.set()
        digests = [first.communicate(timeout=10)[0], second.communicate(timeout=10)[0]]
    assert digests == [SHA256 + "\n"] * 2
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(server.requests) == 1
    assert left_of(target) == {"net.pth"}


def test_progress_is_shown_on_a_terminal_and_nowhere_else(
    server: Loopback, target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.answers["/net"] = Answer(BODY)
    download(server.address("/net"), target, progress=True)
    assert capfd.readouterr() == ("", "")
    target.unlink()
    code = (
        "import sys\nfrom pathlib import Path\nfrom erf_tools.downloads import download\n"
        "download(sys.argv[1], Path(sys.argv[2]), progress=True)"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-c", code, server.address("/net"), str(target)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.stdout == b""
    assert re.search(r"net.pth: 100%.* 293k/293k \[\d\d:\d\d<\d\d:\d\d, +[\d.]+[kMG]?B/s\]", shown)
