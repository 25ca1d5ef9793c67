"""Parts: sums of contribution maps over some of the images, which add up to an ERF.

A part holds all that its images contribute to the result, intervals included, so that images can be
measured apart, in other processes and on other machines, and put together later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from erf_tools.erf.maps import ERF, MeasuredImage
from erf_tools.erf.measures.frame import Frame
from erf_tools.erf.measures.sample import Sample
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.files import canonical_json, read_archive, understood, write_archive
from erf_tools.images import are_given, file_name
from erf_tools.records import differing_values
from erf_tools.text import dimensions, first_few

_FORMAT = "erf-tools part, version 2"

#: What of a setting follows from the theoretical field.
_OF_FIELD = ("receptive_field", "center")

#: Memory for the sums over groups of images that intervals are made of, and the most there can be.
_GROUP_BYTES, _MOST_GROUPS = 2**30, 20


@dataclass(frozen=True, eq=False)
class Part:
    """What some images give of one layer's ERF.

    Attributes:
        total: sum of their maps, float64 ``[height, width]``.
        groups: sums over groups of consecutive images, float32 ``[groups, height, width]``; none of
            maps that add up with their sign, which have no intervals.
        lengths: number of images in each group.
        sums: of each image whose map is finite; see
            :class:`~erf_tools.erf.measures.sample.Sample`.
        images: the images, in order.
        setting: as in :class:`~erf_tools.erf.maps.ERF`.
        runs: as in :class:`~erf_tools.erf.maps.ERF`.
    """

    total: np.ndarray
    groups: np.ndarray
    lengths: tuple[int, ...]
    sums: Mapping[str, np.ndarray]
    images: tuple[MeasuredImage, ...]
    setting: Mapping[str, Any]
    runs: tuple[Mapping[str, Any], ...]

    @classmethod
    def of_result(cls, result: ERF) -> Part:
        """Return a whole result as one group of a larger one."""
        known = result.sample is not None
        return cls(
            result.total,
            result.total[None].astype(np.float32)[: int(known)],
            (len(result.images),) * known,
            result.sample.sums if result.sample else {},
            result.images,
            result.setting,
            result.runs,
        )

    @property
    def counts(self) -> np.ndarray:
        """Number of images in each group whose map is finite, integers ``[groups]``."""
        finite = np.array([image.outcome != "nan" for image in self.images], dtype=int)
        if not self.lengths:
            return np.empty(0, dtype=int)
        return np.add.reduceat(finite, np.cumsum([0, *self.lengths[:-1]]))


def group_lengths(images: int, size: tuple[int, int], layers: int = 1) -> tuple[int, ...]:
    """Return how many consecutive images to put into each group, differing by one at most.

    Groups are single images, up to 20 of them or as many as there is memory for.

    Args:
        images: number of images.
        size: height and width of the maps.
        layers: number of layers that are measured at once.
    """
    room = _GROUP_BYTES // (4 * size[0] * size[1] * layers)
    groups = max(min(images, _MOST_GROUPS, room), 1)
    ends = [images * group // groups for group in range(groups + 1)]
    return tuple(end - start for start, end in pairwise(ends))


def join(parts: Iterable[Part]) -> ERF:
    """Add parts of one setting over different images.

    Only one part is in memory at a time; of the others there are the groups.

    Where the maps of some contradict a theoretical field, it is not known of the whole. There are
    no intervals then if the others have sums about another centre.

    Args:
        parts: in the order of the images; the sum's last bits depend on it.

    Raises:
        UsageError: there are none, settings differ, or an image is in two of them.
        ErfToolsError: maps of some contradict a field within which those of others were computed.
    """
    first: Part | None = None
    setting: Mapping[str, Any] = {}
    centers: set[tuple[float, ...]] = set()
    total = np.empty(0)
    groups: list[np.ndarray] = []
    counts: list[int] = []
    sums: dict[str, list[np.ndarray]] = {}
    images: list[MeasuredImage] = []
    seen: set[tuple[str, str]] = set()
    runs: list[Mapping[str, Any]] = []
    for part in parts:
        if first is None:
            first, setting, total = part, part.setting, part.total.copy()
        else:
            setting = _joint_setting(setting, runs, part)
            total += part.total
        centers.add(tuple(part.setting["center"]))
        own = {(image.name, image.sha256) for image in part.images}
        if shared := sorted(seen & own):
            raise UsageError(
                f"{len(shared)} images are in two results, which would count them twice "
                f"(the first is {shared[0][0]})"
            )
        seen |= own
        images += part.images
        filled = [(maps, int(n)) for maps, n in zip(part.groups, part.counts, strict=True) if n]
        groups += [maps for maps, _ in filled]
        counts += [count for _, count in filled]
        for family, each in part.sums.items():
            sums.setdefault(family, []).append(each)
        runs += part.runs
    if first is None:
        raise UsageError("there is nothing to merge")
    result = ERF(total, tuple(images), setting, tuple(runs))
    about_others = len(centers) > 1 and result.square_center is not None
    if sum(counts) != result.count or not total.any() or about_others:
        return result
    joined = {family: np.concatenate(own) for family, own in sums.items()}
    frame = Frame(total.shape, result.square_center)
    sample = Sample.of_groups(total, groups, counts, joined, frame, result.averaged)
    return replace(result, sample=sample)


def joined_runs(runs: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Return runs that were computed alike as one, with the largest of their differences."""
    alike: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        key = canonical_json({**run, "largest_difference": None})
        found = alike.setdefault(key, run)
        differences = [found.get("largest_difference"), run.get("largest_difference")]
        known = [difference for difference in differences if difference is not None]
        alike[key] = {**found, "largest_difference": max(known, default=None)}
    return tuple(alike.values())


def merge(results: Iterable[ERF]) -> ERF:
    """Add results of one setting over different images.

    Intervals of measures that need whole maps take each of the merged results as one group of
    images, and there are none for fewer than five.

    An image is in two results where its content is, however it is named. A set of images may hold
    the same content twice, though, which counts twice where the set is measured at once, and so it
    does in parts. Two results are parts of one set, and an image of both is two files of it, where

    - both are of images of one folder, and it has two names;
    - both are of lists of paths that end in two names of files, and none of the lists holds all
      images of the other.

    Raises:
        UsageError: nothing to merge, settings differ, or an image is in two of them.
    """
    results = list(results)  # an iterator gives them once
    merged = join(Part.of_result(result) for result in results)
    for one, other in combinations(results, 2):
        _check_other_images(one, other)
    return merged


def _check_other_images(one: ERF, other: ERF) -> None:
    """See that no image is in both results, whatever its names; see :func:`merge`."""
    ours, theirs = _names(one), _names(other)
    shared = [sha256 for sha256 in ours if sha256 in theirs]
    sources = {run.get("images", {}).get("source", "") for run in (*one.runs, *other.runs)}
    listed = all(map(are_given, sources)) and bool(sources)
    if not listed and len(sources) == 1 and "" not in sources:
        return  # names tell the files of one folder apart, and equal ones are told by join
    whole = len(shared) == min(len(ours), len(theirs))
    same = [
        (mine, its)
        for sha256 in shared
        for mine, its in product(ours[sha256], theirs[sha256])
        if whole or not listed or file_name(mine) == file_name(its)
    ]
    if same:
        raise UsageError(
            f"{same[0][0]} of one result and {same[0][1]} of another are the same image, which "
            f"would count twice ({len(same)} such pairs): measure one of the results again "
            "without it, or all images at once"
        )


def _names(result: ERF) -> dict[str, list[str]]:
    """Return the names of each image by its digest."""
    names: dict[str, list[str]] = {}
    for image in result.images:
        names.setdefault(image.sha256, []).append(image.name)
    return names


def _joint_setting(
    setting: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], part: Part
) -> Mapping[str, Any]:
    """Return the setting of parts so far and one more, whose field the maps of either may deny.

    Raises:
        UsageError: settings differ.
        ErfToolsError: see :func:`join`.
    """
    known, more = (setting, runs), (part.setting, part.runs)
    for (doubting, denying), (trusting, own) in ((known, more), (more, known)):
        if not _denied(trusting, doubting, denying):
            continue
        _check_alike(doubting, {**trusting, **{key: doubting[key] for key in _OF_FIELD}})
        if any(run.get("cone") for run in own):
            raise ErfToolsError(
                "the maps of some images reach beyond the theoretical field that was found, "
                f"{dimensions(trusting['receptive_field']['size'])}, and those of others were "
                "computed within it only; measure all of them with --exact, or with exact = true "
                "in the study file"
            )
        return doubting
    _check_alike(setting, part.setting)
    return setting


def _denied(
    setting: Mapping[str, Any], doubting: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]
) -> bool:
    """Tell whether the field of a setting is the one that maps of another have contradicted.

    Maps of several units are moved onto each other by strides, which are others where fields are
    not known.
    """
    contradicted = [tuple(size) for run in runs if (size := run.get("contradicted_field"))]
    if not contradicted:
        return False
    field, unknown = setting["receptive_field"], doubting["receptive_field"]
    moved_alike = len(setting["units"]) == 1 or field["stride"] == unknown["stride"]
    is_it = field["size"] is not None and tuple(field["size"]) in contradicted
    return is_it and unknown["unbounded"] is None and moved_alike


def _check_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    found = list(differing_values(_deciding(one), _deciding(other)))
    if found:
        differing = first_few([f"{name} ({ours} and {theirs})" for name, ours, theirs in found])
        raise UsageError(f"results differ in {differing} and do not merge; measure them alike")


def _deciding(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the numbers of a setting.

    Of weights as given the digest says all: their notes tell by which way they came. Where a layer
    lies in the network follows from the tap, and results of before do not have it.
    """
    setting = {**setting, "place": None}
    weights = setting["model"]["weights"]
    if weights["kind"] != "given":
        return setting
    return {**setting, "model": {**setting["model"], "weights": {**weights, "notes": []}}}


def save_parts(path: Path, parts: Sequence[Part]) -> None:
    """Write the parts of several layers over the same images into one file, atomically.

    It is not compressed: sums of gradients hardly shrink, and it is read once.
    """
    arrays: dict[str, np.ndarray] = {}
    for index, part in enumerate(parts):
        arrays[f"{index}.total"] = part.total
        if len(part.groups) > 1:  # a single one is the total
            arrays[f"{index}.groups"] = part.groups
        arrays |= {f"{index}.sums.{family}": sums for family, sums in part.sums.items()}
    record = {
        "format": _FORMAT,
        "parts": [
            {
                "lengths": list(part.lengths),
                "sums": list(part.sums),
                "images": [vars(image) for image in part.images],
                "setting": dict(part.setting),
                "runs": [dict(run) for run in part.runs],
            }
            for part in parts
        ],
    }
    write_archive(path, arrays, record, compressed=False)


def load_parts(path: Path, layer: int | None = None) -> list[Part]:
    """Read what :func:`save_parts` wrote; of one layer only, if ``layer`` says so.

    Raises:
        UsageError: the file is missing, damaged or something else.
    """
    arrays, record = read_archive(path, "" if layer is None else f"{layer}.")
    if record.get("format") != _FORMAT:
        raise UsageError(f"{path} is not a part of a result of this version of erf-tools")
    with understood(path):
        return [
            _stored_part(arrays, index, stored)
            for index, stored in enumerate(record["parts"])
            if layer in (None, index)
        ]


def _stored_part(arrays: Mapping[str, np.ndarray], index: int, stored: Mapping[str, Any]) -> Part:
    total = arrays[f"{index}.total"]
    single = total[None].astype(np.float32)[: len(stored["lengths"])]
    return Part(
        total,
        arrays.get(f"{index}.groups", single),
        tuple(stored["lengths"]),
        {family: arrays[f"{index}.sums.{family}"] for family in stored["sums"]},
        tuple(MeasuredImage(**image) for image in stored["images"]),
        stored["setting"],
        tuple(stored["runs"]),
    )
