"""Which results are of one network, and which were measured under the same conditions."""

from __future__ import annotations

from collections.abc import Sequence

from erf_tools.erf.maps import ERF
from erf_tools.features.depths import depths as depths_of_taps
from erf_tools.files import canonical_json
from erf_tools.images import counted
from erf_tools.labels import distinct
from erf_tools.text import dimensions

#: What has to be the same of results that are set side by side, their images apart.
CONDITIONS = ("resolution", "unit", "square", "precision")


def network_of(result: ERF) -> str:
    """Return what makes a network itself, equal for results of one network.

    That is the model, with its arguments and how it wants its images, and the digest of its
    weights. What weights are called and where they lie does not count: two files may share a name,
    and one may lie in two places.
    """
    model = result.setting["model"]
    return canonical_json({**model, "weights": model["weights"]["sha256"]})


def conditions_of(result: ERF) -> str:
    """Return what results share that are set side by side, whatever network, layer and protocol.

    That is resolution, unit, square, precision, and the images in their order.
    """
    chosen = [result.setting[name] for name in CONDITIONS]
    return canonical_json([*chosen, [image.sha256 for image in result.images]])


def conditions_in_words(result: ERF) -> list[str]:
    """Return the conditions of a result, each in a word or two."""
    setting = result.setting
    chosen = dict.fromkeys(
        (images["source"], f"{images['order']}, seed {images['seed']}")
        for images in [run["images"] for run in result.runs]
    )
    count = len(result.images)
    shown = f"{count} images of {' and of '.join(map(', '.join, chosen))}"
    if len(chosen) == 1:
        ((source, how),) = chosen
        shown = f"{counted(count, source)}, {how}"
    return [
        dimensions(setting["resolution"]),
        f"unit {setting['unit']}",
        f"square at the {setting['square']}",
        setting["precision"],
        shown,
    ]


def network_names(results: Sequence[ERF]) -> dict[str, str]:
    """Return what networks are called, by what :func:`network_of` gives.

    Those of one name are told apart by where their weights are from, or else by numbers.
    """
    first: dict[str, ERF] = {}
    for result in results:
        first.setdefault(network_of(result), result)
    labels = [result.network_label for result in first.values()]
    sources = [result.setting["model"]["weights"]["source"] for result in first.values()]
    return dict(zip(first, distinct(labels, sources), strict=True))


def growths(results: Sequence[ERF]) -> list[list[ERF]]:
    """Return layers in a row for each network, protocol and conditions.

    Layers are in the order of their :func:`depths`, each once. Where these are not known they are
    in the order of the results, and the default one, which is a network's last map, ends a row.
    """
    rows: dict[tuple[str, ...], dict[str, ERF]] = {}
    for result in sorted(results, key=lambda result: bool(result.setting["tap"]["default"])):
        row = rows.setdefault(_measured(result), {})
        row.setdefault(result.setting["tap"]["name"], result)
    found = []
    for layers in (list(row.values()) for row in rows.values()):
        known = depths(layers) or range(len(layers))
        order = sorted(range(len(layers)), key=known.__getitem__)
        found.append([layers[place] for place in order])
    return found


def running_order(results: Sequence[ERF]) -> list[int]:
    """Return the order in which to show results, as their places among them.

    Layers of a network that were measured in one way follow their :func:`depths`; where these are
    not known, and of different networks, results stay in their order.
    """
    rows: dict[tuple[str, ...], list[int]] = {}
    for place, result in enumerate(results):
        rows.setdefault(_measured(result), []).append(place)
    order = list(range(len(results)))
    for row in rows.values():
        known = depths([results[place] for place in row])
        if known:
            found = sorted(zip(known, row, strict=True))
            for place, (_, shown) in zip(row, found, strict=True):
                order[place] = shown
    return order


def _measured(result: ERF) -> tuple[str, ...]:
    """Return what layers share that follow each other: network, protocol and conditions."""
    protocol = canonical_json(result.setting["protocol"])
    return network_of(result), protocol, conditions_of(result)


def depths(layers: Sequence[ERF]) -> list[float] | None:
    """Return :func:`erf_tools.features.depths.depths` of results of a network."""
    settings = [layer.setting for layer in layers]
    places = [setting.get("place") for setting in settings]
    return depths_of_taps([setting["tap"] for setting in settings], places)


def growth_names(rows: Sequence[Sequence[ERF]]) -> list[str]:
    """Return what rows of layers are called: their networks, with what sets equal ones apart."""
    first = [row[0] for row in rows]
    names = network_names(first)
    return distinct(
        [names[network_of(each)] for each in first],
        [each.setting["protocol"]["name"] for each in first],
        *zip(*map(conditions_in_words, first), strict=True),
    )
