"""Downloads, from a real server: whole and verified, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
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
    monkeypatch.setattr(downloads, "_PAUSE", 0.01)


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


def break_off(server: Loopback, target: Path, answer: Answer, at: int = HALF) -> None:
    """Leave ``at`` bytes of an answer's body as a part, as three broken connections do."""
    kept, answer.stops, answer.stop_at = answer.ranges, 3, at
    answer.ranges = False  # so that each of the three begins at 0
    server.answers["/net"] = answer
    with pytest.raises(ErfToolsError, match="run again"):
        download(server.address("/net"), target)
    assert left_of(target) >= {"net.pth.part"}
    assert (target.parent / "net.pth.part").stat().st_size == at
    answer.ranges, answer.stops = kept, 0
    server.requests.clear()


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
    digest = download(
        server.address("/net"), target, sha256_prefix=SHA256[:8].upper(), size=len(BODY)
    )
    assert digest == SHA256
    assert target.read_bytes() == BODY
    assert left_of(target) == {"net.pth"}
    assert server.ranges() == [""]


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
    with pytest.raises(ErfToolsError, match=r"300000 bytes instead of 7\b.* delete it"):
        download(server.address("/net"), target, size=7)
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
def test_a_broken_connection_is_resumed_within_one_call(
    stop_by: Any, length: Any, server: Loopback, target: Path
) -> None:
    server.answers["/net"] = Answer(BODY, length=length, stops=2, stop_at=100_000, stop_by=stop_by)
    assert download(server.address("/net"), target, sha256_prefix=SHA256) == SHA256
    assert target.read_bytes() == BODY
    assert server.ranges() == ["", "bytes=100000-", "bytes=200000-"]
    assert [request.headers.get("If-Range") for request in server.requests[1:]] == ['"one"'] * 2
    assert left_of(target) == {"net.pth"}


@pytest.mark.parametrize("stop_by", ["closing", "resetting"])
def test_connections_dropped_before_an_answer(stop_by: Any, server: Loopback, target: Path) -> None:
    server.answers["/net"] = answer = Answer(BODY, stops=2, stop_by=stop_by)
    assert download(server.address("/net"), target) == SHA256
    assert len(server.requests) == 3
    target.unlink()
    answer.stops = 3
    with pytest.raises(ErfToolsError, match=r"/net broke off after 0 bytes .*; run again$"):
        download(server.address("/net"), target)
    assert len(server.requests) == 6


def test_a_short_body_is_kept_and_resumed_by_the_next_call(server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(BODY, stops=3, stop_at=50_000)
    with pytest.raises(
        ErfToolsError,
        match=r"http://\S+/net broke off after 150000 of 300000 bytes .*run again to resume",
    ):
        download(server.address("/net"), target)
    assert left_of(target) == {"net.pth.part", "net.pth.part.json"}
    assert (target.parent / "net.pth.part").read_bytes() == BODY[:150_000]
    server.requests.clear()
    assert download(server.address("/net"), target) == SHA256
    assert target.read_bytes() == BODY
    assert server.ranges() == ["bytes=150000-"]


def test_a_date_serves_where_there_is_no_strong_tag(server: Loopback, target: Path) -> None:
    date = "Mon, 21 Nov 2022 10:00:00 GMT"
    break_off(server, target, Answer(BODY, etag='W/"weak"', last_modified=date))
    assert download(server.address("/net"), target) == SHA256
    assert server.requests[0].headers["If-Range"] == date
    assert server.ranges() == [f"bytes={HALF}-"]


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_strong_version_nothing_is_resumed(
    tag: str, server: Loopback, target: Path
) -> None:
    break_off(server, target, Answer(BODY, etag=tag, if_range=False))
    assert download(server.address("/net"), target) == SHA256
    assert target.read_bytes() == BODY
    assert server.ranges() == [""]
    assert left_of(target) == {"net.pth"}


def test_a_server_without_ranges_starts_anew(server: Loopback, target: Path) -> None:
    break_off(server, target, Answer(BODY, ranges=False))
    assert download(server.address("/net"), target) == SHA256
    assert target.read_bytes() == BODY
    assert server.ranges() == [f"bytes={HALF}-"]


@pytest.mark.parametrize("if_range", [True, False], ids=["honest", "ignores If-Range"])
def test_a_file_that_changed_meanwhile_starts_anew(
    if_range: bool, server: Loopback, target: Path
) -> None:
    break_off(server, target, Answer(BODY))
    server.answers["/net"] = Answer(OTHER, etag='"two"', if_range=if_range)
    assert download(server.address("/net"), target) == hashlib.sha256(OTHER).hexdigest()
    assert target.read_bytes() == OTHER
    assert server.ranges() == [f"bytes={HALF}-", ""][: 1 if if_range else 2]


def test_the_version_on_record_is_that_of_the_data(server: Loopback, target: Path) -> None:
    """After a restart that breaks in its turn, the rest of the new version is asked for."""
    break_off(server, target, Answer(BODY))
    server.answers["/net"] = Answer(OTHER, etag='"two"', stops=3, stop_at=10_000)
    with pytest.raises(ErfToolsError, match="after 30000 of 280000 bytes"):
        download(server.address("/net"), target)
    assert download(server.address("/net"), target) == hashlib.sha256(OTHER).hexdigest()
    assert server.ranges()[-1] == "bytes=30000-"
    assert server.requests[-1].headers["If-Range"] == '"two"'


def test_a_range_that_does_not_begin_where_asked_starts_anew(
    server: Loopback, target: Path
) -> None:
    break_off(server, target, Answer(BODY, shift=1000))
    assert download(server.address("/net"), target) == SHA256
    assert server.ranges() == [f"bytes={HALF}-", ""]


def test_a_range_shorter_than_asked_is_not_the_end(server: Loopback, target: Path) -> None:
    break_off(server, target, Answer(BODY, range_limit=100_000))
    assert download(server.address("/net"), target) == SHA256
    assert server.ranges() == [f"bytes={HALF}-", f"bytes={HALF + 100_000}-"]


def test_a_part_with_nothing_left_to_ask_for_starts_anew(server: Loopback, target: Path) -> None:
    break_off(server, target, Answer(BODY))
    with (target.parent / "net.pth.part").open("ab") as stream:
        stream.write(b"?" * (len(BODY) - HALF))
    assert download(server.address("/net"), target) == SHA256
    assert server.ranges() == [f"bytes={len(BODY)}-", ""]


def test_a_version_is_forgotten_with_its_data(server: Loopback, target: Path) -> None:
    break_off(server, target, Answer(BODY))
    unnamed = Answer(OTHER, etag="", ranges=False, stops=3, stop_at=10_000)
    server.answers["/net"] = unnamed
    with pytest.raises(ErfToolsError, match=r"after 10000 of 280000 bytes .*run again$"):
        download(server.address("/net"), target)
    server.answers["/net"] = Answer(BODY)  # the first version is back
    assert download(server.address("/net"), target) == SHA256
    assert server.ranges() == [f"bytes={HALF}-", "", "", ""]


@pytest.mark.parametrize("record", ["", "{", "[1]", '{"address": 3}'])
def test_a_part_with_a_damaged_record_starts_anew(
    record: str, server: Loopback, target: Path
) -> None:
    break_off(server, target, Answer(BODY))
    (target.parent / "net.pth.part.json").write_text(record)
    assert download(server.address("/net"), target) == SHA256
    assert server.ranges() == [""]


def test_a_part_of_another_address_starts_anew(server: Loopback, target: Path) -> None:
    break_off(server, target, Answer(BODY))
    server.answers["/other"] = Answer(OTHER)
    download(server.address("/other"), target)
    assert target.read_bytes() == OTHER
    assert server.ranges() == [""]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int, server: Loopback, target: Path) -> None:
    server.answers["/old"] = Answer(status=status, location=server.address("/net"))
    server.answers["/net"] = Answer(BODY, stops=1, stop_at=HALF)
    assert download(server.address("/old"), target) == SHA256
    assert [request.path for request in server.requests] == ["/old", "/net"] * 2
    assert server.ranges() == ["", "", f"bytes={HALF}-", f"bytes={HALF}-"]


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
    with pytest.raises(ErfToolsError, match="/old cannot be fetched: the server answered 302"):
        download(server.address("/old"), target)


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(404, "404 Not Found"), (500, "500 Internal Server Error"), (204, "204 No Content")],
)
def test_statuses_are_named(status: int, phrase: str, server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(PAGE, status=status, content_type="text/html")
    with pytest.raises(
        ErfToolsError, match=f"/net cannot be fetched: the server answered {phrase}"
    ):
        download(server.address("/net"), target)
    assert left_of(target) == set()
    assert len(server.requests) == 1


def test_an_error_of_the_server_does_not_cost_what_was_kept(server: Loopback, target: Path) -> None:
    break_off(server, target, Answer(BODY))
    server.answers["/net"] = Answer(status=503)
    with pytest.raises(ErfToolsError, match="503 Service Unavailable"):
        download(server.address("/net"), target)
    server.answers["/net"] = Answer(BODY)
    assert download(server.address("/net"), target) == SHA256
    assert server.ranges() == [f"bytes={HALF}-"] * 2


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (BODY, "text/html; charset=utf-8"),
        (PAGE, "application/octet-stream"),
        (b"\r\n\t<HTML lang=en>", ""),
    ],
)
@pytest.mark.parametrize("size", [None, len(BODY)])
def test_web_pages_are_no_files(
    body: bytes, content_type: str, size: int | None, server: Loopback, target: Path
) -> None:
    server.answers["/net"] = Answer(body, content_type=content_type)
    with pytest.raises(ErfToolsError, match=r"http://\S+/net gave a web page"):
        download(server.address("/net"), target, sha256_prefix=SHA256, size=size)
    assert left_of(target) == set()


def test_a_wrong_digest_leaves_nothing(server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(OTHER)
    with pytest.raises(ErfToolsError) as caught:
        download(server.address("/net"), target, sha256_prefix=SHA256[:8])
    for part in (server.address("/net"), SHA256[:8], hashlib.sha256(OTHER).hexdigest()):
        assert part in str(caught.value)
    assert left_of(target) == set()


def test_the_digest_is_of_the_whole_file_and_not_of_what_was_resumed(
    server: Loopback, target: Path
) -> None:
    break_off(server, target, Answer(BODY))
    part = target.parent / "net.pth.part"
    part.write_bytes(b"damaged" + part.read_bytes()[7:])
    with pytest.raises(ErfToolsError, match="is not the file that was published"):
        download(server.address("/net"), target, sha256_prefix=SHA256[:8])
    assert left_of(target) == set()


@pytest.mark.parametrize("length", ["stated", "closing", "chunked"])
@pytest.mark.parametrize("size", [len(BODY) - 1, len(BODY) + 1])
def test_wrong_sizes(size: int, length: Any, server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(BODY, length=length)
    with pytest.raises(ErfToolsError, match=rf"/net is not .*300000 bytes instead of {size}\b"):
        download(server.address("/net"), target, size=size)
    assert left_of(target) == set()
    assert len(server.requests) == 1


def test_a_body_without_end_is_not_read_to_its_end(server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(
        BODY, length="closing", stops=1, stop_at=HALF, stop_by="holding"
    )
    with pytest.raises(ErfToolsError, match=r"/net is not .* bytes instead of 1000\b"):
        download(server.address("/net"), target, size=1000, timeout=2)
    assert len(server.requests) == 1


def test_an_empty_file_is_none(server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(b"")
    with pytest.raises(ErfToolsError, match="/net is an empty file"):
        download(server.address("/net"), target)
    assert left_of(target) == set()


def test_a_stalled_connection_times_out(server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(BODY, stops=9, stop_at=50_000, stop_by="holding")
    started = time.monotonic()
    with pytest.raises(ErfToolsError, match=r"after 150000 of 300000 .*did not answer in time"):
        download(server.address("/net"), target, timeout=0.3)
    assert time.monotonic() - started < 4
    assert server.ranges() == ["", "bytes=50000-", "bytes=100000-"]


def test_a_server_that_never_answers_times_out(server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(BODY, stops=9, stop_by="holding")
    with pytest.raises(ErfToolsError, match=r"/net broke off .*did not answer in time"):
        download(server.address("/net"), target, timeout=0.2)


def test_a_refused_connection_fails_at_once(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("tried again"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening: refused, and free for nobody else
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/net"
        started = time.monotonic()
        with pytest.raises(ErfToolsError, match=r"/net cannot be reached .*refused"):
            download(address, target)
    assert time.monotonic() - started < 0.9
    assert left_of(target) == set()


def test_an_unknown_name_fails_at_once(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unknown(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("tried again"))
    with pytest.raises(
        ErfToolsError, match=r"https://host\.invalid/net cannot be reached .*name of the server"
    ):
        download("https://host.invalid/net", target)
    assert asked == ["host.invalid"]


class FullDisk:
    """A file that takes some bytes and then no more."""

    def __init__(self, stream: Any, room: int) -> None:
        self.stream, self.room = stream, room

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self.stream.write(data))

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@pytest.mark.parametrize(("length", "wanted"), [("stated", " 300000 bytes"), ("chunked", "")])
def test_a_full_disk(
    length: Any, wanted: str, server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def open_on_full_disk(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        stream = opened(path, mode, *arguments, **options)
        return FullDisk(stream, 100_000) if path.suffix == ".part" and mode != "rb" else stream

    monkeypatch.setattr(Path, "open", open_on_full_disk)
    server.answers["/net"] = Answer(BODY, length=length)
    with pytest.raises(ErfToolsError, match=rf"http://\S+/net .*disk of .* is full.*{wanted}"):
        download(server.address("/net"), target)
    assert left_of(target) == set()
    assert len(server.requests) == 1


def test_a_disk_that_turns_out_full_when_the_file_is_flushed(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    server.answers["/net"] = Answer(BODY)
    with pytest.raises(ErfToolsError, match="is full and the file has 300000 bytes"):
        download(server.address("/net"), target)
    assert left_of(target) == set()


def test_other_errors_of_files_are_named(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    server.answers["/net"] = Answer(BODY)
    with pytest.raises(ErfToolsError, match=r"/net cannot be fetched to .*; choose another folder"):
        download(server.address("/net"), tmp_path / "file" / "net.pth")
    (tmp_path / "net.pth.part").mkdir()
    with pytest.raises(ErfToolsError, match=r"/net cannot be fetched to .*directory"):
        download(server.address("/net"), tmp_path / "net.pth")


def test_the_target_appears_by_renaming_alone(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", failing)
    server.answers["/net"] = Answer(BODY)
    with pytest.raises(ErfToolsError, match=r"/net cannot be fetched to .*Permission denied"):
        download(server.address("/net"), target)
    assert not target.exists()


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


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_process_leaves_a_part_that_is_resumed(server: Loopback, target: Path) -> None:
    server.answers["/net"] = Answer(BODY, stops=1, stop_at=HALF, stop_by="holding")
    part = target.parent / "net.pth.part"
    with start_process(server.address("/net"), target) as process:
        # The last few bytes may wait in the process, and die with it.
        wait_until(lambda: part.is_file() and part.stat().st_size > HALF - 10_000)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    kept = part.stat().st_size
    assert left_of(target) == {"net.pth.part", "net.pth.part.json"}
    assert json.loads((target.parent / "net.pth.part.json").read_text())["validator"] == '"one"'
    assert download(server.address("/net"), target, sha256_prefix=SHA256) == SHA256
    assert target.read_bytes() == BODY
    assert server.ranges() == ["", f"bytes={kept}-"]


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
    assert server.ranges() == [""]
    assert left_of(target) == {"net.pth"}


def test_a_bar_begins_with_what_was_kept(
    server: Loopback, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[Any] = []

    class Bar(downloads.tqdm):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            bars.append((options, self))
            super().__init__(**{**options, "disable": False})

    monkeypatch.setattr(downloads, "tqdm", Bar)
    server.answers["/net"] = Answer(BODY, stops=1, stop_at=HALF)
    download(server.address("/net"), target, progress=True)
    assert [(options["initial"], options["total"], bar.n) for options, bar in bars] == [
        (0, len(BODY), HALF),
        (HALF, len(BODY), len(BODY)),
    ]
    assert all(options["desc"] == "net.pth" for options, _ in bars)
    assert all(options["disable"] is None for options, _ in bars)
    target.unlink()
    download(server.address("/net"), target)
    assert bars[-1][0]["disable"] is True
