"""The result: frozen, saved and loaded whole, merged by addition."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.maps import ERF, MeasuredImage
from erf_tools.erf.parts import merge
from erf_tools.errors import UsageError
from erf_tools.images import select
from erf_tools.models.loading import load_model
from erf_tools.models.model import as_model

SETTING = {
    "model": {"name": "net", "weights": {"kind": "random"}},
    "units": [[1, 1]],
    "center": [1, 1],
    "square": "center",
    "protocol": {"name": "ding2022"},
}


def result(values: dict[str, float]) -> ERF:
    images = tuple(MeasuredImage(name, f"sha-{name}", "counted") for name in values)
    total = np.full((3, 4), sum(values.values()))
    return ERF(total, images, SETTING, ({"device": "cpu"},))


def test_map_is_the_mean_over_images_that_count() -> None:
    images = tuple(
        MeasuredImage(name, name, outcome)  # type: ignore[arg-type]
        for name, outcome in (("a", "counted"), ("b", "zero"), ("c", "nan"))
    )
    erf = ERF(np.full((2, 2), 6.0), images, SETTING)
    assert (erf.map == 3).all()
    assert (erf.count, erf.number("zero"), erf.number("nan")) == (2, 1, 1)


def test_no_image_counts() -> None:
    erf = ERF(np.zeros((2, 2)), (MeasuredImage("a", "a", "nan"),), SETTING)
    assert np.isnan(erf.map).all()


def test_results_do_not_change() -> None:
    source = np.ones((2, 2))
    erf = ERF(source, (), SETTING)
    source[0, 0] = 5
    assert erf.total[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        erf.total[0, 0] = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        erf.total = source  # type: ignore[misc]


def test_saving_and_loading_keeps_everything(tmp_path: Path) -> None:
    model = load_model("resnet18", "random")
    erf = effective_receptive_field(model, num_images=2, resolution=32)
    erf.save(tmp_path / "erf.npz")
    loaded = ERF.load(tmp_path / "erf.npz")
    assert np.array_equal(loaded.total, erf.total)
    assert loaded.record() == erf.record()
    with np.load(tmp_path / "erf.npz", allow_pickle=False) as archive:
        assert archive["erf"].dtype == np.float64
        assert np.array_equal(archive["erf"], erf.map)


def test_the_record_says_what_made_it() -> None:
    erf = effective_receptive_field(load_model("resnet18", "random"), num_images=2, resolution=32)
    setting, run = erf.setting, erf.runs[0]
    assert setting["protocol"]["name"] == "ding2022"
    assert setting["model"]["weights"]["label"] == "untrained"
    assert len(setting["model"]["weights"]["sha256"]) == 64
    assert setting["model"]["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert setting["tap"]["name"].startswith("last stage")
    assert setting["resolution"] == [32, 32]
    assert run["images"]["seed"] == 0
    assert {"erf-tools", "torch", "timm", "numpy"} <= run["versions"].keys()
    assert all(len(image.sha256) == 64 for image in erf.images)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text"])
def test_damaged_files_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "erf.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"erf\.npz is not a result of erf-tools"):
        ERF.load(tmp_path / "erf.npz")
    with pytest.raises(UsageError, match="there is no file"):
        ERF.load(tmp_path / "absent.npz")


def test_an_archive_with_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "erf.npz", record=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UsageError, match="not a result of erf-tools"):
        ERF.load(tmp_path / "erf.npz")


def test_merging_adds() -> None:
    merged = merge([result({"a": 1, "b": 2}), result({"c": 6})])
    assert (merged.map == 3).all()
    assert [image.name for image in merged.images] == ["a", "b", "c"]
    assert len(merged.runs) == 2


def test_parts_merge_to_the_whole() -> None:
    model = load_model("resnet18", "random")
    selection = select("builtin", 6)
    whole = effective_receptive_field(model, selection, resolution=32, batch_size=1)
    parts = [
        effective_receptive_field(
            model,
            dataclasses.replace(selection, images=selection.images[start : start + 2]),
            resolution=32,
            batch_size=1,
        )
        for start in (0, 2, 4)
    ]
    np.testing.assert_allclose(merge(parts).map, whole.map, rtol=1e-12)


def test_merging_refuses_shared_images_and_other_settings() -> None:
    with pytest.raises(UsageError, match=r"1 images are in two results.* first is b"):
        merge([result({"a": 1, "b": 2}), result({"b": 2})])
    other = dataclasses.replace(result({"c": 1}), setting={**SETTING, "units": [[2, 2]]})
    with pytest.raises(UsageError, match=r"differ in units .*1, 1.* and .*2, 2"):
        merge([result({"a": 1}), other])
    with pytest.raises(UsageError, match="nothing to merge"):
        merge([])


def of_files(source: str, **digests: str) -> ERF:
    """Return a result of files: their names, with _ for / and without an end, and their digests."""
    names = [f"{name.replace('_', '/')}.png" for name in digests]
    images = [MeasuredImage(*each, "counted") for each in zip(names, digests.values(), strict=True)]
    run = {"images": {"source": source}}
    return ERF(np.full((3, 4), len(images)), tuple(images), SETTING, (run,))


TWO = "2 given images"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # The same files by other paths, all of them or one.
        (of_files("img", a="1", b="2"), of_files(TWO, img_a="1", img_b="2")),
        (of_files("img", a="1", b="2"), of_files(TWO, img_b="2", img_c="3")),
        (of_files(TWO, img_a="1", img_b="2"), of_files(TWO, up_img_B="2", up_img_c="3")),
        # Copies in another folder, by other names.
        (of_files("img", a="1", b="2"), of_files("copy", c="2", d="3")),
        (of_files(TWO, img_a="1", img_b="2"), of_files(TWO, copy_x="1", copy_y="2")),
        (of_files(TWO, img_a="1", img_b="2"), of_files("3 given images", x="1", y="2", z="3")),
        # Of results that say nothing of their folders.
        (dataclasses.replace(of_files("", a="1", b="2"), runs=()), of_files("", c="2", d="3")),
    ],
)
def test_an_image_of_another_name_is_the_same_image(one: ERF, other: ERF) -> None:
    for results in ([one, other], [other, one], [result({"x": 1}), one, other]):
        for given in (results, iter(results)):
            with pytest.raises(UsageError, match="are the same image, which would count twice"):
                merge(given)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (of_files("img", a="1", b="2"), of_files("img", c="2", d="3")),
        (of_files("img", x_a="1"), of_files("img", y_a="1")),
        (of_files(TWO, img_a="1", img_b="2"), of_files(TWO, img_c="2", img_d="3")),
        (of_files(TWO, x_a="1", x_b="2"), of_files(TWO, y_c="2", y_d="3")),
        (of_files("img", a="1", b="2"), of_files("more", a="3", b="4")),
    ],
)
def test_two_files_of_one_set_with_the_same_content_count_as_they_do_at_once(
    one: ERF, other: ERF
) -> None:
    merged = merge([one, other])
    assert merged.count == one.count + other.count
    assert (merged.map == 1).all()


def test_files_are_told_apart_in_parts_as_at_once(tmp_path: Path) -> None:
    """Of four files, two with the same content: as paths, in a folder, and by both."""
    for name, of in (("a", 0), ("b", 1), ("c", 1), ("d", 2)):
        image = select("builtin", 3).images[of]
        (tmp_path / f"{name}.png").write_bytes(Path(image.content).read_bytes())  # type: ignore[arg-type]
    network = nn.Conv2d(3, 2, 5)
    paths = sorted(tmp_path.iterdir())

    def measured(images: list[Path] | Path, start: int = 0, end: int = 4) -> ERF:
        selection = select(images, order="sequential")
        own = dataclasses.replace(selection, images=selection.images[start:end])
        return effective_receptive_field(network, own, resolution=32)

    whole = measured(tmp_path)
    for parts in (
        [measured(paths[:2]), measured(paths[2:])],
        [measured(tmp_path, 0, 2), measured(tmp_path, 2)],
    ):
        np.testing.assert_allclose(merge(parts).map, whole.map, rtol=1e-6)
        assert merge(parts).count == 4
    in_memory = [
        effective_receptive_field(network, [Image.open(path) for path in own], resolution=32)
        for own in (paths[:2], [paths[1], paths[3]])
    ]
    for twice in ([whole, measured(paths)], [whole, measured(paths[1:3])], in_memory):
        with pytest.raises(UsageError, match=r"of one result and .* of another are the same image"):
            merge(twice)


def test_of_settings_that_do_not_merge_only_what_differs_is_told() -> None:
    setting = {**SETTING, "model": {"name": "net", "weights": {"kind": "file", "sha256": "b" * 64}}}
    first = dataclasses.replace(result({"a": 1}), setting=setting)
    model = {"name": "net", "weights": {"kind": "file", "sha256": "c" * 64}}
    second = dataclasses.replace(result({"b": 1}), setting={**setting, "model": model})
    with pytest.raises(UsageError) as refused:
        merge([first, second])
    assert str(refused.value) == (
        f"results differ in model weights sha256 ({'b' * 40}... and {'c' * 40}...) and do not "
        "merge; measure them alike"
    )


def test_the_same_weights_merge_whichever_way_they_came() -> None:
    """Weights that were changed after they were described, and described as they are now."""
    module = nn.Sequential(nn.Conv2d(3, 2, 5), nn.ReLU())
    before = as_model(module)
    module[0].weight.data.mul_(2)
    images = select("builtin", 2).images
    parts = [
        effective_receptive_field(network, [image.open()], layer="0", resolution=32)
        for network, image in zip((before, module), images, strict=True)
    ]
    notes = [part.setting["model"]["weights"]["notes"] for part in parts]
    assert (len(notes[0]), len(notes[1])) == (1, 0)
    at_once = effective_receptive_field(
        module, [image.open() for image in images], layer="0", resolution=32
    )
    np.testing.assert_allclose(merge(parts).map, at_once.map, rtol=1e-6)
    module[0].stride = (2, 2)
    other = effective_receptive_field(module, [images[1].open()], layer="0", resolution=32)
    assert other.setting["model"]["weights"] == parts[1].setting["model"]["weights"]
    with pytest.raises(UsageError, match=r"differ in .*model network_sha256"):
        merge([parts[0], other])


def test_networks_with_other_weights_do_not_merge() -> None:
    selection = select("builtin", 2)
    results = [
        effective_receptive_field(
            load_model("resnet18", "random", seed),
            dataclasses.replace(selection, images=selection.images[seed : seed + 1]),
            resolution=32,
        )
        for seed in (0, 1)
    ]
    with pytest.raises(UsageError, match="differ in model"):
        merge(results)


def test_a_module_of_the_user_is_as_given() -> None:
    erf = effective_receptive_field(nn.Conv2d(3, 2, 3), num_images=1, resolution=16)
    assert erf.label == "Conv2d"
    assert erf.setting["model"]["weights"]["label"] == "as given"
