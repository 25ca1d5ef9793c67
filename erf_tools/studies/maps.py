"""A study of maps of others, beside results of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from erf_tools.erf.maps import ERF
from erf_tools.erf.others import OthersMap
from erf_tools.errors import UsageError
from erf_tools.failures import Failures
from erf_tools.files import locked
from erf_tools.models.requests import check_folders, folder_name
from erf_tools.report.results import MAP_OF_OTHERS
from erf_tools.studies.erf import SHOWN_OF_RESULTS, Study, write_together
from erf_tools.studies.one_by_one import clear
from erf_tools.studies.written import remove_earlier


def measure_maps(
    maps: Sequence[OthersMap],
    results: Sequence[ERF],
    output: Path,
    reference: bool = True,
    overwrite: bool = False,
) -> Study:
    """Measure maps of others, and write everything below ``output``, results of ours beside them.

    Args:
        maps: of others; each is kept in a folder of its name.
        results: of ours.
        output: folder for the results.
        reference: put published values beside.
        overwrite: replace other maps of these names in the folder.

    Raises:
        UsageError: two maps have the same name, or the folder holds another map of a name.
        OutputError: the folder cannot be written.
        ErfToolsError: another process is at work in the folder.
    """
    check_folders([map_.name for map_ in maps], "--name")
    places = [output / folder_name(map_.name) / MAP_OF_OTHERS for map_ in maps]
    failures = Failures()
    with locked(output):
        clear(output, [place.parent for place in places])
        for map_, place in zip(maps, places, strict=True):
            if place.is_file() and not overwrite and OthersMap.load(place).sha256 != map_.sha256:
                raise UsageError(
                    f"{output} holds another map named {map_.name}: give it another --name, name "
                    "another folder with --output, or replace it with --overwrite"
                )
        for map_, place in zip(maps, places, strict=True):
            map_.save(place)
        table, files = write_together(results, maps, output, failures, reference)
        remove_earlier(output, SHOWN_OF_RESULTS, files, failures)
    return Study(tuple(results), (), tuple(failures), table, tuple(files))
