"""Weights from where they are published to a loaded network, against a server on this machine."""

from __future__ import annotations

import hashlib
import io
import os
import re
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
import timm
import torch
from conftest import Command
from loopback import Answer, Loopback
from reference import randomise_norms
from timm.utils import reparameterize_model
from torch import Tensor, nn

from erf_tools.addresses import name_at
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.models import catalogue, weight_files
from erf_tools.models.loading import load_model
from erf_tools.models.replknet import VARIANTS, RepLKNet
from erf_tools.models.requests import Request
from erf_tools.models.sources import GoogleDriveFile, PublishedFile, WeightSource
from erf_tools.models.weights import Weights

TINY = replace(
    VARIANTS["31b"], kernel_sizes=(9, 7, 7, 5), channels=(8, 12, 16, 20), layers=(1, 1, 2, 1)
)


def to_mmpretrain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Lay a state dict out by hand as mmpretrain's ImageClassifier names it."""
    renamed = OrderedDict()
    for key, value in state.items():
        if key.startswith("head."):
            renamed[key.replace("head.", "head.fc.")] = value
        elif key.startswith("norm."):
            renamed[f"backbone.stages.3.{key}"] = value
        else:
            renamed[f"backbone.{key}"] = value
    return renamed


def as_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERF_TOOLS_CACHE", str(tmp_path / "cache"))
    for name in ("ERF_TOOLS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "weights"


@pytest.fixture
def network() -> RepLKNet:
    torch.manual_seed(0)
    return randomise_norms(RepLKNet(TINY)).eval()  # type: ignore[return-value]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


Publish = Callable[..., str]


@pytest.fixture
def publish(server: Loopback, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Put a model `tiny` into the catalogue whose weights the server has."""

    def do(body: bytes, prefix: str | None = None) -> str:
        prefix = prefix or hashlib.sha256(body).hexdigest()[:8]
        base = server.address("/replknet/")
        file = f"tiny-{prefix}.pth"
        server.answers[f"/replknet/{file}"] = Answer(body)
        entry = replace(
            catalogue.ENTRIES["replknet31b"],
            name="tiny",
            architecture="tiny",
            weights=PublishedFile(base + file, file, prefix),
        )
        monkeypatch.setitem(catalogue.ENTRIES, "tiny", entry)
        monkeypatch.setitem(VARIANTS, "tiny", TINY)
        return file

    return do


def outputs(module: nn.Module) -> Tensor:
    with torch.no_grad():
        return module(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


def test_weights_are_fetched_once_verified_and_named_in_the_record(
    publish: Publish, network: RepLKNet, server: Loopback, cache: Path
) -> None:
    body = as_bytes({"state_dict": to_mmpretrain(network.state_dict())})
    file = publish(body)
    model = load_model("tiny")
    assert torch.equal(outputs(model.module), outputs(network))
    assert model.weights.kind == "pretrained"
    assert model.weights.sha256 == hashlib.sha256(body).hexdigest()
    assert file in model.weights.source
    assert "127.0.0.1" in model.weights.source
    requests = len(server.requests)
    load_model("tiny")
    assert len(server.requests) == requests
    (listed,) = weight_files.cached_files()
    assert (listed.models, listed.sha256) == (("tiny",), hashlib.sha256(body).hexdigest())


def test_a_command_hashes_a_file_that_is_here_once(
    publish: Publish,
    network: RepLKNet,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_command: Command,
    tmp_path: Path,
) -> None:
    body = as_bytes(network.state_dict())
    cache.mkdir(parents=True)
    (cache / publish(body)).write_bytes(body)
    hashed, sha256 = [], hashlib.sha256

    def counted(data: bytes = b"", **options: bool) -> object:
        digest = sha256(data, **options)

        class Counted:
            def update(self, more: bytes) -> None:
                hashed.append(len(more))
                digest.update(more)

            def __getattr__(self, name: str) -> object:
                return getattr(digest, name)

        return Counted()

    monkeypatch.setattr(hashlib, "sha256", counted)
    command = ("erf", "--model", "tiny", "--num-images", 1, "--resolution", 32)
    assert run_command(*command, "--output", tmp_path / "erf")[0] == 0
    assert hashed.count(len(body)) == 1  # smaller than a block


def test_another_file_than_the_one_first_seen_is_refused(
    publish: Publish, network: RepLKNet, server: Loopback, cache: Path
) -> None:
    publish(b"unused")
    server.answers["/net.pth"] = Answer(as_bytes(network.state_dict()))
    load_model("tiny", server.address("/net.pth"))
    (file,) = cache.glob("*.pth")
    file.write_bytes(as_bytes({**network.state_dict(), "more": torch.ones(1)}))
    with pytest.raises(ErfToolsError, match=f"first seen .* `erf-tools weights remove {file.name}"):
        load_model("tiny", server.address("/net.pth"))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("https://host/a/net.pth?download=1#top", "net.pth"),
        ("https://host/my%20net.pth", "my net.pth"),
        ("https://host/", ""),
        ("runs/net#2.pth", "net#2.pth"),
        ("runs/net?.pth", "net?.pth"),
        ("runs/50%25.pth", "50%25.pth"),
        ("c:net.pth", "c:net.pth"),
    ],
)
def test_names_at_places(place: str, name: str) -> None:
    assert name_at(place) == name
    assert Request("resnet18", place).weights_label == name
    assert Weights("file", place, "").label == name


def test_a_wrong_digest_never_enters_the_cache(publish: Publish, cache: Path) -> None:
    publish(as_bytes({"weight": torch.ones(3)}), prefix="0badf00d")
    with pytest.raises(ErfToolsError) as caught:
        load_model("tiny")
    assert "0badf00d" in str(caught.value)
    assert "--weights random" in str(caught.value)
    assert not list(cache.glob("*.pth"))


def test_a_read_only_cache_that_holds_the_weights_is_enough(
    publish: Publish, network: RepLKNet, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that somebody else keeps for all; root would be let in."""
    body = as_bytes(network.state_dict())
    file = publish(body)
    with TemporaryDirectory() as shared:
        weights = Path(shared) / "weights"
        weights.mkdir()
        (weights / file).write_bytes(body)
        monkeypatch.setenv("ERF_TOOLS_CACHE", shared)
        Path(shared).chmod(0o755)
        weights.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            assert torch.equal(outputs(load_model("tiny").module), outputs(network))
        finally:
            os.seteuid(user)
            weights.chmod(0o755)
        assert [path.name for path in weights.iterdir()] == [file]
    assert not server.requests


def test_a_wrong_file_put_there_by_hand_is_refused(publish: Publish, cache: Path) -> None:
    file = publish(as_bytes({"weight": torch.ones(3)}))
    cache.mkdir(parents=True)
    (cache / file).write_bytes(b"something else")
    with pytest.raises(ErfToolsError, match=f"erf-tools weights remove {file}"):
        load_model("tiny")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {"state_dict": to_mmpretrain(state)},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {
            "model": {k: torch.zeros_like(v) for k, v in state.items()},
            "model_ema": state,
        },
        lambda state: {
            "state_dict": {k: torch.zeros_like(v) for k, v in to_mmpretrain(state).items()},
            "ema_state_dict": {
                "steps": torch.tensor(7),
                **{f"module.{k}": v for k, v in to_mmpretrain(state).items()},
            },
        },
    ],
    ids=["official", "model", "mmpretrain", "module.", "EMA", "mmpretrain EMA"],
)
def test_every_naming_gives_bit_identical_outputs(
    wrap: Callable[[dict], dict], publish: Publish, network: RepLKNet, tmp_path: Path
) -> None:
    publish(b"unused")
    torch.save(wrap(network.state_dict()), tmp_path / "file.pth")
    model = load_model("tiny", tmp_path / "file.pth")
    assert torch.equal(outputs(model.module), outputs(network))
    assert set(model.module.state_dict()) == set(network.state_dict())  # official names out


@pytest.mark.parametrize("naming", [lambda state: state, to_mmpretrain], ids=["official", "mm"])
def test_merged_files(
    naming: Callable[[dict], dict], publish: Publish, network: RepLKNet, tmp_path: Path
) -> None:
    publish(b"unused")
    merged = reparameterize_model(network.eval())
    torch.save(naming(merged.state_dict()), tmp_path / "deploy.pth")
    model = load_model("tiny", tmp_path / "deploy.pth")
    assert model.arguments == {"merged": True}
    assert torch.equal(outputs(model.module), outputs(merged))


def test_31b_from_either_naming_is_bit_identical(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = randomise_norms(RepLKNet(VARIANTS["31b"])).state_dict()
    results = []
    for name, content in (("official", state), ("mmpretrain", to_mmpretrain(state))):
        torch.save({"state_dict": content}, tmp_path / f"{name}.pth")
        results.append(outputs(load_model("replknet31b", tmp_path / f"{name}.pth").module))
    assert torch.equal(*results)


def mmpretrain_replknet(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import mmpretrain's one file on RepLKNet: the package as a whole wants far more."""
    pytest.importorskip("mmcv", reason="mmpretrain, mmengine and mmcv-lite are not installed")
    found = find_spec("mmpretrain")
    if found is None or found.origin is None:
        pytest.skip("mmpretrain is not installed")
    for name in ("mmpretrain", "mmpretrain.models", "mmpretrain.models.backbones"):
        package = ModuleType(name)
        package.__path__ = [str(Path(found.origin).parent.joinpath(*name.split(".")[1:]))]
        monkeypatch.setitem(sys.modules, name, package)
    return import_module("mmpretrain.models.backbones.replknet")


@pytest.mark.parametrize("merged", [False, True])
def test_names_of_mmpretrain_itself(
    merged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against state dicts made by mmpretrain's own RepLKNet, where it is installed."""
    replknet = mmpretrain_replknet(monkeypatch)
    theirs = randomise_norms(replknet.RepLKNet(arch="31B", small_kernel_merged=merged))
    theirs.eval()  # returns nothing there
    state = {f"backbone.{key}": value for key, value in theirs.state_dict().items()}
    state["head.fc.weight"], state["head.fc.bias"] = torch.randn(1000, 1024), torch.randn(1000)
    torch.save({"state_dict": state}, tmp_path / "mm.pth")
    ours = load_model("replknet31b", tmp_path / "mm.pth").module
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours.norm(ours.forward_features(images)), theirs(images)[-1])


def test_an_address_of_the_users_own(
    publish: Publish, network: RepLKNet, server: Loopback, cache: Path
) -> None:
    publish(b"unused")
    server.answers["/mine/net.pth"] = Answer(as_bytes(network.state_dict()))
    address = server.address("/mine/net.pth")
    model = load_model("tiny", address)
    assert torch.equal(outputs(model.module), outputs(network))
    assert (model.weights.source, model.weights.label) == (address, "net.pth")
    server.answers["/mine/net.pth"] = Answer(status=500)
    assert load_model("tiny", address).weights.sha256 == model.weights.sha256


@pytest.mark.parametrize(
    "address", ["http://example.com/net.pth", "http://127.0.0.1@example.com/net.pth"]
)
def test_other_addresses_are_refused(address: str, run_command: Command) -> None:
    with pytest.raises(UsageError):
        load_model("replknet31b", address)
    assert run_command("erf", "--model", "replknet31b", "--weights", address)[0] == 2


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "ERF_TOOLS_OFFLINE"])
def test_offline_opens_no_connection(
    variable: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setenv(variable, "1")
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("replknet31b", "replknet13_120e", "resnet101"):
        with pytest.raises(ErfToolsError, match="offline mode is on"):
            load_model(name)
    with pytest.raises(ErfToolsError, match="offline mode is on"):
        load_model("replknet31b", "https://example.com/net.pth")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "ERF_TOOLS_OFFLINE"])
@pytest.mark.parametrize(
    "name", ["test_resnet.r160_in1k", "test_resnet", "hf-hub:timm/test_resnet.r160_in1k"]
)
def test_weights_of_the_hub_that_are_here_are_used_offline(
    name: str, variable: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own library would ask whether there is a newer version."""
    from huggingface_hub import constants
    from safetensors.torch import save_file

    repository = "test_resnet.r160_in1k"
    state = timm.create_model(repository).state_dict()
    folder = tmp_path / "hub" / f"models--timm--{repository}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    save_file(state, snapshot / "model.safetensors")
    (snapshot / "config.json").write_text('{"architecture": "test_resnet"}')
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(variable, "1")
    touched = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **_: touched.append(asked) or [])
    monkeypatch.setattr(socket.socket, "connect", lambda _, place: touched.append(place))
    model = load_model(name)
    assert torch.equal(model.module.fc.weight, state["fc.weight"])
    assert not touched
    assert not constants.HF_HUB_OFFLINE  # as it was


@pytest.mark.parametrize("command", ["erf", "shape-bias"])
def test_the_option_offline_is_the_same(
    command: str, cache: Path, monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # put back afterwards
    code, _, error = run_command(command, "--model", "replknet31b", "--offline")
    assert code == 1
    assert "offline mode is on" in error


def test_missing_weights_are_one_message_with_all_that_can_be_done(
    cache: Path, monkeypatch: pytest.MonkeyPatch, run_command: Command
) -> None:
    entry = catalogue.ENTRIES["replknet31b"]
    closed = replace(entry.weights, address="http://127.0.0.1:9/" + entry.weights.file)
    monkeypatch.setitem(catalogue.ENTRIES, "replknet31b", replace(entry, weights=closed))
    code, _, error = run_command("erf", "--model", "replknet31b")
    assert code == 1
    assert error.count("\n") == 1
    for part in (closed.address, str(cache / closed.file), "--weights FILE", "--weights random"):
        assert part in error


def test_google_drive_through_gdown(
    publish: Publish,
    network: RepLKNet,
    server: Loopback,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(b"unused")
    source = GoogleDriveFile(server.address("/drive/net"), "drive.pth")
    entry = replace(catalogue.ENTRIES["tiny"], weights=source)
    monkeypatch.setitem(catalogue.ENTRIES, "tiny", entry)
    server.answers["/drive/net"] = Answer(b"<html>too many downloads</html>")
    with pytest.raises(ErfToolsError, match="gave a web page instead of the file"):
        load_model("tiny")
    assert not (cache / "drive.pth").exists()
    body = as_bytes(network.state_dict())
    server.answers["/drive/net"] = Answer(body)
    model = load_model("tiny")
    assert torch.equal(outputs(model.module), outputs(network))
    assert weight_files.find_file("tiny").sha256 == hashlib.sha256(body).hexdigest()


def test_a_drive_that_cannot_be_reached_is_one_sentence(
    publish: Publish, cache: Path, monkeypatch: pytest.MonkeyPatch, server: Loopback
) -> None:
    publish(b"unused")
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)  # how long gdown waits
    for address, why in (
        ("http://127.0.0.1:9/net", "Connection refused"),
        (server.address("/none"), "the server answered 404 Not Found"),
    ):
        entry = replace(catalogue.ENTRIES["tiny"], weights=GoogleDriveFile(address, "drive.pth"))
        monkeypatch.setitem(catalogue.ENTRIES, "tiny", entry)
        with pytest.raises(ErfToolsError, match=rf"/n.* cannot be fetched \({why}\)") as caught:
            load_model("tiny")
        assert "\n" not in str(caught.value)
    assert not list(cache.glob("[!.]*.pth"))


@dataclass(frozen=True)
class OnDisk(WeightSource):
    """A further kind of source: a disk that may be out."""

    file: Path

    @property
    def place(self) -> str:
        return "the disk"

    def find(self) -> Path | None:
        return self.file if self.file.is_file() else None

    def fetch(self, name: str, progress: bool = False) -> Path:
        raise ErfToolsError(f"the disk with the weights of {name} is out; put it in")


def test_a_further_kind_of_source_is_a_class(
    publish: Publish,
    network: RepLKNet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_command: Command,
) -> None:
    publish(b"unused")
    source = OnDisk(tmp_path / "disk.pth", licence="MIT")
    entry = replace(catalogue.ENTRIES["tiny"], weights=source)
    monkeypatch.setitem(catalogue.ENTRIES, "tiny", entry)
    for command in (("weights", "fetch", "tiny"), ("erf", "--model", "tiny")):
        code, _, error = run_command(*command)
        assert (code, error) == (
            1,
            "erf-tools: the disk with the weights of tiny is out; put it in\n",
        )
    torch.save(network.state_dict(), source.file)
    assert load_model("tiny").weights.source == "disk.pth, the disk"
    assert re.search(r"tiny .* yes +the disk +MIT", run_command("models")[1])


def test_commands_manage_the_cache(
    publish: Publish,
    network: RepLKNet,
    cache: Path,
    run_command: Command,
) -> None:
    body = as_bytes(network.state_dict())
    file = publish(body)
    run = partial(run_command, "weights")

    assert run("fetch", "tiny")[0] == 0
    assert str(cache) in run("path")[1]
    assert run("path", "tiny")[1].strip() == str(cache / file)
    code, out, _ = run("list")
    assert code == 0
    assert file in out
    assert hashlib.sha256(body).hexdigest()[:16] in out
    code, out, _ = run("verify")
    assert code == 0
    assert hashlib.sha256(body).hexdigest() in out
    assert re.search(r"tiny .* yes ", run_command("models")[1])

    (cache / file).write_bytes(body[:-1] + b"x")
    code, _, err = run("verify")
    assert code == 1
    assert f"erf-tools weights remove {file}" in err
    assert run("remove", "tiny")[0] == 0
    assert not (cache / file).exists()
    assert run("path", "tiny")[0] == 2
    assert run("list")[1].strip().endswith(f"0 files in {cache}")
    assert run("fetch", "nosuch")[0] == 2


@pytest.mark.parametrize(
    ("name", "size"), [("vit_tiny_patch16_224", (64, 96)), ("swinv2_cr_tiny_ns_224", (256, 256))]
)
def test_position_tables_are_resized_by_timm_and_recorded(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    native = load_model(name, "random")
    torch.save(native.module.state_dict(), tmp_path / "native.pth")
    model = load_model(name, tmp_path / "native.pth", resolution=size)
    expected = timm.create_model(name, img_size=size).eval()
    source = sys.modules[type(expected).__module__]
    fitted = source.checkpoint_filter_fn(dict(native.module.state_dict()), expected)
    expected.load_state_dict(fitted)
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        assert torch.equal(model.module(images), expected(images))
    assert model.arguments["img_size"] == list(size)
    if name.startswith("vit"):
        assert model.arguments["resized_by_timm"] == ["pos_embed"]


def test_preprocessing_belongs_to_the_checkpoint() -> None:
    entries = catalogue.ENTRIES
    assert entries["replknetxl_320"].preprocessing.mean == (0.5, 0.5, 0.5)
    assert entries["replknetxl_320"].preprocessing.size == 320
    assert entries["replknet31b"].preprocessing.mean == (0.485, 0.456, 0.406)
    for name in ("replknet31b_384", "replknet31b_22k_384", "replknet31l_22k_384"):
        own = entries[name].preprocessing
        assert (own.resize, own.crop_fraction) == ("both", 1.0)  # warped
        assert entries[name].preprocessing.size == 384


def test_published_digests_are_in_the_names() -> None:
    published = {
        "replknet31b": "fd08e268",
        "replknet31b_384": "03a170ce",
        "replknet31b_22k": "54ed5c46",
        "replknet31b_22k_384": "76c92b24",
        "replknet31l_22k_384": "dc3fc07c",
        "replknetxl_320": "88259b1d",
    }
    for name, prefix in published.items():
        source = catalogue.ENTRIES[name].weights
        assert source.sha256_prefix == prefix
        assert source.address.startswith("https://download.openmmlab.com/mmclassification/v0/")
    for name in ("replknet13_120e", "replknet31_120e"):
        source = catalogue.ENTRIES[name].weights
        assert isinstance(source, GoogleDriveFile)
        assert source.address.startswith("https://drive.google.com/uc?id=")
