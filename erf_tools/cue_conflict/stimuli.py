"""Stimulus sets: which images there are, and whether a folder really holds them.

The texture-shape cue-conflict set has 1,280 images of 224x224 pixels, named
``<shape>/<shape><n>-<texture><m>.png``: each of the 16 x 16 pairs of categories has five. The
single-cue sets (edges, filled silhouettes) are named ``<category>/<category><n>.png``.

Source: Geirhos et al., ICLR 2019, repository rgeirhos/texture-vs-shape, CC BY 4.0.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.decoding import decode_image
from erf_tools.downloads import cache_folder, download
from erf_tools.errors import ErfToolsError, UsageError, suggestion
from erf_tools.folders import (
    Found,
    Remark,
    find_files,
    given_path,
    is_hidden,
    listed,
    read_file,
    shown,
    why_unreadable,
)
from erf_tools.text import dimensions

SIDE = 224
PER_PAIR = 5
TOTAL = len(CATEGORIES) ** 2 * PER_PAIR

#: How the label of a part of the set begins.
PARTIAL = "PARTIAL"

ARCHIVE = "https://github.com/rgeirhos/texture-vs-shape/archive/refs/heads/master.zip"
CITATION = (
    "Stimuli: Geirhos et al., ImageNet-trained CNNs are biased towards texture; increasing shape "
    "bias improves accuracy and robustness, ICLR 2019 (github.com/rgeirhos/texture-vs-shape), "
    "licence CC BY 4.0"
)
#: Name on the command line -> folder in that repository.
PUBLISHED = {
    "cue-conflict": "stimuli/style-transfer-preprocessed-512",
    "edges": "stimuli/edges",
    "silhouettes": "stimuli/filled-silhouettes",
}
#: Of names and pixels of the published set: see :func:`digest`.
PUBLISHED_DIGEST = "cba9bd40eccd46f5a419b951c822750b9dc65344f9695ac0c0ef7273e6fccb92"

_CONFLICT = re.compile(r"([a-z]+)(\d+)-([a-z]+)(\d+)\.png")
_SINGLE = re.compile(r"([a-z]+)(\d+)\.png")
_LARGEST_FILE = 4 * 1024 * 1024


@dataclass(frozen=True)
class Stimulus:
    """One image.

    Attributes:
        name: without folder and suffix: ``cat7-elephant1``, or ``cat7``.
        shape: category of its shape (of the object, in a single-cue set).
        texture: category of its texture; the shape's in a single-cue set.
        path: the file.
        sha256: of its RGB pixels.
    """

    name: str
    shape: str
    texture: str
    path: Path
    sha256: str

    def pixels(self) -> np.ndarray:
        """Decode to uint8 ``[height, width, 3]``.

        Raises:
            ErfToolsError: the file is not what it was when the set was opened.
        """
        try:
            pixels = _pixels(self.path)
        except Exception as error:  # Pillow's decoders raise a dozen kinds
            raise ErfToolsError(
                f"the stimulus {self.name} can no longer be read: {why_unreadable(error)}"
            ) from error
        if _sha256(pixels) != self.sha256:
            raise ErfToolsError(
                f"the stimulus {self.name} was changed after the set was opened; leave it as it "
                "is, and run again"
            )
        return pixels


@dataclass(frozen=True)
class StimulusSet:
    """A checked set.

    Attributes:
        stimuli: in the order of their names.
        conflict: cue conflict, or a single cue.
        source: where it lies, for people.
        sha256: of names and pixels; see :func:`digest`.
        deviations: what is not as published; empty for a whole set.
        left_out: names of what lies beside the stimuli, with the reason why it is none.
    """

    stimuli: tuple[Stimulus, ...]
    conflict: bool
    source: str
    sha256: str
    deviations: tuple[str, ...] = ()
    left_out: tuple[Remark, ...] = ()

    def __len__(self) -> int:
        return len(self.stimuli)

    @property
    def label(self) -> str:
        """How much of the set there is, in words."""
        if not self.conflict:
            return f"{len(self)} single-cue stimuli"
        if len(self) < TOTAL:
            return f"{PARTIAL}: {len(self)} of {TOTAL} stimuli"
        published = "as published" if self.sha256 == PUBLISHED_DIGEST else "pixels not as published"
        return f"{TOTAL} stimuli, {published}"

    def record(self) -> dict[str, Any]:
        """Return the fields but the list itself as JSON values."""
        return {
            "source": self.source,
            "kind": "cue conflict" if self.conflict else "single cue",
            "count": len(self),
            "sha256": self.sha256,
            "as_published": self.sha256 == PUBLISHED_DIGEST,
            "deviations": list(self.deviations),
            "citation": CITATION,
        }


def parse_name(name: str) -> tuple[str, str] | None:
    """Return (shape, texture) of a cue-conflict name like ``cat7-elephant1.png``, or ``None``."""
    match = _CONFLICT.fullmatch(name)
    if not match or not {match[1], match[3]} <= set(CATEGORIES):
        return None
    return match[1], match[3]


@cache
def published_names() -> frozenset[str]:
    """Return the 1,280 published file names."""
    text = (resources.files("erf_tools.cue_conflict") / "cue_conflict_names.txt").read_text()
    return frozenset(f"{name}.png" for name in text.split())


def open_stimuli(
    source: str | Path = "cue-conflict", allow_partial: bool = False, progress: bool = False
) -> StimulusSet:
    """Open and check a set of stimuli.

    Args:
        source: a folder, or ``cue-conflict``, ``edges`` or ``silhouettes`` for a published set,
            which is fetched once into the cache.
        allow_partial: use what is there and record the deviations, instead of failing.
        progress: show the progress of a download.

    Raises:
        UsageError: no such folder, nothing usable in it, or it deviates from a whole set; every
            deviation is named.
        ErfToolsError: the published set cannot be fetched.
    """
    folder = given_path(source, "--stimuli")
    if not folder.is_dir():
        if str(source) not in PUBLISHED:
            raise UsageError(
                f"--stimuli {source}: there is no such folder; "
                f"published sets are {', '.join(PUBLISHED)}"
            )
        folder = fetch(str(source), progress=progress)
    found = find_files(folder)
    names = [path.name for _, path in found.files]
    single, conflict = (
        sum(bool(pattern.fullmatch(name)) for name in names) for pattern in (_SINGLE, _CONFLICT)
    )
    if single > conflict:
        return _open_single(folder, found)
    return _open_conflict(folder, found, allow_partial)


def digest(stimuli: Iterable[Stimulus]) -> str:
    """Return the SHA-256 over names and digests of pixels, in the order of the names."""
    total = hashlib.sha256()
    for stimulus in sorted(stimuli, key=lambda stimulus: stimulus.name):
        total.update(f"{stimulus.name} {stimulus.sha256}\n".encode())
    return total.hexdigest()


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(decode_image(read_file(path, _LARGEST_FILE))[0])


def _sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _open_conflict(folder: Path, found: Found, allow_partial: bool) -> StimulusSet:
    deviations: list[str] = []
    left_out = [(name, why) for name, why in found.left_out if "/" not in name]
    left_out += [(name, "no stimulus") for name, _ in found.files if "/" not in name]
    inside = [(name, path) for name, path in found.files if "/" in name]
    folders = {
        shown(path.name) for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)
    }
    absent = [category for category in CATEGORIES if category not in folders]
    if absent:
        deviations.append(_listed("folder", absent, "is missing", "are missing"))
    for stray in sorted(folders - set(CATEGORIES)):
        deviations.append(
            f"the folder {stray} is none of the 16 categories: {suggestion(stray, CATEGORIES, 1)}"
        )
    stimuli, strays, unpublished, broken, sized = [], [], [], [], []
    present: set[str] = set()
    for place, path in inside:
        category, name = place.split("/", 1)
        if category not in CATEGORIES:
            continue
        parsed = parse_name(name)
        if parsed is None or parsed[0] != category:
            strays.append(place)
            continue
        present.add(name)
        if name not in published_names():
            unpublished.append(place)
            continue
        try:
            pixels = _pixels(path)
        except Exception:  # Pillow's decoders raise a dozen kinds
            broken.append(place)
            continue
        if pixels.shape[:2] != (SIDE, SIDE):
            sized.append(f"{place} ({dimensions(pixels.shape[:2])})")
            continue
        stimuli.append(Stimulus(path.stem, *parsed, path, _sha256(pixels)))
    elsewhere = tuple(f"{category}{digit}" for category in absent for digit in range(1, 10))
    missing = sorted(name for name in published_names() - present if not name.startswith(elsewhere))
    unusable = [f"{name} ({why})" for name, why in found.left_out if "/" in name]
    pairs = Counter(parse_name(name) for name in present)
    crowded = ["-".join(pair) for pair, number in pairs.items() if pair and number > PER_PAIR]
    for kind, names, one, many in (
        ("stimulus", missing, "is missing", "are missing"),
        ("file", broken, "cannot be decoded", "cannot be decoded"),
        ("file", sized, f"is not {SIDE}x{SIDE}", f"are not {SIDE}x{SIDE}"),
        ("file", strays, "is no stimulus of its folder", "are no stimuli of their folder"),
        ("file", unpublished, "is no published stimulus", "are no published stimuli"),
        ("file", unusable, "cannot be used", "cannot be used"),
        ("pair", crowded, f"has over {PER_PAIR} stimuli", f"have over {PER_PAIR} stimuli"),
    ):
        if names:
            deviations.append(_listed(kind, names, one, many))
    if not stimuli:
        raise UsageError(
            f"--stimuli {folder} holds no cue-conflict stimuli "
            "(<shape>/<shape><n>-<texture><m>.png)"
        )
    if deviations and not allow_partial:
        raise UsageError(
            f"--stimuli {folder} is not the whole set of {TOTAL}: {'; '.join(deviations)} "
            "(--allow-partial measures what is there)"
        )
    ordered = tuple(sorted(stimuli, key=lambda stimulus: stimulus.name))
    return StimulusSet(
        ordered, True, str(folder), digest(ordered), tuple(deviations), tuple(left_out)
    )


def _open_single(folder: Path, found: Found) -> StimulusSet:
    stimuli = []
    problems = [f"{name} ({why})" for name, why in found.left_out if "/" in name]
    left_out = [(name, why) for name, why in found.left_out if "/" not in name]
    for place, path in found.files:
        category, _, name = place.rpartition("/")
        if path.suffix != ".png":
            left_out.append((place, "no stimulus"))
            continue
        match = _SINGLE.fullmatch(name)
        if not match or match[1] != category or match[1] not in CATEGORIES:
            problems.append(place)
            continue
        try:
            pixels = _pixels(path)
        except Exception:  # Pillow's decoders raise a dozen kinds
            problems.append(place)
            continue
        stimuli.append(Stimulus(path.stem, match[1], match[1], path, _sha256(pixels)))
    if problems or not stimuli:
        raise UsageError(
            f"--stimuli {folder}: "
            + _listed(
                "file", problems, "cannot be used", "cannot be used (<category>/<category><n>.png)"
            )
        )
    ordered = tuple(stimuli)
    return StimulusSet(ordered, False, str(folder), digest(ordered), (), tuple(left_out))


def _listed(kind: str, names: list[str], one: str, many: str) -> str:
    if len(names) == 1:
        return f"the {kind} {names[0]} {one}"
    plural = "stimuli" if kind == "stimulus" else f"{kind}s"
    return f"{len(names)} {plural} {many}: {listed(names)}"


def fetch(name: str, progress: bool = False, address: str = ARCHIVE) -> Path:
    """Return the folder of a published set in the cache, fetching and unpacking it at first.

    Only the set's own files are unpacked, into a folder beside the final one that takes its place
    when all is there and, for the cue-conflict set, names and pixels are those published.

    Raises:
        ErfToolsError: it cannot be downloaded, or is not what was published.
    """
    target = cache_folder() / "stimuli" / name
    if target.is_dir():
        return target
    archive = cache_folder() / "downloads" / "texture-vs-shape.zip"
    try:
        download(address, archive, progress=progress)
    except ErfToolsError as error:
        raise ErfToolsError(
            f"{error}; or download {address} elsewhere, unpack it, and name its folder "
            f"{PUBLISHED[name]} with --stimuli"
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as partial:
        try:
            count = _unpack(archive, PUBLISHED[name], Path(partial) / name)
        except (zipfile.BadZipFile, OSError) as error:
            archive.unlink(missing_ok=True)
            raise ErfToolsError(
                f"the archive from {address} cannot be unpacked ({error}); run again to fetch it "
                "anew"
            ) from error
        if name == "cue-conflict":
            found = open_stimuli(Path(partial) / name, allow_partial=True) if count else None
            if found is None or found.sha256 != PUBLISHED_DIGEST:
                archive.unlink(missing_ok=True)
                raise ErfToolsError(
                    f"the archive from {address} does not hold the published stimuli (its digest "
                    "is another); run again, or use --stimuli DIR"
                )
        elif count != len(CATEGORIES) * 10:
            archive.unlink(missing_ok=True)
            raise ErfToolsError(f"the archive from {address} holds {count} {name} instead of 160")
        try:
            (Path(partial) / name).replace(target)
        except OSError:
            if not target.is_dir():  # another process was first, with the same content
                raise
    return target


def _unpack(archive: Path, folder: str, target: Path) -> int:
    """Unpack a set's own files and return their number.

    Paths are made from names that match exactly, never taken from the archive, so nothing can be
    written elsewhere.
    """
    count = 0
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            parts = member.filename.split("/")
            if "/".join(parts[1:-2]) != folder or parts[-2] not in CATEGORIES:
                continue
            name = parts[-1]
            if not (_CONFLICT.fullmatch(name) or _SINGLE.fullmatch(name)):
                continue
            if member.file_size > _LARGEST_FILE:
                raise zipfile.BadZipFile(f"{name} is {member.file_size} bytes")
            path = target / parts[-2] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with content.open(member) as source, path.open("wb") as stream:
                shutil.copyfileobj(source, stream)
            count += 1
    return count
