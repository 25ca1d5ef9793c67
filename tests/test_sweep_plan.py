"""Study files, plans, and the order in which units are handed out."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sweep_studies import LAYERS, write_study

from erf_tools import provenance
from erf_tools.erf.parts import group_lengths
from erf_tools.errors import UsageError
from erf_tools.files import canonical_json
from erf_tools.images import Selection, select
from erf_tools.models.requests import Request
from erf_tools.sweep.dispatch import Queue
from erf_tools.sweep.estimate import operations
from erf_tools.sweep.plan import Measurement, Unit, make_plan, network_identity
from erf_tools.sweep.study import read_study
from erf_tools.sweep.tasks.erf import ErfTask, Share
from erf_tools.sweep.work import perform


@pytest.fixture
def study(study_folder: Path) -> Path:
    file = write_study(study_folder, "three", "seven")
    file.write_text(file.read_text() + LAYERS)
    return file


def changed(study: Path, old: str, new: str) -> Path:
    text = study.read_text()
    assert old in text
    study.write_text(text.replace(old, new))
    return study


def identities(study: Path) -> set[str]:
    return {unit.id for unit in make_plan(read_study(study)).units}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("threads = 1", "threads = 0", r"`int` >= 1 - at `\$\.threads`"),
        ("count = 6", 'count = "six"', r"Expected `int`, got `str` - at `\$\.images\.count`"),
        ("count = 6", "number = 6", "unknown field `number`"),
        ("[[erf]]", "[erf]", "not a study file"),
        ('name = "layers"', 'name = "ding2022"', "two tables .* are called ding2022"),
        ('gradient = "abs"', 'gradient = "all"', "Invalid enum value 'all'"),
        ('gradient = "abs"', 'protocol = "ding2021"', "did you mean ding2022"),
        ('layers = ["0", "3"]', 'layers = ["0"]\nstages = true', "exclude each other"),
        ('"networks:seven"', '"networks:three"', "networks:three is named twice"),
        ('output = "out"', "", "missing required field `output`"),
    ],
)
def test_what_is_wrong_in_a_study_file_is_named(
    study: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_study(changed(study, old, new))


def test_a_study_that_is_not_there_or_measures_nothing(study: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read: No such file"):
        read_study(study.with_name("nowhere.toml"))
    study.write_text('output = "out"\n[[models]]\nnames = ["resnet18"]\n')
    with pytest.raises(UsageError, match="measures nothing"):
        read_study(study)


def test_units_are_models_by_protocols_by_shards(study: Path) -> None:
    plan = make_plan(read_study(study))
    assert [(each.task.title, each.request.model) for each in plan.measurements] == [
        ("ding2022", "networks:three"),
        ("ding2022", "networks:seven"),
        ("layers", "networks:three"),
        ("layers", "networks:seven"),
    ]
    assert len(plan.units) == 2 * 2 * 3
    for measurement in plan.measurements:
        own = [unit for unit in plan.units if unit.measurement == measurement]
        assert [unit.id for unit in own] == measurement.units
        assert list(chain.from_iterable(unit.names for unit in own)) == [
            image.name for image in select("images", 6).images
        ]


@given(images=st.integers(1, 3000), about=st.integers(1, 400), side=st.integers(8, 2048))
def test_shards_are_of_whole_groups(images: int, about: int, side: int) -> None:
    """The groups that intervals are made of do not depend on how the work is divided."""
    selection = Selection(tuple(range(images)), "numbers")  # type: ignore[arg-type]
    shards = ErfTask(resolution=side).shares(selection, about)
    assert list(chain.from_iterable(own.images for own, _ in shards)) == list(range(images))
    lengths = tuple(chain.from_iterable(lengths for _, lengths in shards))
    assert lengths == group_lengths(images, (side, side))
    assert all(len(own.images) == sum(lengths) > 0 for own, lengths in shards)


@given(images=st.integers(1, 5000), side=st.integers(1, 4096), layers=st.integers(1, 8))
def test_groups_are_even_and_fit_into_memory(images: int, side: int, layers: int) -> None:
    lengths = group_lengths(images, (side, side), layers)
    assert sum(lengths) == images
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) <= 20
    assert len(lengths) == 1 or 4 * side * side * layers * len(lengths) <= 2**30


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("threads = 1", "threads = 2"),
        ("threads = 1", "threads = 1\nseed = 1"),
        ("count = 6", "count = 5"),
        ("shard = 2", "shard = 3"),
        ("resolution = 32", "resolution = 48"),
    ],
)
def test_units_are_others_where_results_could_be(study: Path, old: str, new: str) -> None:
    before = identities(study)
    assert before == identities(study)
    assert not before & identities(changed(study, old, new))


def test_units_are_others_where_an_image_changes(study: Path) -> None:
    before = identities(study)
    first, second = study.parent / "images" / "0.png", study.parent / "images" / "1.png"
    first.write_bytes(second.read_bytes())
    assert not before & identities(study)


def test_labels_are_part_of_what_units_are(study: Path) -> None:
    changed(study, "count = 6", 'count = 6\nlabels = "labels.csv"')
    with pytest.raises(UsageError, match=r"labels\.csv: there is no such file"):
        identities(study)
    labels = study.parent / "labels.csv"
    labels.write_text("image,label\n0.png,1\n")
    before = identities(study)
    labels.write_text("image,label\n0.png,2\n")
    assert not before & identities(study)


def test_what_is_added_to_a_study_leaves_the_rest(study: Path) -> None:
    before = identities(study)
    after = identities(changed(study, '"networks:seven"', '"networks:seven", "networks:broken"'))
    assert before < after


def test_weights_of_a_file_are_known_by_their_content(study: Path) -> None:
    weights = study.parent / "weights.pth"
    weights.write_bytes(b"one")
    changed(study, "[images]", f'[[models]]\nnames = ["resnet18"]\nweights = "{weights}"\n[images]')
    before = identities(study)
    weights.write_bytes(b"two")
    assert len(before & identities(study)) == len(before) * 2 // 3


def _edited(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_units_are_others_where_code_that_is_imported_or_a_file_it_names_changes(
    study: Path,
) -> None:
    folder = study.parent / "project"
    (folder / "parts").mkdir(parents=True)
    name = f"{folder}/net.py:build"
    (folder / "net.py").write_text("def build():\n    from parts.block import Block\n    Block()\n")
    (folder / "parts" / "block.py").write_text("from .size import SIZE, FILE\n")
    (folder / "parts" / "size.py").write_text(
        "SIZE, FILE = 3, 'settings.json'\nBESIDE = Path(__file__).with_name('beside.yaml')\n"
        "BELOW = Path(__file__).parents[1] / 'sizes' / 'below.toml'\n"
    )
    (folder / "sizes").mkdir()
    others = (folder / "parts" / "beside.yaml", folder / "sizes" / "below.toml")
    for file in others:
        file.write_text("1")
    (folder / "settings.json").write_text("1")
    (folder / "unused.py").write_text("1")

    def identity() -> dict[str, Any]:
        return network_identity(Request(name))

    first = identity()
    (folder / "unused.py").write_text("2")
    assert identity() == first
    _edited(folder / "parts" / "size.py", "3", "5")
    second = identity()
    seen = [first, second]
    for file in (folder / "settings.json", *others):
        _edited(file, "1", "2")
        seen.append(identity())
    assert len({canonical_json(each) for each in seen}) == 5


@pytest.mark.parametrize("prefix", ["local-dir:", "transformers:"])
@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_units_are_others_where_a_local_folder_changes(
    tmp_path: Path, prefix: str, weights: str
) -> None:
    if prefix == "transformers:":
        pytest.importorskip("transformers", reason="needs the extra transformers")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    seen = []
    for file, content in (("config.json", "{}"), ("config.json", "[]"), ("model.safetensors", "2")):
        (tmp_path / file).write_text(content)
        seen.append(canonical_json(network_identity(Request(f"{prefix}{tmp_path}", weights))))
    assert len(set(seen)) == 3


def test_units_are_others_where_a_file_of_prompts_changes(tmp_path: Path) -> None:
    (tmp_path / "stimuli" / "bear").mkdir(parents=True)
    Image.new("RGB", (224, 224)).save(tmp_path / "stimuli" / "bear" / "bear1-airplane3.png")
    prompts = tmp_path / "prompts.txt"
    study = tmp_path / "study.toml"
    study.write_text(
        f'output = "out"\n[[models]]\nnames = ["resnet18"]\nweights = "random"\n[shape_bias]\n'
        f'stimuli = "{tmp_path / "stimuli"}"\nallow_partial = true\nprompts = "{prompts}"\n'
    )
    seen = []
    for template in ("a photo of a {}.", "a drawing of a {}."):
        prompts.write_text(template)
        seen.append(identities(study))
    assert not seen[0] & seen[1]


def test_a_version_of_a_library_counts_for_its_networks_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("resnet18", "transformers:vit", "networks.py:build")
    before = [network_identity(Request(name, "random")) for name in names]
    monkeypatch.setattr(provenance, "_version", lambda _package: "0.1")
    after = [network_identity(Request(name, "random")) for name in names]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False]


def unit(measurement: str, shard: int, shards: int) -> Unit:
    whole = Measurement(measurement, Request("model"), {}, ErfTask(), 0, 1, shards, shards, {})
    return Unit(whole, shard, Share(Selection((), "none"), ()))


@given(
    shards=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    turns=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=100),
)
def test_each_unit_is_handed_out_until_it_is_done(
    shards: list[int], turns: list[tuple[int, bool]]
) -> None:
    """Whoever asks when, and whoever dies: nothing is lost, nothing done twice."""
    units = [unit(str(m), s, count) for m, count in enumerate(shards) for s in range(count)]
    queue, workers = Queue(units), [object() for _ in range(4)]
    done: list[str] = []
    for worker, dies in [*turns, *[(0, False)] * len(units)]:
        if taken := queue.take(workers[worker]):  # type: ignore[arg-type]
            failed = queue.lost(taken, "it died") if dies else None
            if failed or not dies:
                done.append(taken.id)
    assert sorted(done) == sorted(each.id for each in units)
    assert not queue


def test_a_worker_stays_with_its_network_then_begins_another_then_helps() -> None:
    units = [unit(name, shard, 3) for name in "ab" for shard in range(3)]
    queue = Queue(units)
    one, two, three = object(), object(), object()
    taken = [queue.take(worker).id[0] for worker in (one, two, one, one, two, three)]  # type: ignore
    assert taken == list("abaabb")
    assert queue.take(one) is None  # type: ignore[arg-type]


def test_a_unit_that_kills_three_workers_fails() -> None:
    queue = Queue([unit("a", 0, 1)])
    worker = object()
    for _ in range(2):
        assert queue.lost(queue.take(worker), "it was killed") is None  # type: ignore[arg-type]
    outcome = queue.lost(queue.take(worker), "it was killed")  # type: ignore[arg-type]
    assert outcome
    assert outcome.failure
    assert outcome.failure.reason.startswith("it was killed, 3 times")
    assert not queue


def test_a_unit_whose_images_were_changed_after_planning_fails(study: Path) -> None:
    """Its result would carry the digests of the images that were planned."""
    first, second = study.parent / "images" / "0.png", study.parent / "images" / "1.png"
    # An image of its own: what this process has decoded before need not be read again.
    Image.new("RGB", (40, 40), (1, 2, 3)).save(first)
    units = make_plan(read_study(study)).units
    first.write_bytes(second.read_bytes())
    outcomes = [perform(unit, study.parent / "out", "cpu") for unit in units]
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    assert 0 < len(failures) < len(units)
    assert {failure.reason for failure in failures} == {
        "0.png was changed after the images were chosen; leave it as it is, and run again"
    }


def test_the_estimate_of_a_protocol_with_its_own_size_is_at_that_size(study: Path) -> None:
    text = study.read_text().replace("networks:three", "resnet18")
    text = text.replace("[[erf]]\n", '[[erf]]\nprotocol = "kim2023"\n', 1)
    study.write_text(re.sub(r"^resolution = .*$", "", text, flags=re.MULTILINE))
    units = make_plan(read_study(study)).units
    measurement = next(
        each.measurement
        for each in units
        if each.measurement.marker == "erf/kim2023/resnet18/measured.parquet"
    )
    published = 1.82e9  # multiply-adds of a ResNet-18 at 224, without norms
    assert operations(measurement) == pytest.approx(2 * published, rel=0.02)


def test_labels_are_read_once_and_have_to_name_an_image(study: Path) -> None:
    changed(study, "count = 6", 'count = 6\nlabels = "labels.csv"')
    labels = study.parent / "labels.csv"
    labels.write_text("image,label\nelsewhere.png,1\n")
    with pytest.raises(UsageError, match="names none of the 6 images"):
        make_plan(read_study(study))
    labels.write_text("image,label\n0.png,1\n5.png,2\n")
    found: dict[str, int] = {}
    for unit in make_plan(read_study(study)).units:
        assert unit.share.labels is not None
        assert set(unit.share.labels) <= set(unit.names)
        found |= unit.share.labels
    assert found == {"0.png": 1, "5.png": 2}
