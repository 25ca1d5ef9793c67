"""An audit as text: the table of networks and protocols, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from erf_tools.erf.audit import ORDERED_BY, flips_in_words, tau_matrix
from erf_tools.erf.cautions import DRAWN, DRAWS
from erf_tools.erf.protocols import PROTOCOLS
from erf_tools.erf.tables import PERCENT, SEPARATOR
from erf_tools.tables import numbers, with_intervals
from erf_tools.text import listed

_IN_WORDS = {
    "effective_side": "effective side",
    **{f"linear_{percent}": f"linear r at {percent} %" for percent in PERCENT},
}


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of networks and protocols as text for people."""
    shown = {
        "Model": table["model"],
        "Protocol": table["protocol"],
        "Weights": table["weights"],
        "Images": table["images"].map(str),
        "Effective side, px": with_intervals(table, "effective_side", "{:.0f}".format),
    }
    for percent in PERCENT:
        ratios = 100 * table[f"linear_{percent}"]
        shown[f"linear r at {percent} %, %"] = numbers(ratios, "{:.2f}".format)
    return pd.DataFrame(shown)


def agreement_matrix(agreement: pd.DataFrame) -> pd.DataFrame:
    """Return Kendall's tau by effective side as text, a row and a column per protocol."""
    measure = ORDERED_BY[0]
    own = agreement[agreement["measure"] == measure]
    names = list(dict.fromkeys([*own["protocol"], *own["other_protocol"]]))
    taus = tau_matrix(agreement, names, measure)
    columns = {name: numbers(own, "{:.2f}".format) for name, own in zip(names, taus, strict=True)}
    return pd.DataFrame({"tau": names, **columns})


def _same_maps(names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each group of protocols that define the same map."""
    groups: dict[object, list[str]] = {}
    for name in names:
        if name in PROTOCOLS:
            groups.setdefault(PROTOCOLS[name].defines, []).append(name)
    for group in groups.values():
        if len(group) > 1:
            yield (
                f"{listed(group, 'and')} define the same map, and differ only in which images they "
                "take and how they show it."
            )


def _intervals(table: pd.DataFrame) -> str:
    """Return of which protocols linear measures have intervals."""
    known = table["effective_side_low"].notna().groupby(table["protocol"], sort=False).any()
    if not known.any():
        return "too few for intervals"
    without = list(known.index[~known])
    # A map of zeros has none, nor has one of too few images that are finite.
    single = table["effective_side_low"].isna() & ~table["protocol"].isin(without)
    without += ["single networks"] if single.any() else []
    but_for = f" but for {listed(without, 'and')}" if without else ""
    return f"linear measures with 95 % intervals{but_for}"


def _noise(names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence on the protocols that do not see the images themselves."""
    noisy = [
        name
        for name in names
        if name.endswith("+transform=noise")
        or (name in PROTOCOLS and PROTOCOLS[name].transform == "noise")
    ]
    if noisy:
        verb = "show" if len(noisy) > 1 else "shows"
        yield f"{listed(noisy, 'and')} {verb} noise in place of each of the images."


def _of_fewer_networks(table: pd.DataFrame, agreement: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence on the taus that are not over all networks."""
    networks = len(table.drop_duplicates(["model", "weights", "weights_source", "layer"]))
    measures: dict[str, list[str]] = {}
    for measure in ORDERED_BY:
        counts = agreement.loc[agreement["measure"] == measure, "networks"]
        if len(counts) and counts.min() < networks:
            numbers_of = " to ".join(map(str, dict.fromkeys([counts.min(), counts.max()])))
            measures.setdefault(numbers_of, []).append(_IN_WORDS[measure])
    for numbers_of, names in measures.items():
        yield (
            f"Taus by {listed(names, 'and')} are over {numbers_of} of {networks} networks, those "
            "of which both protocols have a value: not all of them are of the same networks."
        )


def notes(table: pd.DataFrame, agreement: pd.DataFrame, flips: pd.DataFrame) -> list[str]:
    """Return what a reader has to know, and what was found, a sentence or two each."""
    left_out = " but those whose map is not finite" if table["nan_maps"].gt(0).any() else ""
    names = list(dict.fromkeys(table["protocol"]))
    found = [
        f"Every protocol on the same images{left_out}, {_intervals(table)}.",
        *_noise(names),
        *_same_maps(names),
        "Kendall's tau: of all pairs of networks, the share ordered alike less the share ordered "
        "otherwise, corrected for ties; with few networks it says little.",
    ]
    drawn = [DRAWS in kinds.split(SEPARATOR) for kinds in table["warnings"]]
    if any(drawn):
        own = ", ".join(dict.fromkeys(table["model"][drawn]))
        found.append(f"warning: {own}: {DRAWN}.")
    for name in names:
        side = PROTOCOLS[name].ratio_side if name in PROTOCOLS else None
        for size in dict.fromkeys(table["resolution"]):
            height, width = map(int, size.split("x"))
            if side and height * width != side**2:
                times = height * width / side**2
                found.append(
                    f"{name}: its script divides by {side} x {side} pixels whatever the map's "
                    f"size; at {size} it would print {times:.3g} times these ratios."
                )
    found += _of_fewer_networks(table, agreement)
    for measure in ORDERED_BY:
        words = flips_in_words(flips, measure)
        own = agreement[agreement["measure"] == measure]
        known = own["tau"].dropna()
        (lowest,) = numbers([known.min()], "{:.2f}".format)
        heading = f"{_IN_WORDS[measure]}: lowest tau {lowest}" if len(known) else ""
        if 0 < len(known) < len(own):
            heading += f" ({len(known)} of {len(own)} pairs of protocols have one)"
        if words:
            found += [f"{heading}. {words[0]}", *words[1:]]
        elif heading:
            found.append(f"{heading}; no pair of networks changes its order.")
    return found
