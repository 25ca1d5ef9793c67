"""Decision makers as tables: shape bias, by category, and single-cue accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from erf_tools.cue_conflict import measures
from erf_tools.cue_conflict.absolute import MEASURES, single_cue_estimates
from erf_tools.cue_conflict.categories import SIXTEEN, guessing_mrr, low_coverage, worded
from erf_tools.cue_conflict.decisions import Decisions
from erf_tools.cue_conflict.makers import DecisionMaker
from erf_tools.cue_conflict.published import PUBLICATIONS
from erf_tools.cue_conflict.stimulus_sets import PARTIAL
from erf_tools.labels import UNTRAINED
from erf_tools.tables import NONE, intervals, marked_low, numbers, with_intervals

_SHARE = "{:.3f}".format

#: Of the absolute measures, those that the table for people has room for.
_SHOWN = ("mrr_shape", "mrr_texture", "both_cues", "ece")

#: What nobody should conclude; it stands wherever the number is shown.
CAUTION = (
    "A larger shape bias is neither more robustness (arXiv 2406.05006) nor better generalisation "
    "(arXiv 2404.01509): it says which cue wins, not how well either is seen."
)


def cues_of(table: pd.DataFrame) -> tuple[str, ...]:
    """Return what the cues of a table of this package are called, from its column ``cues``."""
    named = table["cues"].iloc[0] if len(table) else ", ".join(SIXTEEN.cues)
    return tuple(str(named).split(", "))


def caution(cues: Sequence[str]) -> str:
    """Return what nobody should conclude from a bias between two cues."""
    if tuple(cues) == SIXTEEN.cues:
        return CAUTION
    return worded("The shape bias says which cue wins, not how well either is seen.", cues)


def shape_bias_table(makers: Sequence[DecisionMaker]) -> pd.DataFrame:
    """Return a row per decision maker.

    Columns are the same for all cues: ``shape`` stands for the first one and ``texture`` for the
    second, and ``cues`` says what they are called.

    ``shape``, ``texture`` and ``total`` are counts; ``kappa_human`` is in [-1, 1], and all else are
    shares in [0, 1], or absolute measures
    (:func:`~erf_tools.cue_conflict.absolute.absolute_values`). ``shape_bias_low`` and ``_high``
    take stimuli that share a shape image or a texture image as dependent;
    ``shape_bias_texture_low`` and ``_high`` are a bootstrap over texture images alone,
    ``shape_bias_wilson_low`` and ``_high`` take all decisions as independent.
    """
    return pd.DataFrame([_row(maker) for maker in makers])


def _row(maker: DecisionMaker) -> dict[str, object]:
    wilson = measures.wilson(maker.counts)
    by_texture = measures.texture_bootstrap(maker.counts)
    provenance = maker.provenance
    model = provenance.get("model", {})
    return {
        "model": maker.name,
        "weights": maker.weights,
        "shape": maker.shape,
        "texture": maker.texture,
        "total": maker.total,
        "coverage": maker.coverage,
        **maker.bias.columns("shape_bias"),
        "mean_of_categories": measures.mean_of_categories(maker.counts),
        **maker.kappa_human.columns("kappa_human"),
        "preset": provenance.get("preset", ""),
        "aggregation": provenance.get("aggregation", ""),
        "shape_bias_texture_low": by_texture.low,
        "shape_bias_texture_high": by_texture.high,
        "shape_bias_wilson_low": wilson.low,
        "shape_bias_wilson_high": wilson.high,
        "low_coverage": maker.coverage < low_coverage(len(maker.categories.names)),
        **{
            column: value
            for name in MEASURES
            for column, value in maker.estimate(name).columns(name).items()
        },
        "head": provenance.get("head", ""),
        "undecided": provenance.get("undecided", 0),
        "prompts": provenance.get("prompts") or "",
        "kind": provenance.get("kind", ""),
        "stimuli": maker.stimuli,
        "weights_source": model.get("weights", {}).get("source", ""),
        "weights_sha256": model.get("weights", {}).get("sha256", ""),
        "cues": ", ".join(maker.categories.cues),
        "categories": len(maker.categories.names),
        "kappa_over": maker.kappa_over,
    }


def category_table(makers: Sequence[DecisionMaker]) -> pd.DataFrame:
    """Return a row per decision maker and shape category: counts and S / (S + T)."""
    tables = []
    for maker in makers:
        table = maker.counts.by_category.reset_index(names="category")
        table["shape_bias"] = measures.bias_by_category(maker.counts).to_numpy()
        table["stimuli"] = maker.stimuli
        table.insert(0, "model", maker.name)
        table.insert(1, "weights", maker.weights)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def accuracy_table(decisions: Sequence[Decisions]) -> pd.DataFrame:
    """Return a row per network: accuracy over single-cue stimuli, all and by category.

    Its interval is Wilson's; ``total`` is the number of stimuli. For the mean reciprocal ranks see
    :func:`~erf_tools.cue_conflict.absolute.single_cue_estimates`.
    """
    rows = []
    for made in decisions:
        estimate = measures.accuracy(made.frame)
        model = made.provenance["model"]
        rows.append(
            {
                "model": made.name,
                "weights": model["weights"]["label"],
                "total": len(made.frame),
                **estimate.columns("accuracy"),
                **{
                    column: value
                    for name, found in single_cue_estimates(made).items()
                    for column, value in found.columns(name).items()
                },
                "preset": made.provenance["preset"],
                "aggregation": made.provenance["aggregation"],
                "undecided": made.provenance.get("undecided", 0),
                "prompts": made.provenance.get("prompts") or "",
                "stimuli": made.provenance["stimuli"]["label"],
                "weights_sha256": model["weights"]["sha256"],
                "cues": ", ".join(made.categories.cues),
                **{
                    f"accuracy of {category}": value
                    for category, value in measures.accuracy_by_category(
                        made.frame, made.categories
                    ).items()
                },
            }
        )
    return pd.DataFrame(rows)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`shape_bias_table` as text for people; of absolute measures what is known."""
    cues = cues_of(table)
    shown = pd.DataFrame(
        {
            "Model": table["model"],
            "Weights": table["weights"],
            "Shape": table["shape"].map(str),
            "Texture": table["texture"].map(str),
            "Total": table["total"].map(str),
            "Coverage": marked_low(numbers(table["coverage"], _SHARE), table["low_coverage"]),
            "Shape bias": numbers(table["shape_bias"], "{:.4f}".format),
            "95 %": intervals(table, "shape_bias", _SHARE),
            "Mean of categories": numbers(table["mean_of_categories"], _SHARE),
            "kappa, humans": numbers(table["kappa_human"], _SHARE),
            "kappa, 95 %": intervals(table, "kappa_human", _SHARE),
            "Preset": table["preset"].replace("", NONE),
            "Aggregation": table["aggregation"].replace("", NONE),
        }
    )
    for name in _SHOWN:
        if table[name].notna().any():
            shown[MEASURES[name]] = with_intervals(table, name, _SHARE)
    return shown.rename(columns=lambda title: worded(title, cues))


def readable_accuracy(table: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`accuracy_table` as text for people."""
    shown = pd.DataFrame(
        {
            "Model": table["model"],
            "Weights": table["weights"],
            "Stimuli": table["total"].map(str),
            "Accuracy": numbers(table["accuracy"], _SHARE),
            "95 % (Wilson)": intervals(table, "accuracy", _SHARE),
            "MRR": with_intervals(table, "mrr", _SHARE),
            "MRR, all classes": with_intervals(table, "mrr_classes", _SHARE),
            "Preset": table["preset"],
        }
    )
    for column in table:
        if column.startswith("accuracy of "):
            category = column.removeprefix("accuracy of ")
            shown[category] = numbers(table[column], "{:.2f}".format)
    return shown


def notes(table: pd.DataFrame) -> list[str]:
    """Return what a reader of :func:`shape_bias_table` has to know, a sentence or two each."""
    cues = cues_of(table)
    ratio = (
        "Shape bias: S / (S + T) over the stimuli whose shape and texture conflict; coverage: "
        "(S + T) / total. 95 %: stimuli that share a shape image or a texture image are not taken "
        "as independent."
    )
    found = [worded(ratio, cues), caution(cues)]
    count = int(table["categories"].max()) if len(table) else len(SIXTEEN.names)
    if table["mrr_shape"].notna().any():
        ranks = (
            "MRR: mean of one over the rank of the shape's, or the texture's, category among all "
            f"(guessing among {count} gives {guessing_mrr(count):.3f}). Both cues: they are the "
            "two largest. ECE: error of the confidence in having named either. Intervals as above."
        )
        found.append(worded(ranks, cues))
    for over, rows in table[table["kappa_over"] != ""].groupby("kappa_over", sort=False):
        found.append(
            f"kappa of {', '.join(rows['model'])}: the mean over {over}, those with stimuli in "
            "common."
        )
    for label, rows in table[table["stimuli"] != ""].groupby("stimuli"):
        of = f" ({', '.join(rows['model'])})" if str(label).startswith(PARTIAL) else ""
        found.append(f"Stimuli: {label}{of}.")
    if table["low_coverage"].any():
        names = ", ".join(table.loc[table["low_coverage"], "model"])
        found.append(
            f"LOW coverage (below {low_coverage(count):.3g}, by what guessing gives): the ratio of "
            f"{names} rests on few decisions."
        )
    if (table["weights"] == UNTRAINED).any():
        names = ", ".join(table.loc[table["weights"] == UNTRAINED, "model"])
        found.append(f"untrained: {names} has random weights, and its ratio means nothing.")
    if (table["head"] == "probabilities").any():
        names = ", ".join(table.loc[table["head"] == "probabilities", "model"])
        found.append(f"{names}: gives probabilities, which are taken as they are.")
    found += [*undecided_notes(table), *prompt_notes(table)]
    for publication in PUBLICATIONS:
        shown = [row.name for row in publication.rows.values() if row.name in set(table["model"])]
        if shown:
            found.append(f"{', '.join(shown)}: {publication.source}.")
    return found


def undecided_notes(
    table: pd.DataFrame,
    column: str = "undecided",
    choices: str = "categories",
    shown: str = "stimuli",
) -> list[str]:
    """Return of which networks all categories have the same score on some stimuli.

    Args:
        table: with the columns ``model`` and ``column``.
        column: on how many; NaN where it is not known.
        choices: among what is decided.
        shown: what is decided on.
    """
    return [
        f"{name}: all {choices} are alike on {count:.0f} {shown}, which count as decided for the "
        "first."
        for name, count in zip(table["model"], table[column], strict=True)
        if count > 0
    ]


def prompt_notes(table: pd.DataFrame) -> list[str]:
    """Return what networks were told of categories, a sentence for each choice of prompts."""
    told = table[table["prompts"] != ""].groupby("prompts", sort=False)["model"]
    return [
        f"{', '.join(names)}: told of categories by the prompts {said!r}." for said, names in told
    ]
