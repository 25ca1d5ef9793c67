"""Decision makers side by side: networks, observers, and those published as counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from math import nan
from typing import Any

import pandas as pd

from erf_tools.cue_conflict import absolute, measures
from erf_tools.cue_conflict.categories import SIXTEEN, Categories
from erf_tools.cue_conflict.decisions import Decisions
from erf_tools.cue_conflict.measures import ConflictCounts
from erf_tools.cue_conflict.published import HUMANS, PUBLICATIONS, published_counts
from erf_tools.cue_conflict.stimulus_sets import PARTIAL, TOTAL
from erf_tools.errors import UsageError
from erf_tools.labels import UNTRAINED, labelled
from erf_tools.statistics import Estimate
from erf_tools.tables import DIFFERENCES, Subject, difference_row

_NOT_KNOWN = Estimate(nan)


@dataclass(frozen=True, eq=False)
class DecisionMaker:
    """One row of a comparison: who decided, how often for shape and for texture.

    Attributes:
        name: for tables and figures.
        counts: on stimuli with a conflict.
        decisions: one per observer or network; empty where only counts are published.
        kappa_human: mean error consistency with human observers (among them, for humans), and its
            interval; NaN where no human decisions are at hand.
        kappa_over: of how many of the observers this is the mean, in words; empty for all of them.
        human: an observer, or all of them pooled.
        published: a reference row from the package.
        provenance: as JSON values.
    """

    name: str
    counts: ConflictCounts
    decisions: tuple[Decisions, ...] = ()
    kappa_human: Estimate = _NOT_KNOWN
    kappa_over: str = ""
    human: bool = False
    published: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_decisions(cls, made: Decisions, observers: Sequence[Decisions] = ()) -> DecisionMaker:
        """Measure one decision maker, and its error consistency with the other observers.

        Raises:
            UsageError: its stimuli carry no conflict.
        """
        others = [observer.frame for observer in observers if observer is not made]
        counts = measures.count([made.frame], made.categories)
        if counts.by_stimulus.empty:
            raise UsageError(
                f"{made.name} decided on no stimulus whose {' and '.join(made.categories.cues)} "
                "conflict; without a conflict there is no bias: give decisions on others too"
            )
        return cls(
            made.name,
            counts,
            (made,),
            measures.consistency_with(made.frame, others),
            _in_common([(made.frame, other) for other in others], "observers"),
            made.human,
            provenance=made.provenance,
        )

    @property
    def categories(self) -> Categories:
        """Among which was decided."""
        return self.counts.categories

    @property
    def shape(self) -> int:
        """S: decisions equal to the shape's category."""
        return self.counts.shape

    @property
    def texture(self) -> int:
        """T: decisions equal to the texture's category."""
        return self.counts.texture

    @property
    def total(self) -> int:
        """N: all decisions on stimuli with a conflict."""
        return self.counts.total

    @property
    def coverage(self) -> float:
        """(S + T) / N."""
        return measures.coverage(self.counts)

    @cached_property
    def bias(self) -> Estimate:
        """S / (S + T) with its interval over shape and texture images."""
        return measures.clustered_bias(self.counts)

    @cached_property
    def absolute(self) -> pd.DataFrame:
        """:func:`~erf_tools.cue_conflict.absolute.absolute_values` of a single decision maker."""
        if len(self.decisions) != 1:
            return pd.DataFrame(index=self.counts.by_stimulus.index)
        return absolute.absolute_values(self.decisions[0])

    def estimate(self, measure: str) -> Estimate:
        """Return one of :data:`~erf_tools.cue_conflict.absolute.MEASURES`; NaN if not known."""
        known = measure in self.absolute
        return absolute.estimate_of(self.absolute[measure]) if known else _NOT_KNOWN

    def to_frame(self) -> pd.DataFrame:
        """Return a row of :func:`~erf_tools.cue_conflict.tables.shape_bias_table`."""
        from erf_tools.cue_conflict.tables import shape_bias_table

        return shape_bias_table([self])

    def _repr_html_(self) -> str:
        from erf_tools.cue_conflict.tables import readable

        return str(readable(self.to_frame()).to_html(index=False, border=0))

    def of(self, stimuli: pd.Index) -> DecisionMaker:
        """Return the same decision maker on a part of the stimuli, without its kappa."""
        if stimuli.equals(self.counts.by_stimulus.index):
            return self
        parts = (
            replace(made, frame=made.frame.loc[made.frame.index.intersection(stimuli)])
            for made in self.decisions
        )
        return replace(self, counts=self.counts.of(stimuli), decisions=tuple(parts))

    @property
    def stimuli(self) -> str:
        """Which stimuli were decided on, in words; empty for the whole set, if only that is known.

        Of observers together, the fewest and the most that one of them decided on.
        """
        if label := self.provenance.get("stimuli", {}).get("label", ""):
            return str(label)
        numbers = sorted({len(made.frame) for made in self.decisions})
        fewest_to_most = " to ".join(map(str, [*numbers[:1], *numbers[1:][-1:]]))
        if not self.categories.as_published:
            return f"{fewest_to_most} stimuli, {' and '.join(self.categories.cues)}"
        if not numbers or numbers[0] == TOTAL:
            return ""
        return f"{PARTIAL}: {fewest_to_most} of {TOTAL} stimuli"

    @property
    def weights(self) -> str:
        """Which weights decided, in a word or two; empty for humans."""
        model = self.provenance.get("model")
        if model:
            return str(model["weights"]["label"])
        return "" if self.human else "published decisions"

    @property
    def subject(self) -> Subject:
        """What a number of it is of: it decides as a whole."""
        return Subject(self.name, self.weights)


def decision_makers(decisions: Sequence[Decisions], reference: bool = True) -> list[DecisionMaker]:
    """Return the rows of a comparison: humans pooled, each observer, networks, reference rows.

    Args:
        decisions: of networks and observers, on cue-conflict stimuli of the same categories.
        reference: add the published rows that are not among ``decisions`` already, if they are of
            these categories.

    Raises:
        UsageError: one of them decided on stimuli without a conflict only.
    """
    categories = decisions[0].categories if decisions else SIXTEEN
    observers = [made for made in decisions if made.human]
    rows = [DecisionMaker.from_decisions(made, observers) for made in decisions]
    humans: list[DecisionMaker] = []
    if observers:
        frames = [observer.frame for observer in observers]
        humans.append(
            DecisionMaker(
                HUMANS,
                measures.count(frames, categories),
                tuple(observers),
                measures.consistency_among(frames),
                _in_common(list(combinations(frames, 2)), "pairs of observers"),
                human=True,
                provenance={"kind": "pooled", "observers": [made.name for made in observers]},
            )
        )
    references = _published() if reference and categories.as_published else []
    published = [row for row in references if not _is_given(row, rows)]
    humans += [row for row in published if row.human and not observers]
    networks = [row for row in published if not row.human]
    return [*humans, *rows, *networks]


def row_names(observers: bool, reference: bool) -> set[str]:
    """Return the names of rows that :func:`decision_makers` adds; nobody else can have them.

    Args:
        observers: whether there are some, who are pooled.
        reference: whether the published rows are added.
    """
    rows = [row.name for publication in PUBLICATIONS for row in publication.rows.values()]
    return {*([HUMANS] if observers else []), *(rows if reference else [])}


def _in_common(pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]], of: str) -> str:
    """Return of how many pairs there is a kappa; empty for all or none."""
    found = len(measures.in_common(pairs))
    return f"{found} of {len(pairs)} {of}" if 0 < found < len(pairs) else ""


def _published() -> list[DecisionMaker]:
    """Return the rows that come with the package."""
    return [
        DecisionMaker(
            publication.rows[name].name,
            counts,
            kappa_human=publication.rows[name].kappa,
            human=name == HUMANS,
            published=True,
            provenance={"kind": "published counts", "source": publication.source},
        )
        for publication in PUBLICATIONS
        for name, counts in published_counts(publication).items()
    ]


def _is_given(row: DecisionMaker, given: Sequence[DecisionMaker]) -> bool:
    """Tell whether the decisions of a published row are given themselves."""
    hits = row.counts.by_stimulus[["shape", "texture"]]
    return any(
        hits.equals(maker.counts.by_stimulus[["shape", "texture"]])
        for maker in given
        if maker.provenance.get("kind") != "network"
    )


def paired_differences(makers: Sequence[DecisionMaker]) -> pd.DataFrame:
    """Return the differences of every pair, each with its paired interval.

    They are of the shape bias, and of each absolute measure that both have.

    Pairs are compared on the stimuli that both have decided on, and left out where there are none.

    Returns:
        The columns :data:`~erf_tools.tables.DIFFERENCES`, and ``stimuli``: which, where that is
        recorded of either.
    """
    rows = []
    for index, first in enumerate(makers):
        for second in makers[index + 1 :]:
            ours, theirs = (each.counts.by_stimulus.index for each in (first, second))
            common = ours.intersection(theirs)
            if common.empty:
                continue
            one, other = first.of(common), second.of(common)
            found = {"shape_bias": measures.difference(one.counts, other.counts)}
            for name in one.absolute.columns.intersection(other.absolute.columns, sort=False):
                means = absolute.mean(one.absolute[name]), absolute.mean(other.absolute[name])
                found[name] = (means[0] - means[1]).estimate
            stimuli = "; ".join(sorted({first.stimuli, second.stimuli} - {""}))
            rows += [
                {
                    **difference_row(first.subject, second.subject, name, estimate),
                    "stimuli": stimuli,
                }
                for name, estimate in found.items()
            ]
    return pd.DataFrame(rows, columns=[*DIFFERENCES, "stimuli"])


def maker_label(name: str, weights: str, provenance: Mapping[str, Any]) -> str:
    """Return how a decision maker is named where it is shown: ``resnet50 (untrained)``."""
    partial = provenance.get("stimuli", {}).get("deviations")
    return labelled(name, weights != UNTRAINED, *(["partial stimuli"] if partial else []))
