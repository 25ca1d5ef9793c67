"""How networks decide, and on which stimuli: what can be chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from erf_tools.choices import check, choice
from erf_tools.errors import UsageError

PresetName = Literal["direct", "mvh", "model"]
Aggregation = Literal["mean", "sum", "max"]
Similarity = Literal["cosine", "dot", "euclidean"]


@dataclass(frozen=True)
class StimulusChoices:
    """On which stimuli.

    Attributes:
        stimuli: a folder, or the name of a published set; see
            :func:`erf_tools.cue_conflict.stimuli.open_stimuli`.
        allow_partial: use what there is of a set.
        categories: a file that declares categories and cues; see
            :func:`erf_tools.cue_conflict.category_files.read_categories`.
    """

    stimuli: str = choice(
        "cue-conflict",
        "A folder of stimuli; without it the published cue-conflict set is fetched once. edges and "
        "silhouettes, or a folder of single-cue stimuli, give accuracies instead.",
        metavar="DIR|edges|silhouettes",
    )
    allow_partial: bool = choice(False, "Measure what there is of a set, and say so.")
    categories: str | None = choice(
        None,
        "For stimuli of your own, in TOML: what the cues are called, categories, and their classes "
        "or prompts.",
        metavar="FILE",
        shown_default="shape and texture of the sixteen published ones",
    )


@dataclass(frozen=True)
class Deciding:
    """How a network's output becomes a decision.

    Attributes:
        preset: how a stimulus is shown; see :data:`~erf_tools.cue_conflict.showing.PRESETS`.
        aggregation: how the probabilities of a category's classes become one number.
        output_key: which part of the network's output holds the logits, where it gives several;
            ``logits`` by default.
        prompts: see :func:`erf_tools.models.zero_shot.read_templates`.

    Raises:
        UsageError: there is no such preset or aggregation.
    """

    preset: PresetName = choice(
        "direct",
        "direct: the whole stimulus, the model's own mean and std; mvh: as the toolbox "
        "model-vs-human; model: the model's evaluation transform, crop included.",
    )
    aggregation: Aggregation = choice(
        "mean", "How probabilities of a category's classes become one number."
    )
    output_key: str | None = choice(
        None,
        "Which part of the network's output holds the logits.",
        metavar="KEY",
        shown_default="logits, where it gives several",
    )
    prompts: str = choice(
        "{}",
        "How open_clip: networks are told of a category: a template as in 'a photo of a {}.', "
        "eighty (those of the CLIP paper), or a file of templates, one on each line.",
        metavar="TEMPLATE|eighty|FILE",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class HeadFree:
    """What is measured of layers, in place of decisions.

    Attributes:
        head_free: whether it is.
        layers: names or patterns, see :func:`erf_tools.features.taps.find_taps`; without any, each
            stage, or the last map where the network does not say what its stages are.
        similarity: what makes two stimuli near in triplets.

    Raises:
        UsageError: there is no such similarity, or layers are named for decisions.
    """

    head_free: bool = choice(
        False,
        "Measure how layers hold shape and texture, by triplets and dimensions, not decisions: for "
        "any network, head or none.",
    )
    layers: tuple[str, ...] = choice(
        (),
        "With --head-free: a layer, or a pattern as in 'layer*'; repeatable. Else each stage.",
        option="--layer",
        metavar="NAME",
    )
    similarity: Similarity = choice("cosine", "With --head-free: of pooled features, for triplets.")

    def __post_init__(self) -> None:
        check(self)
        if self.layers and not self.head_free:
            raise UsageError("--layer is for --head-free; decisions are made by the head")
