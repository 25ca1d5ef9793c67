"""Progress bars, which are there in a terminal only."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress_bar(shown: bool, **settings: Any) -> Any:
    """Return a bar of images, or of another ``unit``, with tqdm's settings.

    Args:
        shown: show it, if there is a terminal.
        settings: of the bar.
    """
    return tqdm(**{"unit": "image", **settings}, disable=None if shown else True)
