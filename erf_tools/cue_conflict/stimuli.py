"""Sets of stimuli in folders: whether they are what was published, and where to get that."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

from erf_tools.cue_conflict.categories import CATEGORIES, SIXTEEN, Categories
from erf_tools.cue_conflict.own_stimuli import open_own
from erf_tools.cue_conflict.stimulus_sets import (
    LARGEST_FILE,
    PER_PAIR,
    PUBLISHED_DIGEST,
    SIDE,
    TOTAL,
    Stimulus,
    StimulusSet,
    digest,
    parse_name,
    pixels_sha256,
    published_names,
    read_pixels,
    sentence,
)
from erf_tools.downloads import cache_folder, download
from erf_tools.errors import ErfToolsError, UsageError, suggestion
from erf_tools.folders import Found, find_files, given_path, is_hidden, shown
from erf_tools.text import dimensions

ARCHIVE = "https://github.com/rgeirhos/texture-vs-shape/archive/refs/heads/master.zip"
#: Name on the command line -> folder in that repository.
PUBLISHED = {
    "cue-conflict": "stimuli/style-transfer-preprocessed-512",
    "edges": "stimuli/edges",
    "silhouettes": "stimuli/filled-silhouettes",
}

_CONFLICT = re.compile(r"([a-z]+)(\d+)-([a-z]+)(\d+)\.png")
_SINGLE = re.compile(r"([a-z]+)(\d+)\.png")


def open_stimuli(
    source: str | Path = "cue-conflict",
    allow_partial: bool = False,
    progress: bool = False,
    categories: Categories = SIXTEEN,
) -> StimulusSet:
    """Open and check a set of stimuli.

    Args:
        source: a folder, or ``cue-conflict``, ``edges`` or ``silhouettes`` for a published set,
            which is fetched once into the cache.
        allow_partial: use what is there and record the deviations, instead of failing.
        progress: show the progress of a download.
        categories: of the stimuli. Of others than the published ones, a folder holds
            ``<first>/<first><n>-<second><m>`` in any format, or with one cue ``<category>/<any>``.

    Raises:
        UsageError: no such folder, nothing usable in it, or it deviates from a whole set; every
            deviation is named.
        ErfToolsError: the published set cannot be fetched.
    """
    folder = given_path(source, "--stimuli")
    if not folder.is_dir():
        if str(source) in PUBLISHED and not categories.as_published:
            raise UsageError(
                f"--stimuli {source}: the published stimuli are not of the cues and categories in "
                f"{categories.file or 'the declaration'}; name the folder of those that are"
            )
        if str(source) not in PUBLISHED:
            raise UsageError(
                f"--stimuli {source}: there is no such folder; "
                f"published sets are {', '.join(PUBLISHED)}"
            )
        folder = fetch(str(source), progress=progress)
    found = find_files(folder)
    if not categories.as_published:
        return open_own(folder, found, allow_partial, categories)
    names = [path.name for _, path in found.files]
    single, conflict = (
        sum(bool(pattern.fullmatch(name)) for name in names) for pattern in (_SINGLE, _CONFLICT)
    )
    if single > conflict:
        return _open_single(folder, found, categories)
    return _open_conflict(folder, found, allow_partial, categories)


def _open_conflict(
    folder: Path, found: Found, allow_partial: bool, categories: Categories
) -> StimulusSet:
    deviations: list[str] = []
    left_out = [(name, why) for name, why in found.left_out if "/" not in name]
    left_out += [(name, "no stimulus") for name, _ in found.files if "/" not in name]
    inside = [(name, path) for name, path in found.files if "/" in name]
    folders = {
        shown(path.name) for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)
    }
    absent = [category for category in CATEGORIES if category not in folders]
    if absent:
        deviations.append(sentence("folder", absent, "is missing", "are missing"))
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
            pixels = read_pixels(path)
        except Exception:  # Pillow's decoders raise a dozen kinds
            broken.append(place)
            continue
        if pixels.shape[:2] != (SIDE, SIDE):
            sized.append(f"{place} ({dimensions(pixels.shape[:2])})")
            continue
        stimuli.append(Stimulus(path.stem, *parsed, path, pixels_sha256(pixels)))
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
            deviations.append(sentence(kind, names, one, many))
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
        ordered,
        True,
        str(folder),
        digest(ordered),
        tuple(deviations),
        tuple(left_out),
        categories,
    )


def _open_single(folder: Path, found: Found, categories: Categories) -> StimulusSet:
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
            pixels = read_pixels(path)
        except Exception:  # Pillow's decoders raise a dozen kinds
            problems.append(place)
            continue
        stimuli.append(Stimulus(path.stem, match[1], match[1], path, pixels_sha256(pixels)))
    if problems or not stimuli:
        raise UsageError(
            f"--stimuli {folder}: "
            + sentence(
                "file", problems, "cannot be used", "cannot be used (<category>/<category><n>.png)"
            )
        )
    ordered = tuple(stimuli)
    return StimulusSet(
        ordered, False, str(folder), digest(ordered), (), tuple(left_out), categories
    )


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
            if member.file_size > LARGEST_FILE:
                raise zipfile.BadZipFile(f"{name} is {member.file_size} bytes")
            path = target / parts[-2] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with content.open(member) as source, path.open("wb") as stream:
                shutil.copyfileobj(source, stream)
            count += 1
    return count
