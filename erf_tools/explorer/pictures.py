"""The images that can be looked at: samples by name, and uploads within limits."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from erf_tools.cue_conflict.stimulus_sets import parse_name
from erf_tools.decoding import PixelsError, to_rgb
from erf_tools.downloads import cache_folder
from erf_tools.errors import UsageError
from erf_tools.folders import find_files, read_file
from erf_tools.images import select
from erf_tools.text import dimensions

#: Largest image: few bytes can hold very many pixels.
MOST_PIXELS = 40_000_000

_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


@dataclass(frozen=True, eq=False)
class Picture:
    """An image and what it is called.

    Attributes:
        name: for people; of an upload whatever the user's file is called.
        image: in RGB.
    """

    name: str
    image: Image.Image

    @property
    def cues(self) -> tuple[str, str] | None:
        """Categories of shape and texture, of a cue-conflict stimulus; else ``None``."""
        found = parse_name(self.name.rpartition("/")[2])
        return found if found and found[0] != found[1] else None


def samples(stimuli: Path | None = None) -> dict[str, Path | Image.Image]:
    """Return where the samples are, by name: photographs, and a stimulus for each shape.

    Args:
        stimuli: folder of cue-conflict stimuli; by default those in the cache, if any.

    Raises:
        UsageError: there are none in that folder.
    """
    found = {image.name: image.content for image in select("builtin", order="sequential").images}
    folder = stimuli or cache_folder() / "stimuli" / "cue-conflict"
    shapes: set[str] = set()
    for _, path in find_files(folder).files if folder.is_dir() else ():
        cues = parse_name(path.name)
        if cues and cues[0] != cues[1] and cues[0] not in shapes:
            shapes.add(cues[0])
            found[path.name] = path
    if stimuli and not shapes:
        raise UsageError(
            f"--stimuli {stimuli}: there are no cue-conflict stimuli "
            "(<shape>/<shape><n>-<texture><m>.png) in this folder"
        )
    return found


@lru_cache(maxsize=4)
def read_picture(path: Path) -> Picture:
    """Read an image; its size is checked before its pixels are decoded.

    Raises:
        UsageError: it has too many pixels, or is no image.
    """
    try:
        data = read_file(path)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height <= MOST_PIXELS:
                return Picture(path.name, to_rgb(image))
            size = f"{dimensions((image.height, image.width))} pixels"
    except Image.DecompressionBombError:
        size = "far too many pixels"
    except PixelsError as error:
        raise UsageError(f"{path.name} cannot be shown: {error}") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds, SyntaxError among them
        raise UsageError(
            f"{path.name} cannot be read as an image; choose a whole PNG, JPEG, WebP, TIFF, BMP "
            "or PPM file"
        ) from error
    raise UsageError(
        f"{path.name} has {size}; at most {MOST_PIXELS / 1e6:g} million are read: make it smaller"
    )
