"""Fetching published files: verified, and whole or not there at all."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from filelock import FileLock
from platformdirs import user_cache_path

from erf_tools.addresses import check_address
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.files import PARTIAL, file_sha256
from erf_tools.progress import progress_bar

#: Brings the file at an address to a path. The last argument is whether to show a progress bar.
Fetcher = Callable[[str, Path, bool], None]

_BLOCK = 1 << 16
_NO = ("", "0", "false", "no", "off")
#: Why a connection fails that another try would not mend.
_LASTING = (socket.gaierror, ConnectionRefusedError)
#: Seconds to wait before the connection is tried again; none after the last.
_PAUSES = (1, 2, None)


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


def fetch_web_file(address: str, path: Path, progress: bool) -> None:
    """Bring the file at a web address to a path; a :data:`Fetcher`.

    Connections that break are tried again.

    Raises:
        ErfToolsError: the server cannot be reached, answers with something else than a file, or
            redirects to an address that :func:`~erf_tools.addresses.check_address` refuses.
        OSError: the file cannot be written.
    """
    import requests
    from pooch import HTTPDownloader

    headers = {"User-Agent": "erf-tools", "Accept-Encoding": "identity"}
    for pause in _PAUSES:
        # Pooch sets the total; it asks the bar for its truth, which is that of its total.
        of_bytes = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
        bar = progress_bar(progress, desc=path.name, total=1, **of_bytes)
        try:
            with bar:
                receive = HTTPDownloader(
                    bar, _BLOCK, headers=headers, hooks={"response": _check_answer}
                )
                receive(address, str(path), None)
            return
        except requests.RequestException as error:
            lasting = error.response is not None or isinstance(_root(error), _LASTING)
            if pause is None or lasting:
                raise ErfToolsError(
                    f"{address} cannot be fetched ({why_failed(error)}); check the address and "
                    "the network, or try again later"
                ) from error
        time.sleep(pause)


def download(
    address: str,
    target: Path,
    *,
    sha256_prefix: str = "",
    progress: bool = False,
    fetch: Fetcher = fetch_web_file,
) -> str:
    """Fetch ``address`` to ``target`` and return the file's SHA-256, in hexadecimal.

    A target that is there already is verified and kept. Only a complete and verified file takes
    the target's name. Of several processes that want the same target, one fetches and the others
    wait for it.

    Args:
        address: see :func:`~erf_tools.addresses.check_address`.
        target: the file; its folder is made.
        sha256_prefix: what the digest has to begin with.
        progress: show a bar with rate and time left, where the output is a terminal.
        fetch: how to get the file.

    Raises:
        UsageError: the address is refused.
        ErfToolsError: offline mode is on, the file cannot be fetched or written, or it is not the
            published one.
    """
    check_address(address)
    try:
        if not target.exists():
            if is_offline():
                raise ErfToolsError(
                    f"{address} is not fetched, because offline mode is on; unset "
                    f"ERF_TOOLS_OFFLINE and HF_HUB_OFFLINE, or put the file at {target}"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_name(f"{target.name}.lock")):
                if not target.exists():
                    return _fetch(address, target, sha256_prefix, progress, fetch)
        digest = file_sha256(target)
    # Of files, or of a file system without locks: those of connections are sentences already.
    except (OSError, NotImplementedError) as error:
        raise ErfToolsError(
            f"{address} cannot be fetched to {target} ({why_failed(error)}); make room there, or "
            "choose another folder with ERF_TOOLS_CACHE"
        ) from error
    if problem := _difference(digest, sha256_prefix):
        raise ErfToolsError(
            f"{target} is not the file that was published at {address} ({problem}); delete it to "
            "have it fetched"
        )
    return digest


def _fetch(address: str, target: Path, sha256_prefix: str, progress: bool, fetch: Fetcher) -> str:
    # A folder of its own: what a fetcher leaves beside the file goes with it.
    folder = target.with_name(f"{PARTIAL}{target.name}")
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir()
    try:
        part = folder / target.name
        fetch(address, part, progress)
        digest = _verify(address, part, sha256_prefix)
        part.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return digest


def _verify(address: str, part: Path, sha256_prefix: str) -> str:
    """Return the digest of what has arrived.

    Raises:
        ErfToolsError: it is a web page, empty, or not what was published.
    """
    with part.open("rb") as stream:
        beginning = stream.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n\f").lower()
    if beginning.startswith((b"<!doctype html", b"<html")):
        raise ErfToolsError(_web_page(address))
    if not part.stat().st_size:
        raise ErfToolsError(f"{address} is an empty file; check the address")
    digest = file_sha256(part)
    if problem := _difference(digest, sha256_prefix):
        raise ErfToolsError(
            f"{address} is not the file that was published ({problem}); run again, and if that "
            "does not help, get the file from elsewhere"
        )
    return digest


def _difference(digest: str, sha256_prefix: str) -> str:
    if digest.startswith(sha256_prefix.lower()):
        return ""
    return f"its SHA-256 should begin with {sha256_prefix} and is {digest}"


def _web_page(address: str) -> str:
    return (
        f"{address} gave a web page instead of the file, as a proxy or a login page does; "
        "open the address in a browser to see what it wants"
    )


def _check_answer(response: Any, **_: Any) -> None:
    """See that a redirect leads to where could have been asked, and that a file is no page.

    Called by requests for each answer, before the next address is asked.
    """
    if response.is_redirect:
        try:
            check_address(urljoin(response.url, response.headers["Location"]))
        except UsageError as error:
            raise ErfToolsError(
                f"{response.url} redirects to an address that is not asked: {error}"
            ) from error
    elif response.ok and response.headers.get("Content-Type", "").startswith("text/html"):
        raise ErfToolsError(_web_page(response.url))


def why_failed(error: BaseException) -> str:
    """Return why a connection or a file failed, in a few words, from whatever a library raised."""
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"the server answered {answer.status_code} {answer.reason}"
    cause = _root(error)
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return " ".join(str(cause).split()) or type(cause).__name__


def _root(error: BaseException) -> BaseException:
    """Return what was raised first: libraries put their own errors around it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error
