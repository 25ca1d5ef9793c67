"""Images: where they come from, which are taken, and their pixels.

Nothing here knows of torch: pixels are uint8 arrays ``[height, width, 3]``; a network's mean and
standard deviation travel beside them in :class:`~erf_tools.preprocessing.Preprocessing`.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar, get_args

import numpy as np
from PIL import Image

from erf_tools.cores import available_cores
from erf_tools.decoding import decode_image, extensions, to_rgb
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.folders import (
    Remark,
    find_files,
    given_path,
    read_file,
    shown,
    why_unreadable,
)
from erf_tools.image_choices import Order
from erf_tools.numbers import LARGEST_SEED, whole_number
from erf_tools.preprocessing import View
from erf_tools.text import dimensions, first_few

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")

#: Threads that make images ready, and images made ready ahead of those in use.
_WORKERS = min(4, available_cores())
_AHEAD = 2 * _WORKERS

#: How many of the files that are no images a result names; there may be one beside each image.
_RECORDED = 100

#: How images are described that are given one by one, and how those in memory are named.
_GIVEN, _IN_MEMORY = re.compile(r"(\d+) given images?"), re.compile(r"image-\d+")

#: The colour photographs in scikit-image's wheel. Of its stereo pair only the left one: two views
#: of one scene are not two images.
BUILTIN = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


@dataclass(frozen=True)
class SourceImage:
    """One image: a name that means something to the user, its bytes' digest, where to read it.

    Attributes:
        name: path relative to the folder it was found in, or the name given to it.
        sha256: digest of the file's bytes (of the pixels, for images given in memory).
        content: a path, or an image in memory, in RGB.
    """

    name: str
    sha256: str
    content: Path | Image.Image

    def open(self) -> Image.Image:
        """Decode to RGB, from the very bytes that the digest is of.

        Like the published scripts' loader, this leaves orientation tags alone.

        Raises:
            ErfToolsError: the file is not what it was when the images were chosen.
        """
        if isinstance(self.content, Image.Image):
            return self.content
        try:
            data = read_file(self.content)
        except OSError as error:
            why = why_unreadable(error)
            raise ErfToolsError(f"{self.name} can no longer be read: {why}") from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ErfToolsError(
                f"{self.name} was changed after the images were chosen; leave it as it is, and run "
                "again"
            )
        return decode_image(data)[0]

    def pixels(self, view: View) -> np.ndarray:
        """Return a view of the image as uint8 ``[height, width, 3]``.

        Raises:
            ErfToolsError: the view cannot be made of it, or as for :meth:`open`.
        """
        image = self.open()
        try:
            return np.asarray(view(image))
        except (ValueError, MemoryError) as error:
            raise ErfToolsError(
                f"{self.name} ({dimensions((image.height, image.width))} pixels) cannot be made "
                f"ready: {why_unreadable(error)}; leave it out"
            ) from error


@dataclass(frozen=True)
class Selection:
    """The images a run uses, in order.

    Attributes:
        images: readable images, at most as many as were asked for.
        source: where they came from, for people.
        order: ``spread`` or ``sequential``.
        seed: of the spread order.
        unreadable: names of images that cannot be used, with the reason.
        left_out: names of what lies among the images but is none, with the reason.
        remarks: names of images that are used, with what has to be known of them.
    """

    images: tuple[SourceImage, ...]
    source: str
    order: Order = "spread"
    seed: int = 0
    unreadable: tuple[Remark, ...] = ()
    left_out: tuple[Remark, ...] = ()
    remarks: tuple[Remark, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def record(self) -> dict[str, Any]:
        """Return what a result says of its images, as JSON values; the list itself is apart."""
        return {
            "source": self.source,
            "order": self.order,
            "seed": self.seed,
            "unreadable": [list(entry) for entry in self.unreadable],
            "left_out": {
                "count": len(self.left_out),
                "first": [list(entry) for entry in self.left_out[:_RECORDED]],
            },
            "remarks": [list(entry) for entry in self.remarks],
        }


class Named(Protocol):
    """What is known by the name and the SHA-256 of an image."""

    @property
    def name(self) -> str:
        """Of the image."""

    @property
    def sha256(self) -> str:
        """Of its content."""


def identities(images: Iterable[Named]) -> list[tuple[str, str]]:
    """Return name and SHA-256 of each image, by which results tell whether they are the same."""
    return [(image.name, image.sha256) for image in images]


def are_given(source: str) -> bool:
    """Tell whether images were given one by one, as their selection says in its source."""
    return bool(_GIVEN.fullmatch(source))


def counted(count: int, source: str, word: str = "of") -> str:
    """Return so many images in words: ``5 images of photos``, ``5 given images``.

    Args:
        count: how many.
        source: of their selection.
        word: between them, as ``in``.
    """
    images = "image" if count == 1 else "images"
    given = _GIVEN.fullmatch(source)
    if not given:
        return f"{count} {images} {word} {source}"
    # Those of several selections together are more.
    return f"{count} given {images}" if count >= int(given[1]) else f"{count} of {source}"


def file_name(name: str) -> str:
    """Return what a name of an image that was given has in common with others of the same file.

    It is the name of the file alone, as paths to one file differ in folders, and in capital letters
    where these do not count. Images in memory are numbered in each list, and have none.
    """
    return "" if _IN_MEMORY.fullmatch(name) else re.split(r"[/\\]", name)[-1].casefold()


def select(
    source: str | Path | Sequence[str | Path | Image.Image] = "builtin",
    num_images: int = 50,
    order: Order = "spread",
    seed: int = 0,
) -> Selection:
    """Choose images and make sure that they can be read.

    Args:
        source: ``"builtin"`` (photographs that come with scikit-image), a folder (searched with
            its subfolders), an image file, or a sequence of paths and PIL images.
        num_images: how many to take; fewer are returned where there are fewer.
        order: ``sequential`` takes files by sorted path, as the published script does, which in
            an ImageNet folder means images of one class; ``spread`` shuffles with ``seed`` and
            takes one image from each subfolder in turn.
        seed: of the spread order.

    Raises:
        UsageError: no such file or folder, no images in it, or none that can be read.
    """
    num_images = whole_number(num_images, "--num-images")
    seed = whole_number(seed, "--seed", 0, LARGEST_SEED)
    if order not in get_args(Order):
        raise UsageError(f"--order is {order!r}; it is spread or sequential")
    described, candidates, left_out = _candidates(source)
    if order == "spread":
        candidates = _spread(candidates, seed)

    readable: list[SourceImage] = []
    unreadable: list[Remark] = []
    remarks: list[Remark] = []
    for name, content in candidates:
        if len(readable) == num_images:
            break
        try:
            image, several = _read(name, content)
        except Exception as error:  # Pillow's decoders raise a dozen kinds, SyntaxError among them
            unreadable.append((name, why_unreadable(error)))
            continue
        readable.append(image)
        if several:
            remarks.append((name, "holds several images; the first is used"))
    if not readable:
        first, why = unreadable[0]
        raise UsageError(
            f"none of the {counted(len(unreadable), described, 'in')} can be read (the first, "
            f"{first}: {why})"
            if len(unreadable) > 1
            else f"the only image, {first}, cannot be read: {why}"
        )
    return Selection(
        tuple(readable), described, order, seed, tuple(unreadable), left_out, tuple(remarks)
    )


def decode(images: Iterable[SourceImage], view: View) -> Iterator[np.ndarray]:
    """Yield the ``view`` of each image as uint8 ``[height, width, 3]``.

    Raises:
        ErfToolsError: see :meth:`SourceImage.pixels`.
    """
    return ahead(lambda image: image.pixels(view), images)


class PixelStore:
    """Images made ready once for several networks, as many as there is room for.

    Args:
        limit: how many bytes to keep.
    """

    def __init__(self, limit: int = 2**30) -> None:
        self._free = limit
        self._kept: dict[Hashable, np.ndarray] = {}
        self._lock = Lock()

    def kept(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return what is kept under a key, or else make it, and keep it if there is room."""
        if key in self._kept:
            return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept and made.nbytes <= self._free:
                self._kept[key] = made
                self._free -= made.nbytes
        return made

    def decode(self, images: Iterable[SourceImage], view: View) -> Iterator[np.ndarray]:
        """Yield what :func:`decode` does; an equal view of an image is made only once."""
        key = (view.func, view.args, frozenset(view.keywords.items()))

        def pixels(image: SourceImage) -> np.ndarray:
            return self.kept((image.sha256, key), lambda: image.pixels(view))

        return ahead(pixels, images)


def ahead(make: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """Yield ``make`` of each item in order, with the next ones being made in other threads."""
    with ThreadPoolExecutor(_WORKERS) as executor:
        begun: deque[Future[_Made]] = deque()
        for item in items:
            begun.append(executor.submit(make, item))
            if len(begun) > _AHEAD:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def _candidates(
    source: str | Path | Sequence[str | Path | Image.Image],
) -> tuple[str, list[tuple[str, Path | Image.Image]], tuple[Remark, ...]]:
    """Return where the images come from, what may be one, and what lies there but is none."""
    if isinstance(source, str) and source == "builtin":
        folder = Path(str(resources.files("skimage") / "data"))
        return "builtin", [(name, folder / name) for name in BUILTIN], ()
    if isinstance(source, (str, Path)):
        path = given_path(source, "--images")
        if path.is_dir():
            return _candidates_in(path)
        if path.is_file():
            return shown(str(path)), [(shown(path.name), path)], ()
        if path.exists():
            raise UsageError(f"--images {source} is not a regular file; name a folder or an image")
        raise UsageError(
            f"--images {source}: there is no such folder or file; name one, or use builtin"
        )
    for item in source:
        if not isinstance(item, (str, Path, Image.Image)):
            raise UsageError(
                f"an image is a {type(item).__name__}; give paths, or PIL images "
                "(PIL.Image.fromarray makes them of arrays)"
            )
    given: list[tuple[str, Path | Image.Image]] = [
        (f"image-{index}", item)
        if isinstance(item, Image.Image)
        else (shown(str(item)), given_path(item, "an image"))
        for index, item in enumerate(source)
    ]
    if not given:
        raise UsageError("the list of images is empty")
    return f"{len(given)} given image{'s' * (len(given) != 1)}", given, ()


def _candidates_in(
    folder: Path,
) -> tuple[str, list[tuple[str, Path | Image.Image]], tuple[Remark, ...]]:
    found, known = find_files(folder), extensions()
    images: list[tuple[str, Path | Image.Image]] = []
    left_out = list(found.left_out)
    for name, file in found.files:
        if file.suffix.lower() in known:
            images.append((name, file))
        else:
            left_out.append((name, "its name is not that of an image, such as .jpg or .png"))
    if not images:
        others = [f"{name} ({why})" for name, why in left_out]
        raise UsageError(
            f"there are no images in the folder {shown(str(folder))}"
            + (f"; left out: {first_few(others)}" if others else "")
        )
    return shown(str(folder)), images, tuple(left_out)


def _spread(
    candidates: list[tuple[str, Path | Image.Image]], seed: int
) -> list[tuple[str, Path | Image.Image]]:
    """Take one from each folder in turn, folders and files shuffled."""
    generator = random.Random(seed)
    folders: dict[str, list[tuple[str, Path | Image.Image]]] = {}
    for candidate in candidates:
        folders.setdefault(candidate[0].rpartition("/")[0], []).append(candidate)
    groups = list(folders.values())
    generator.shuffle(groups)
    for group in groups:
        generator.shuffle(group)
    longest = max(map(len, groups))
    return [group[turn] for turn in range(longest) for group in groups if turn < len(group)]


def _read(name: str, content: Path | Image.Image) -> tuple[SourceImage, bool]:
    """Return an image that can be used, and whether it is the first of several in its file."""
    if isinstance(content, Image.Image):
        image = to_rgb(content)
        pixels = np.asarray(image)
        header = f"{pixels.shape}".encode()
        digest = hashlib.sha256(header + pixels.tobytes()).hexdigest()
        return SourceImage(name, digest, image), False
    data = read_file(content)
    # Every pixel is decoded: a truncated file fails here, not hours later.
    _, several = decode_image(data)
    return SourceImage(name, hashlib.sha256(data).hexdigest(), content), several
