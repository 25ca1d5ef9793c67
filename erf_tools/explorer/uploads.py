"""Where uploads lie, and how many there may be."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from erf_tools.errors import OutputError

#: Largest upload, and all that may lie there at once, in bytes.
MOST_BYTES = 20 * 2**20
MOST_UPLOADED = 10 * MOST_BYTES

#: What the least of files takes, in bytes: a block, and one for its folder.
_LEAST = 2 * 4096


@contextmanager
def uploads_folder() -> Iterator[str]:
    """Give a folder that only this user can read, and remove it with all it holds at the end.

    Gradio, which looks for a folder as soon as it is imported, is told of it.

    Raises:
        OutputError: there is nowhere to make one.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="erf-tools-app-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(
            f"there is no folder for uploads ({error.strerror or error}); let TMPDIR name a "
            "folder that can be written"
        ) from error
    with folder as path:
        os.environ["GRADIO_TEMP_DIR"] = path
        yield path


def has_room(folder: str, arriving: int) -> bool:
    """Tell whether there is room, on the disk too, for so many more uploads of the largest size."""
    coming = arriving * MOST_BYTES
    files = (path for path in Path(folder).rglob("*") if not path.is_dir())
    used = sum(path.lstat().st_size + _LEAST for path in files)
    return used + coming <= MOST_UPLOADED and coming <= shutil.disk_usage(folder).free
