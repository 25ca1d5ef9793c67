"""Fetching published files: verified, resumed after a break, and whole or not there at all."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path
from tqdm import tqdm

from erf_tools.addresses import check_address
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.files import file_sha256

_ATTEMPTS = 3
_PAUSE = 0.2
_BLOCK = 1 << 16
_NO = ("", "0", "false", "no", "off")


def cache_folder() -> Path:
    """Return the folder for files that are fetched or found once and used again.

    It is the platform's cache folder, or ``ERF_TOOLS_CACHE`` where that is set.
    """
    chosen = os.environ.get("ERF_TOOLS_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("erf-tools", appauthor=False)


def is_offline() -> bool:
    """Return whether ``ERF_TOOLS_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids to use the network."""
    return any(
        os.environ.get(name, "").strip().lower() not in _NO
        for name in ("ERF_TOOLS_OFFLINE", "HF_HUB_OFFLINE")
    )


def go_offline() -> None:
    """Forbid to use the network from now on; before the model hub's library is imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"


def download(
    address: str,
    target: Path,
    *,
    sha256_prefix: str = "",
    size: int | None = None,
    progress: bool = False,
    timeout: float = 30.0,
) -> str:
    """Fetch ``address`` to ``target`` and return the file's SHA-256, in hexadecimal.

    A target that is there already is verified and kept. The data gather in ``<target>.part``; a
    later call goes on with it, and only a complete and verified file takes the target's name. Of
    several processes that want the same target, one fetches and the others wait for it.

    Args:
        address: see :func:`check_address`; redirects have to lead to such addresses too.
        target: the file; its folder is made.
        sha256_prefix: what the digest has to begin with.
        size: how many bytes the file has to have.
        progress: show a bar, where the output is a terminal.
        timeout: how many seconds a connection may stay silent.

    Raises:
        UsageError: the address is refused.
        ErfToolsError: offline mode is on, the file cannot be fetched or written, or it is not the
            published one.
    """
    check_address(address)
    wanted = _Wanted(address, sha256_prefix.lower(), size)
    try:
        if target.exists():
            return _verify_finished(target, wanted)
        if is_offline():
            raise ErfToolsError(
                f"{address} is not fetched, because offline mode is on; unset ERF_TOOLS_OFFLINE "
                f"and HF_HUB_OFFLINE, or put the file at {target}"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if target.exists():
                return _verify_finished(target, wanted)
            return _fetch(wanted, target, progress, timeout)
    # Of files, or of a file system without locks: those of connections are handled elsewhere.
    except (OSError, NotImplementedError) as error:
        raise ErfToolsError(
            f"{address} cannot be fetched to {target}: {_reason(error)}; choose another folder"
        ) from error


@dataclass(frozen=True)
class _Wanted:
    """What was published."""

    address: str
    sha256_prefix: str
    size: int | None

    def difference(self, path: Path, digest: str) -> str:
        """Return how a file differs from what was published, or an empty string."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"{size} bytes instead of {self.size}"
        if not digest.startswith(self.sha256_prefix):
            return f"its SHA-256 should begin with {self.sha256_prefix} and is {digest}"
        return ""


@dataclass
class _Part:
    """The unfinished file, and beside it what is needed to go on with it.

    Attributes:
        path: the data.
        record: a JSON file: the address, and the server's name for this version of the file.
        total: how many bytes there will be, once known.
    """

    path: Path
    record: Path
    total: int | None = None

    def progress(self, address: str) -> tuple[int, str]:
        """Return the number of bytes that can be kept, and the version they are of."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            if record["address"] == address and self.path.stat().st_size:
                return self.path.stat().st_size, str(record["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no record, or one that was cut off: there is nothing to go on with
        return 0, ""

    def remember(self, address: str, validator: str) -> None:
        """Note what the data will be of; the file must be empty by now."""
        self.record.unlink(missing_ok=True)
        if validator:
            record = {"address": address, "validator": validator}
            self.record.write_text(json.dumps(record), encoding="utf-8")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)


class _BrokenError(Exception):
    """The connection ended before the file did; another may go on with it."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but only to addresses that could have been asked for."""

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302  # unknown to Python 3.10

    def __init__(self, address: str) -> None:
        self.address = address

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            check_address(newurl)
        except UsageError as error:
            fp.close()
            raise ErfToolsError(
                f"{self.address} redirects to an address that is not asked: {error}"
            ) from error
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)


def _verify_finished(target: Path, wanted: _Wanted) -> str:
    digest = file_sha256(target)
    if difference := wanted.difference(target, digest):
        raise ErfToolsError(
            f"{target} is not the file that was published at {wanted.address} ({difference}); "
            "delete it to have it fetched"
        )
    return digest


def _fetch(wanted: _Wanted, target: Path, progress: bool, timeout: float) -> str:
    part = _Part(
        target.with_name(target.name + ".part"), target.with_name(target.name + ".part.json")
    )
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _receive(wanted, part, target.name if progress else "", timeout)
                break
            except _BrokenError as error:
                if attempt == _ATTEMPTS:
                    raise ErfToolsError(_broken_off(wanted.address, part, error)) from error
                time.sleep(_PAUSE * attempt)
        digest = _verify_received(part, wanted)
        os.replace(part.path, target)
        part.record.unlink(missing_ok=True)
        return digest
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        part.discard()
        total = part.total or wanted.size
        raise ErfToolsError(
            f"{wanted.address} cannot be fetched, because the disk of {target.parent} is full"
            f"{f' and the file has {total} bytes' if total else ''}; free some space and run again"
        ) from error


def _broken_off(address: str, part: _Part, error: _BrokenError) -> str:
    kept, _ = part.progress(address)
    received = part.path.stat().st_size if part.path.exists() else 0
    of_total = "" if part.total is None else f" of {part.total}"
    return (
        f"{address} broke off after {received}{of_total} bytes ({error}); "
        f"run again{' to resume' if kept else ''}"
    )


def _verify_received(part: _Part, wanted: _Wanted) -> str:
    """Return the digest of a complete file, or remove it and say what is wrong with it."""
    digest = file_sha256(part.path)
    with part.path.open("rb") as stream:
        beginning = stream.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n\f").lower()
    if beginning.startswith((b"<!doctype html", b"<html")):
        problem = _web_page(wanted.address)
    elif not part.path.stat().st_size:
        problem = f"{wanted.address} is an empty file; check the address"
    elif difference := wanted.difference(part.path, digest):
        problem = (
            f"{wanted.address} is not the file that was published ({difference}); run again, and "
            "if that does not help, get the file from elsewhere"
        )
    else:
        return digest
    part.discard()
    raise ErfToolsError(problem)


def _web_page(address: str) -> str:
    return (
        f"{address} gave a web page instead of the file, as a proxy or a login page does; "
        "open the address in a browser to see what it wants"
    )


def _receive(wanted: _Wanted, part: _Part, shown_name: str, timeout: float) -> None:
    """Bring the part up to the whole file, by one request.

    Raises:
        _BrokenError: the connection ended early; what came is kept.
        ErfToolsError: another request would not help.
        OSError: the part cannot be written.
    """
    response, received = _ask(wanted.address, part, timeout)
    with response:
        if response.headers.get_content_type() == "text/html":
            part.discard()
            raise ErfToolsError(_web_page(wanted.address))
        part.total = total = _total(response, received)
        with (
            part.path.open("ab" if received else "wb") as stream,
            tqdm(
                desc=shown_name,
                total=total,
                initial=received,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                disable=None if shown_name else True,
            ) as bar,
        ):
            if not received:
                # Only now that the earlier data are gone: a version must never be noted for data
                # of another one.
                part.remember(wanted.address, _validator(response.headers))
            while total is None or received < total:
                block = _read(response, _BLOCK if total is None else min(_BLOCK, total - received))
                if not block:
                    break
                stream.write(block)
                received += len(block)
                bar.update(len(block))
                if wanted.size is not None and received > wanted.size:
                    return  # too many already; the verification says so
            stream.flush()
            os.fsync(stream.fileno())
    if total is not None and received < total:
        raise _BrokenError("the server closed the connection")


def _ask(address: str, part: _Part, timeout: float) -> tuple[Any, int]:
    """Return the server's answer, and which byte of the file its body begins with."""
    kept, validator = part.progress(address)
    headers = {"User-Agent": "erf-tools"}
    if kept:
        headers |= {"Range": f"bytes={kept}-", "If-Range": validator}
    response = _open(address, headers, timeout)
    if response.status == 200:
        return response, 0
    if response.status == 206 and _continues(response.headers, kept, validator):
        return response, kept
    response.close()
    if kept and response.status in (206, 416):
        part.discard()
        return _ask(address, part, timeout)
    reason = " ".join(str(response.reason).split())
    raise ErfToolsError(
        f"{address} cannot be fetched: the server answered {response.status} {reason}; check the "
        "address, or try again later"
    )


def _continues(headers: http.client.HTTPMessage, kept: int, validator: str) -> bool:
    """Return whether a part of the file follows on what is kept.

    A server that does not know If-Range sends the rest of another version without a word.
    """
    return headers.get("Content-Range", "").startswith(f"bytes {kept}-") and (
        _validator(headers) in ("", validator)
    )


def _total(response: Any, received: int) -> int | None:
    stated = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status == 206 and stated:
        return int(stated[1])
    return None if response.length is None else received + int(response.length)


def _validator(headers: http.client.HTTPMessage) -> str:
    """Return what names this version of the file to the byte, or an empty string."""
    tag = headers.get("ETag", "")
    # A weak tag is equal for versions that differ in bytes; If-Range does not allow it.
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _open(address: str, headers: dict[str, str], timeout: float) -> Any:
    """Return the answer, whatever its status."""
    opener = urllib.request.build_opener(_Redirects(address))
    try:
        return opener.open(urllib.request.Request(address, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        return error
    except urllib.error.URLError as error:  # there was no connection to send the request by
        reason = error.reason
        if isinstance(reason, ConnectionError) and not isinstance(reason, ConnectionRefusedError):
            raise _BrokenError(_reason(reason)) from error
        raise ErfToolsError(
            f"{address} cannot be reached ({_reason(reason)}); check the address and the network"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from error


def _read(response: Any, count: int) -> bytes:
    """Return what has come, at most ``count`` bytes; none at the end."""
    try:
        # Unlike read, read1 does not lose what came before a break.
        return bytes(response.read1(count))
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from error


def _reason(error: BaseException | str) -> str:
    if isinstance(error, socket.gaierror):
        return "the name of the server is not known"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
