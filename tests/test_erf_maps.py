"""The result: frozen, saved and loaded whole, merged by addition."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from erf_tools.erf.gradients import effective_receptive_field
from erf_tools.erf.maps import ERF, MeasuredImage
from erf_tools.erf.parts import merge
from erf_tools.errors import UsageError
from erf_tools.images import select
from erf_tools.models.loading import load_model

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
