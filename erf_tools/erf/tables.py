"""ERFs as tables: a row per result, differences between results, convergence."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from itertools import combinations
from pathlib import Path

import pandas as pd

from erf_tools.erf.cautions import cautions
from erf_tools.erf.maps import ERF
from erf_tools.erf.measures import MEASURES
from erf_tools.erf.measures.families.squares import THRESHOLDS
from erf_tools.erf.networks import CONDITIONS
from erf_tools.erf.others import OthersMap
from erf_tools.erf.published import PUBLISHED, STANDING
from erf_tools.labels import OTHERS
from erf_tools.tables import DIFFERENCES, SUBJECT, Subject, difference_row, read_csv
from erf_tools.text import dimensions

#: Between several warnings in a cell.
SEPARATOR = " | "

#: Thresholds of the ratios, as columns name them.
PERCENT = [f"{threshold * 100:g}" for threshold in THRESHOLDS]

_COUNTS = ("images", "zero_maps", "nan_maps", "parameters")
_WORDS = (
    *(*SUBJECT, "resolution", "paper_standing", "protocol", "unit", "units", "center_basis"),
    *("square", "precision", "dtype", "weights_source", "weights_sha256", "map_sha256"),
    *("without_intervals", "without_whole_map_intervals", "warnings", "warnings_in_words"),
)

#: Of :func:`erf_table`, in this order.
COLUMNS = (
    *(*SUBJECT, "default_layer", "resolution", "images", "zero_maps", "nan_maps"),
    *(column for measure in MEASURES.values() for column in measure.columns),
    *("theoretical_height", "theoretical_width", "side_of_theoretical", "erf_rate"),
    *("top1", "top1_natively"),
    *(*(f"paper_{percent}" for percent in PERCENT), "paper_standing", "protocol", "unit", "units"),
    *("center_row", "center_column", "center_basis", "square", "precision", "dtype"),
    "parameters",
    *("weights_source", "weights_sha256", "map_sha256", "without_intervals"),
    *("without_whole_map_intervals", "warnings", "warnings_in_words"),
)


def erf_table(results: Sequence[ERF], others: Sequence[OthersMap] = ()) -> pd.DataFrame:
    """Return a row per result: measures, the paper's values, and where it all comes from.

    Ratios are shares of the map's area in (0, 1]; lengths are input pixels; NaN where a measure
    has no value. ``theoretical_height`` and ``_width`` are infinite where global operations let
    every pixel reach the unit. ``side_of_theoretical`` is the effective side over the longer one of
    them. ``erf_rate`` is the number of pixels above 4.55 % of the peak (the
    square of ``extent``) as a share of the theoretical field's area (Loos 2024). ``MEASURE_low``
    and ``_high`` are the ends of 95 % intervals, for the measures that may have them;
    ``without_intervals`` says why there are none, and ``without_whole_map_intervals`` why measures
    that need whole maps (legacy ratios, participation) have none where others do. ``precision`` is
    of the arithmetic, where ``fp32`` is that of ``dtype``, the weights' type. ``warnings`` are
    the kinds of :data:`erf_tools.erf.cautions.KINDS`, ``warnings_in_words`` their sentences.

    Args:
        results: measured here.
        others: maps of others, in the rows below; what is not known of them is empty.
    """
    return _table([*map(_row, results), *map(_row_of_others, others)])


def _table(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    wordless = dict.fromkeys(_WORDS, "")
    table = pd.DataFrame([{**wordless, **row} for row in rows], columns=list(COLUMNS))
    unknown = [name for name in _COUNTS if table[name].isna().any()]
    return table.astype(dict.fromkeys(unknown, "Int64"))


def with_published(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`erf_table` with the published maps that compare with one of its rows.

    Those are maps of the same size, and by the same protocol as far as it is known. A map of others
    that is one of them stands for it.
    """
    found = read_csv(Path(str(resources.files("erf_tools.erf") / "published_maps.csv")), _WORDS)
    shown = set(zip(table["resolution"], table["protocol"], strict=True))
    given = set(table["map_sha256"])
    beside = [
        row.map_sha256 not in given
        and bool({(row.resolution, row.protocol), (row.resolution, "")} & shown)
        for row in found.itertuples()
    ]
    rows = [*table.to_dict("records"), *found[beside].to_dict("records")]
    return _table(rows)


def without_published(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`erf_table` without the paper's values."""
    table = table.copy()
    table[[f"paper_{percent}" for percent in PERCENT]] = float("nan")
    return table.assign(paper_standing="")


def _row_of_others(map_: OthersMap) -> dict[str, object]:
    return {
        **Subject(map_.name, OTHERS)._asdict(),
        "default_layer": True,
        "resolution": dimensions(map_.map.shape),
        **map_.measures.columns(),
        "square": "center",
        "weights_source": map_.source,
        "map_sha256": map_.sha256,
        "without_intervals": map_.measures.without_intervals,
    }


def _row(result: ERF) -> dict[str, object]:
    values = result.measures.columns()
    setting = result.setting
    model = setting["model"]
    height, width = result.theoretical_size
    as_published = setting["protocol"]["name"] == "ding2022" and setting["tap"]["default"]
    published = PUBLISHED.get(result.name) if as_published else None
    ratios = zip(PERCENT, THRESHOLDS, strict=True) if published else ()
    row, column = result.center
    found = cautions(result)
    return {
        **result.subject._asdict(),
        "default_layer": setting["tap"]["default"],
        "resolution": dimensions(setting["resolution"]),
        "images": result.count,
        "zero_maps": result.number("zero"),
        "nan_maps": result.number("nan"),
        **values,
        "theoretical_height": height,
        "theoretical_width": width,
        "side_of_theoretical": values["effective_side"] / result.theoretical_side,
        "erf_rate": values["extent"] ** 2 / (height * width),
        "top1": result.top1(),
        "top1_natively": result.top1(natively=True),
        **{
            f"paper_{percent}": published.ratios[threshold]
            for percent, threshold in ratios
            if published
        },
        "paper_standing": STANDING if published else "",
        "protocol": setting["protocol"]["name"],
        "unit": setting["unit"],
        "units": " ".join(f"{down},{across}" for down, across in result.units),
        "center_row": row,
        "center_column": column,
        "center_basis": result.receptive_field.basis,
        "square": setting["square"],
        "precision": setting["precision"],
        "dtype": setting.get("dtype", ""),
        "parameters": model["parameters"],
        "weights_source": model["weights"]["source"],
        "weights_sha256": model["weights"]["sha256"],
        "without_intervals": result.measures.without_intervals,
        "without_whole_map_intervals": result.measures.without_whole_map_intervals,
        "warnings": SEPARATOR.join(each.kind for each in found),
        "warnings_in_words": SEPARATOR.join(each.sentence for each in found),
    }


def difference_table(results: Sequence[ERF]) -> pd.DataFrame:
    """Return a row per pair of results and measure: the difference, with its paired interval.

    Pairs are those that are :func:`comparable`; what an image does to both cancels.
    """
    rows = []
    for one, other in combinations(results, 2):
        if not comparable(one, other):
            continue
        for name in MEASURES:
            found = one.measures.difference(other.measures, name)
            rows.append(difference_row(one.subject, other.subject, name, found))
    return pd.DataFrame(rows, columns=list(DIFFERENCES))


def comparable(one: ERF, other: ERF) -> bool:
    """Tell whether two results differ in network and layer only, so that a difference is theirs.

    Both have to be means over the same images, in the same order: where one of them left out an
    image whose map is not finite, the other has to have left it out, too. Protocol, resolution,
    unit, precision and the centre of squares (``center`` or ``unit``) have to be the same.
    """
    same = all(one.setting[key] == other.setting[key] for key in ("protocol", *CONDITIONS))
    return same and one.averaged == other.averaged


def convergence_table(results: Sequence[ERF]) -> pd.DataFrame:
    """Return the effective side against the number of images: median and range over samples."""
    measure = "effective_side"
    columns = [*SUBJECT, "images", "measure", "median", "median_low", "median_high"]
    rows = [
        [*result.subject, images, measure, spread.value, spread.low, spread.high]
        for result in results
        for images, spread in result.measures.convergence(measure)
    ]
    return pd.DataFrame(rows, columns=columns)
