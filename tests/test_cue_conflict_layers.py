"""What layers hold of shape and texture: loops, laws and the command."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from PIL import Image
from reference import slow_two_way_variance
from scipy.stats import t
from torch import Tensor, nn

from erf_tools.computing import Computing
from erf_tools.cue_conflict.categories import CATEGORIES
from erf_tools.cue_conflict.choices import Deciding, HeadFree, Similarity
from erf_tools.cue_conflict.figures import depth_plot
from erf_tools.cue_conflict.layer_tables import layer_table, notes
from erf_tools.cue_conflict.layers import chosen_taps, head_free, layer_settings
from erf_tools.cue_conflict.representation import (
    MEASURES,
    LayerCues,
    Layered,
    Sharing,
    representation,
    triplets,
)
from erf_tools.cue_conflict.stimuli import StimulusSet, open_stimuli, published_names
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.failures import Failures
from erf_tools.files import write_json
from erf_tools.models.loading import load_model
from erf_tools.report.commands import head_free_command
from erf_tools.report.content import collect
from erf_tools.report.results import HeadFreeLayers, Results
from erf_tools.tables import interval_columns, write_csv

#: Stimuli of six categories, few enough for loops over triplets.
NAMES = sorted(
    name.removesuffix(".png")
    for name in published_names()
    if all(part.rstrip("0123456789") in CATEGORIES[:6] for part in name[:-4].split("-"))
    and len({part.rstrip("0123456789") for part in name[:-4].split("-")}) == 2
)[::2]


def frame_of(names: list[str]) -> pd.DataFrame:
    cues = [[part.rstrip("0123456789") for part in name.split("-")] for name in names]
    return pd.DataFrame(cues, index=names, columns=["shape", "texture"])


def features_of(names: list[str], dimensions: int = 5) -> np.ndarray:
    """Return random features that share a little with shape, and more with texture."""
    generator = np.random.default_rng(0)
    codes = generator.standard_normal((2, len(CATEGORIES), dimensions))
    places = [[CATEGORIES.index(cue) for cue in row] for row in frame_of(names).to_numpy()]
    cues = np.array([0.4 * codes[0, shape] + codes[1, texture] for shape, texture in places])
    return cues + generator.standard_normal(cues.shape) + 0.7


def slow_measures(
    names: list[str], features: np.ndarray, similarity: str, weights: np.ndarray
) -> dict[str, float]:
    """Return all measures by loops over triplets and pairs, stimuli weighted."""

    def alike(one: int, other: int) -> float:
        first, second = features[one], features[other]
        if similarity == "euclidean":
            return -math.dist(first, second)
        product = sum(a * b for a, b in zip(first, second, strict=True))
        if similarity == "dot":
            return product
        return product / math.sqrt(sum(first**2) * sum(second**2))

    images = [name.split("-") for name in names]
    kinds = [[image.rstrip("0123456789") for image in pair] for pair in images]

    def partners(one: int, cue: int) -> list[int]:
        return [
            other
            for other in range(len(names))
            if kinds[other][cue] == kinds[one][cue]
            and kinds[other][1 - cue] != kinds[one][1 - cue]
            and images[other][cue] != images[one][cue]
        ]

    near = {(a, b): alike(a, b) for a in range(len(names)) for b in range(len(names))}
    won = total = 0.0
    for anchor in range(len(names)):
        for shape in partners(anchor, 0):
            for texture in partners(anchor, 1):
                weight = weights[anchor] * weights[shape] * weights[texture]
                total += weight
                if near[anchor, shape] > near[anchor, texture]:
                    won += weight
    mean = np.average(features, axis=0, weights=weights)
    variance = np.average((features - mean) ** 2, axis=0, weights=weights).sum()
    rhos = []
    for cue in (0, 1):
        sums = pairs = 0.0
        for one in range(len(names)):
            for other in partners(one, cue):
                weight = weights[one] * weights[other]
                pairs += weight
                sums += weight * float((features[one] - mean) @ (features[other] - mean))
        rhos.append(sums / pairs / variance)
    exponents = [math.exp(rho) for rho in (*rhos, 1)]
    shares = [exponent / sum(exponents) for exponent in exponents]
    return dict(zip(MEASURES, [won / total, *shares], strict=True))


@pytest.mark.parametrize("similarity", get_args(Similarity))
def test_measures_by_loops(similarity: str) -> None:
    names, features = NAMES, features_of(NAMES)
    found = representation(features, Sharing.among(frame_of(names)), similarity)
    slow = slow_measures(names, features, similarity, np.ones(len(names)))
    for name, value in slow.items():
        assert found[name].value == pytest.approx(value), name


def with_triplets(names: list[str]) -> list[str]:
    """Return the stimuli that have a partner by shape, and one by texture."""
    cues = {name: [part.rstrip("0123456789") for part in name.split("-")] for name in names}

    def has(name: str, cue: int) -> bool:
        return any(
            cues[other][cue] == cues[name][cue]
            and cues[other][1 - cue] != cues[name][1 - cue]
            and other.split("-")[cue] != name.split("-")[cue]
            for other in names
        )

    return [name for name in names if has(name, 0) and has(name, 1)]


@pytest.mark.parametrize(("share", "least"), [(0.99, 0.97), (0.05, 0.93)])
def test_shares_of_triplets_near_an_end_hold_the_truth(share: float, least: float) -> None:
    """Features are the shape's code or the texture's: the share is how often they are the shape's.

    An anchor that is its shape wins against all whose shape another is, and is even with the rest;
    one that is its texture loses alike: ``g * g + g * (1 - g) = g``.
    """
    generator = np.random.default_rng(0)
    every = np.array([name.removesuffix(".png") for name in published_names()])
    every = every[[len({part.rstrip("0123456789") for part in n.split("-")}) == 2 for n in every]]
    held = narrow = 0
    samples = 120
    for _ in range(samples):
        frame = frame_of(sorted(generator.choice(every, 80, replace=False).tolist()))
        cue = np.where(generator.random(len(frame)) < share, "shape", "texture")
        code = np.array(
            [f"{c} {row[c]}" for c, (_, row) in zip(cue, frame.iterrows(), strict=True)]
        )
        alike = (code[:, None] == code).astype(float)
        found = triplets(alike, Sharing.among(frame))
        held += found.estimate.low <= share <= found.estimate.high
        without = replace(found, pseudo=np.zeros(0), shift=0.0).estimate
        narrow += not without.low <= share <= without.high
        if (code == [f"shape {shape}" for shape in frame["shape"]]).all():
            assert found.estimate.low < found.value == found.estimate.high == 1
    assert held / samples >= least
    assert narrow / samples > (0.3 if share == 0.99 else 0.05)  # as it was before


def test_intervals_by_weighing_each_stimulus_more() -> None:
    names = NAMES[::2]
    features, even, step = features_of(names), np.ones(len(names)), 1e-5
    found = representation(features, Sharing.among(frame_of(names)), "cosine")
    at_first = slow_measures(names, features, "cosine", even)
    moved = [
        slow_measures(names, features, "cosine", row) for row in even + step * np.eye(len(names))
    ]
    images = list(zip(*(name.split("-") for name in names), strict=True))
    for measure, value in at_first.items():
        influence = np.array([(each[measure] - value) / step for each in moved])
        np.testing.assert_allclose(found[measure].influence, influence, atol=1e-6)
        variance = slow_two_way_variance(influence, *images)
        clusters = min(len(set(way)) for way in images)
        middle = value
        if measure == "triplets_shape":
            # An anchor more, all won, and one all lost, beside those that have triplets.
            count = len(with_triplets(names))
            middle = (value * count + 1) / (count + 2)
            added = (middle**2 + (1 - middle) ** 2) / (count + 2) ** 2
            own = float(((influence - influence.mean()) ** 2).sum())
            variance += added * max(variance / own, 1)
        half = t.ppf(0.975, clusters - 1) * math.sqrt(variance)
        estimate = found[measure].estimate
        assert (estimate.low, estimate.high) == pytest.approx(
            (middle - half, middle + half), abs=1e-5
        )


def test_what_holds_one_cue_alone_is_found_to() -> None:
    frame = frame_of(NAMES)
    sharing = Sharing.among(frame)
    for cue, share in (("shape", 1.0), ("texture", 0.0)):
        codes = np.eye(len(CATEGORIES))[[CATEGORIES.index(value) for value in frame[cue]]]
        found = representation(codes, sharing, "cosine")
        assert found["triplets_shape"].value == share
        ours, other = (found[f"{each}_dimensions"].value for each in ("shape", "texture"))
        assert (ours > other) == (cue == "shape")


def test_features_that_are_all_alike_are_ties() -> None:
    found = representation(np.ones((len(NAMES), 3)), Sharing.among(frame_of(NAMES)), "cosine")
    assert found["triplets_shape"].value == 0.5
    assert math.isnan(found["shape_dimensions"].value)


def test_scale_changes_nothing_and_differences_of_the_same_vanish() -> None:
    sharing, features = Sharing.among(frame_of(NAMES)), features_of(NAMES)
    one, other = (representation(scale * features, sharing, "cosine") for scale in (1, 7))
    for name in MEASURES:
        assert other[name].value == pytest.approx(one[name].value)
        nothing = (one[name] - one[name]).estimate
        assert nothing.value == 0
        if name == "triplets_shape":  # its pseudo-observations tell how much it might
            assert nothing.low == -nothing.high < 0
            continue
        assert math.isnan(nothing.low)  # nothing varies: of how much it might, nothing is known
        assert math.isnan(nothing.high)


def test_intervals_of_shares_stay_within_their_range(tmp_path: Path) -> None:
    """Of few stimuli, Student's would end below 0 where texture wins nearly always."""
    names = NAMES[::2]
    frame = frame_of(names)
    codes = np.eye(len(CATEGORIES))[[CATEGORIES.index(value) for value in frame["texture"]]]
    features = codes + 0.4 * features_of(names, len(CATEGORIES))
    found = representation(features, Sharing.among(frame), "cosine")
    without_range = replace(found["triplets_shape"], ends=(-math.inf, math.inf), shift=0.0)
    assert without_range.estimate.low < 0
    record = {
        "similarity": "cosine",
        "preset": "direct",
        "layers": [{"name": "last", "stage": None, "default": True}],
        "stimuli": {"label": "few", "categories": None},
        "model": {"name": "net", "weights": {"label": "untrained", "sha256": ""}},
    }
    table = layer_table([Layered("net", (LayerCues("last", 16, found),), record)])
    for name in MEASURES:
        assert table[[f"{name}_low", name, f"{name}_high"]].iloc[0].between(0, 1).all(), name


# --- networks ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small made-up stimuli under published names: of the set's size, of noise."""
    place = tmp_path_factory.mktemp("few")
    generator = np.random.default_rng(0)
    for name in NAMES[::3]:
        path = place / name.split("-")[0].rstrip("0123456789") / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        small = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        Image.fromarray(small).resize((224, 224)).save(path)
    return place


@pytest.fixture(scope="module")
def few(folder: Path) -> StimulusSet:
    return open_stimuli(folder, allow_partial=True)


class Small(nn.Module):
    """Two layers without a head."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 6, 2, 2)
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images).relu()) * self.factor


def test_layers_of_a_network_are_read_in_one_pass(few: StimulusSet, tmp_path: Path) -> None:
    network = Small().eval()
    chosen = HeadFree(head_free=True, layers=("first", "second"))
    found = head_free(network, few, chosen, computing=Computing(batch_size=5))
    assert [(layer.layer, layer.dimensions) for layer in found.layers] == [
        ("first", 4),
        ("second", 6),
    ]
    found.save(tmp_path / "small.npz")
    read = Layered.load(tmp_path / "small.npz")
    for one, other in zip(found.layers, read.layers, strict=True):
        for name in MEASURES:
            assert one.measures[name].estimate == other.measures[name].estimate
    last = head_free(network, few, HeadFree(head_free=True))
    assert last.layers[0].measures["triplets_shape"].value == pytest.approx(
        found.layers[1].measures["triplets_shape"].value
    )


class Backwards(Small):
    """The same layers, defined in the other order."""

    def __init__(self) -> None:
        super().__init__()
        first = self.first
        del self.first
        self.first = first


def test_layers_are_in_the_order_in_which_they_run(few: StimulusSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = Small().eval()
    backwards = Backwards().eval()
    backwards.load_state_dict(plain.state_dict())
    assert [name for name, _ in backwards.named_children()] == ["second", "first"]
    chosen = HeadFree(head_free=True, layers=("*",))
    found, expected = (
        head_free(network, few, chosen, deciding=Deciding("mvh")) for network in (backwards, plain)
    )
    tables = [layer_table([each]) for each in (found, expected)]
    for table in tables:
        assert table["layer"].tolist() == ["first", "second"]
        assert table["ordered"].all()
        assert depth_plot(table).axes[0].get_xlabel() == "depth: first to last measured layer"
    numbers = ["dimensions", *interval_columns(*MEASURES)]
    np.testing.assert_allclose(tables[0][numbers], tables[1][numbers], atol=1e-5)

    # Results of before do not say where layers are: nobody knows, and that is said.
    record = {key: value for key, value in found.provenance.items() if key != "places"}
    before = replace(found, provenance=record, layers=found.layers[::-1])
    before.save(tmp_path / "before.npz")
    table = layer_table([Layered.load(tmp_path / "before.npz")])
    assert table["layer"].tolist() == ["second", "first"]
    assert not table["ordered"].any()
    assert depth_plot(table).axes[0].get_xlabel() == "measured layers, by their definition"
    assert any("in the order of their definition" in note for note in notes(table))
    assert not any("in the order of their definition" in note for note in notes(tables[0]))
    for number, each in enumerate([*tables, table]):
        place = tmp_path / str(number)
        write_csv(each, place / "head_free.csv")
        write_json(place / "head_free.json", {})
        (shown,) = collect(Results(layers=[HeadFreeLayers.read(place)]), Failures())["layers"]
        (network,) = shown["networks"]
        assert network["ordered"] == each["ordered"].all()
        assert [point["layer"] for point in network["points"]] == each["layer"].tolist()


def test_what_cannot_be_measured(few: StimulusSet) -> None:
    with pytest.raises(ErfToolsError, match="not finite at output of the network"):
        head_free(Small(math.nan).eval(), few)
    with pytest.raises(UsageError, match="no such layer"):
        head_free(Small().eval(), few, HeadFree(head_free=True, layers=("third",)))
    with pytest.raises(UsageError, match="--layer is for --head-free"):
        HeadFree(layers=("first",))
    with pytest.raises(UsageError, match="--similarity is 'angle'"):
        HeadFree(head_free=True, similarity="angle")  # type: ignore[arg-type]


def test_the_command(folder: Path, tmp_path: Path, run_command: Command) -> None:
    command = ("shape-bias", "--models", "resnet10t", "--weights", "random", "--head-free")
    command += ("--stimuli", folder, "--allow-partial", "--output", tmp_path)
    code, out, err = run_command(*command)
    assert code == 0, err
    assert "neither more robustness" in out
    table = pd.read_csv(tmp_path / "head_free.csv")
    assert table["layer"].tolist() == [f"stage {stage}" for stage in range(5)]
    assert table["triplets_shape"].between(0, 1).all()
    differences = pd.read_csv(tmp_path / "head_free_differences.csv")
    assert len(differences) == 10 * len(MEASURES)
    assert (tmp_path / "head_free.png").is_file()
    code, _, err = run_command(*command)
    assert code == 0
    assert "resnet10t: measured before" in err
    code, _, err = run_command(*command, "--similarity", "dot")
    assert code == 2
    assert "differs in similarity" in err
    code, _, err = run_command("shape-bias", "--head-free", "--decisions", folder)
    assert code == 2
    assert "--head-free measures layers of networks" in err


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet10t", ()),
        ("resnet10t", ("layer1", "layer4")),
        ("torchvision:resnet18", ()),
        ("torchvision:resnet18", ("layer3", "layer4")),
        ("torchvision:swin_t", ()),
        ("torchvision:swin_t", ("features",)),
    ],
)
def test_the_command_names_the_layers_that_were_measured(
    name: str, layers: tuple[str, ...], few: StimulusSet
) -> None:
    model = load_model(name, "random")
    chosen = HeadFree(head_free=True, layers=layers)
    record = layer_settings(model, few, chosen, Deciding())
    words = shlex.split(head_free_command(record) or "")
    asked = [value for word, value in pairwise(words) if word == "--layer"]
    again = HeadFree(head_free=True, layers=tuple(asked))
    assert chosen_taps(model, again, Deciding()) == chosen_taps(model, chosen, Deciding())
    # What only Python gives is in no command.
    for given in ({"layout": "NHWC"}, {"prefix_tokens": 1}, {"grid": [7, 7]}, {"path": ""}):
        tap = {**record["layers"][-1], "stage": None, "default": False, **given}
        assert head_free_command({**record, "layers": [*record["layers"][:-1], tap]}) is None


class Normed(nn.Module):
    """Maps that are normed by the statistics of whatever images are shown together."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 8, 16, 16)
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)
        self.coarse = nn.Conv2d(8, 8, 2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.coarse(self.norm(self.fine(images)).relu())


def test_images_that_see_each_other_are_shown_one_by_one(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in NAMES[::6]:
        path = tmp_path / name.split("-")[0].rstrip("0123456789") / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        blocks = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        Image.fromarray(blocks.repeat(32, 0).repeat(32, 1)).save(path)
    stimuli = open_stimuli(tmp_path, allow_partial=True)
    chosen, network = HeadFree(head_free=True, layers=("coarse",)), Normed()
    found = {
        size: head_free(network, stimuli, chosen, computing=Computing(batch_size=size))
        for size in (1, 4, 7)
    }
    alone = found[1].layers[0].measures
    for size in (4, 7):
        for name, measure in found[size].layers[0].measures.items():
            assert measure.value == pytest.approx(alone[name].value, abs=1e-9), name
        record = found[size].provenance
        assert (record["batch"], record["refused"]) == (1, "images see each other")
    network.norm = nn.Identity()  # type: ignore[assignment]
    record = head_free(network, stimuli, chosen, computing=Computing(batch_size=4)).provenance
    assert (record["batch"], record["refused"]) == (4, "")
