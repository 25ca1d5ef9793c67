"""Who decides by shape? Large and small kernels, windows of attention, ResNets and humans.

Claim: RepLKNet-31B decides by shape more than Swin-B and ResNet-152 do, RepLKNet-3 about as much as
ResNet-152, and humans far more than all of them (RepLKNet paper, section 4 and its figure of shape
bias, which gives no numbers; Geirhos et al., ICLR 2019).

Method: decisions on the 1,200 cue-conflict stimuli, computed here where trained weights and stimuli
can be had, else read from ``--decisions`` (files of ``erf-tools shape-bias``, or any in the
published format); humans, ResNet-50 and ResNet-152 as published with Geirhos et al. RepLKNet-3 has
no published weights: give a file of your own with ``--replknet3``. Networks that cannot be had are
left out and named; an untrained network's few hits would be no evidence. Each ordering of the claim
is answered by the paired difference, with its 95 % interval.

Refuted by: intervals of those differences that lie below zero (or, for RepLKNet-3, leave it out).

Found (with the published stimuli, without the trained weights, which could not be had on the
machine it was written on): humans are ahead of ResNet-152 by 0.702 [0.637, 0.760]; the orderings of
RepLKNet and Swin were not measured. The trained EfficientNet-Lite0 that stands in has a shape bias
of 0.239 [0.181, 0.307], as ResNet-50 (0.221) and ResNet-152 (0.256) have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from analyses.programs import Output, Quick, publish, run
from erf_tools.cue_conflict.decisions import Decisions, read_decisions
from erf_tools.cue_conflict.figures import matrix_plot
from erf_tools.cue_conflict.makers import DecisionMaker, decision_makers, paired_differences
from erf_tools.cue_conflict.published import HUMANS
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.cue_conflict.stimulus_sets import StimulusSet
from erf_tools.cue_conflict.tables import readable, shape_bias_table
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.models.requests import Request
from erf_tools.statistics import Estimate
from erf_tools.studies.shape_bias import measure_decisions
from erf_tools.tables import estimate_text

NETWORKS = ("replknet31b", "replknet3", "swin_b", "resnet152", "resnet50.tv_in1k")

#: A trained network that needs no download, where none of the others can be had.
_STAND_IN = "efficientnet_lite0"

#: Published rows that stand in for networks that are not computed.
_PUBLISHED = {"resnet152": "ResNet-152 (published)", "resnet50.tv_in1k": "ResNet-50 (published)"}


@dataclass(frozen=True)
class Ordering:
    """What the paper says of two decision makers' shape bias.

    Attributes:
        larger: who has more of it.
        smaller: who has less.
        alike: whether they are said to be near each other instead.
    """

    larger: str
    smaller: str
    alike: bool = False

    def verdict(self, difference: float, low: float, high: float) -> str:
        """Say what a difference and its interval mean for it."""
        if self.alike:
            return "no difference found" if low <= 0 <= high else "not as claimed"
        if low > 0:
            return "as claimed"
        return "reversed" if high < 0 else "not settled"


ORDERINGS = (
    Ordering("replknet31b", "swin_b"),
    Ordering("replknet31b", "resnet152"),
    Ordering("replknet3", "resnet152", alike=True),
    Ordering("humans", "replknet31b"),
    Ordering("humans", "resnet152"),
)


def gather(
    stimuli: StimulusSet | None, decisions: list[Decisions], replknet3: Path | None, output: Path
) -> tuple[list[DecisionMaker], dict[str, str]]:
    """Return the decision makers that can be had, and which networks cannot, with the reason.

    Args:
        stimuli: for networks to decide on; ``None`` computes nothing.
        decisions: made before.
        replknet3: weights of RepLKNet-3.
        output: folder in which decisions are kept.
    """
    given = {made.name for made in decisions}
    made, missing = list(decisions), {}
    for name in NETWORKS:
        if name not in given:
            weights = str(replknet3) if name == "replknet3" and replknet3 else "pretrained"
            try:
                made += _decide(Request(name, weights), stimuli, output)
            except ErfToolsError as error:
                missing[name] = str(error)
    if stimuli is not None and not {each.name for each in made} & set(NETWORKS):
        made += _decide(Request(_STAND_IN), stimuli, output)
    makers = decision_makers(made)
    computed = {maker.name for maker in makers}
    shown = {label for name, label in _PUBLISHED.items() if name not in computed}
    kept = [each for each in makers if not each.published or each.human or each.name in shown]
    return kept, missing


def _decide(request: Request, stimuli: StimulusSet | None, output: Path) -> list[Decisions]:
    if stimuli is None:
        raise ErfToolsError("there are no stimuli to decide on")
    study = measure_decisions(
        [request], stimuli, output, reference=False, overwrite=True, progress=True
    )
    return [made for maker in study.makers for made in maker.decisions]


def answers(makers: list[DecisionMaker]) -> pd.DataFrame:
    """Return a row per ordering of the claim: the paired difference, and what it means.

    Columns ``claim``, ``difference``, its interval and ``verdict``; NaN and ``not measured``
    where one of the two is missing.
    """
    names = {_plain(maker.name): maker.name for maker in makers}
    table = paired_differences(makers)
    rows = []
    for ordering in ORDERINGS:
        sign = "about as" if ordering.alike else "more than"
        claim = f"{ordering.larger} {sign} {ordering.smaller}"
        row: dict[str, Any] = {"claim": claim, "verdict": "not measured"}
        pair = [names.get(ordering.larger), names.get(ordering.smaller)]
        for found in table.itertuples():
            if {found.model, found.other} != set(pair):
                continue
            low, value, high = found.difference_low, found.difference, found.difference_high
            if found.model != pair[0]:
                low, value, high = -high, -value, -low
            row |= Estimate(value, low, high).columns("difference")
            row["verdict"] = ordering.verdict(value, low, high)
        rows.append(row)
    columns = ["claim", "difference", "difference_low", "difference_high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _plain(name: str) -> str:
    """Return the catalogue's name of a published row, or the name itself."""
    catalogued = {label: plain for plain, label in _PUBLISHED.items()}
    return catalogued.get(name, HUMANS if name.startswith(HUMANS) else name)


def _sentence(row: Any) -> str:
    if row.difference != row.difference:
        return f"{row.claim}: {row.verdict}."
    found = Estimate(row.difference, row.difference_low, row.difference_high)
    return f"{row.claim}: {row.verdict}, {estimate_text(found, '{:+.3f}'.format)}."


def main(
    quick: Quick = False,
    stimuli: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Cue-conflict stimuli; else they are fetched once."),
    ] = None,
    decisions: Annotated[
        list[Path], typer.Option(metavar="FILE|DIR", help="Decisions made before; repeatable.")
    ] = [],  # noqa: B006 - Typer copies it
    replknet3: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trained weights of RepLKNet-3.")
    ] = None,
    output: Output = Path("results/shape_bias_figure"),
) -> None:
    """Draw RepLKNet, Swin, ResNets and humans on one matrix plot. --quick computes nothing."""
    found = None
    if stimuli or not quick:
        try:
            found = open_stimuli(stimuli or "cue-conflict", progress=True)
        except UsageError:
            raise
        except ErfToolsError as error:
            typer.echo(f"nothing is computed: {error}", err=True)
    given = read_decisions(decisions) if decisions else []
    makers, missing = gather(found, given, replknet3, output / "study")
    for name, reason in missing.items():
        typer.echo(f"{name} is left out: {reason}", err=True)
    table = shape_bias_table(makers)
    remarks = [
        "Shape bias: S / (S + T) on 1,200 cue-conflict stimuli, with its 95 % interval over shape "
        "and texture images.",
        *(_sentence(row) for row in answers(makers).itertuples()),
        f"Not computed, since weights or stimuli are missing: {', '.join(missing) or 'none'}.",
    ]
    publish(
        output,
        "shape_bias_figure",
        table,
        readable(table),
        remarks,
        matrix_plot(makers),
        {"decision_makers": {maker.name: dict(maker.provenance) for maker in makers}},
    )


if __name__ == "__main__":
    run(main)
