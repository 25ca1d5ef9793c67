"""Every form of checkpoint that people have: it loads, or is refused with a reason."""

from __future__ import annotations

import argparse
import gzip
import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from checkpoint_states import (
    NAME,
    State,
    assert_loaded,
    deepspeed,
    prefixed,
    save,
    trained,
    zeros,
)
from conftest import Command
from safetensors.torch import save_file
from torch import Tensor, nn

from erf_tools import effective_receptive_field
from erf_tools.cue_conflict.choices import Deciding
from erf_tools.cue_conflict.classify import settings
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.models.checkpoints import read_checkpoint
from erf_tools.models.loading import load_model
from erf_tools.models.renamings import timm_filter
from erf_tools.models.replknet import VARIANTS, RepLKNet


@pytest.fixture(scope="module")
def state() -> State:
    return trained().state_dict()


def looped(state: State) -> State:
    content: State = {"state_dict": state}
    content["again"] = content
    return content


FORMS: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "PyTorch's tutorial": lambda s: {"epoch": 1, "model_state_dict": s, "loss": 0.3},
    "net": lambda s: {"net": s, "acc": 92.5, "epoch": 3},
    "network": lambda s: {"network": s},
    "any name": lambda s: {"epoch": 1, "resnet": s},
    "a teacher before its student": lambda s: {"student": zeros(s), "teacher": s},
    "a student whose teacher is another": lambda s: {
        "student": s,
        "teacher": {"layers.0.weight": torch.ones(3)},
    },
    "averages first": lambda s: {"state_dict": zeros(s), "state_dict_ema": s},
    "shadow": lambda s: {"model": zeros(s), "ema": {"decay": 0.999, "shadow": s}},
    "timm's own script": lambda s: {
        "epoch": 4,
        "arch": NAME,
        "state_dict": s,
        "args": argparse.Namespace(lr=0.1, output=Path("out"), opt=None),
        "metric": np.float64(71.2),
    },
    "numpy scalars of all kinds": lambda s: {
        "model": s,
        "best": np.float32(0.5),
        "epoch": np.int64(3),
        "flag": np.bool_(True),
        "history": np.ones((2, 3)),
    },
    "optimiser beside": lambda s: {
        "optimizer": {
            "state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(1.0)}},
            "param_groups": [{"lr": 0.1, "params": [0]}],
        },
        "model": s,
    },
    "in a tuple": lambda s: (s, 7),
    "lightning": lambda s: {
        "state_dict": {**prefixed(s, "model."), "criterion.weight": torch.ones(5)},
        "hyper_parameters": {"lr": 0.1},
        "pytorch-lightning_version": "2.0",
    },
    "lightning with averages": lambda s: {
        "state_dict": {**prefixed(zeros(s), "model."), **prefixed(s, "ema_model.")}
    },
    "Lightning's averages": lambda s: {
        "state_dict": prefixed(s, "model."),
        "current_model_state": prefixed(zeros(s), "model."),
        "averaging_state": {"n_averaged": torch.tensor(2)},
    },
    "averages of a Lightning callback": lambda s: {
        "state_dict": prefixed(zeros(s), "model."),
        "callbacks": {"EMA": {"ema_state_dict": prefixed(s, "model.")}, "Checkpoint": {"k": 1}},
    },
    "ema_pytorch": lambda s: {
        **{"initted": torch.tensor(True), "step": torch.tensor(7)},
        **prefixed(zeros(s), "online_model."),
        **prefixed(s, "ema_model."),
    },
    "DeepSpeed": lambda s: deepspeed(prefixed(s, "module.")),
    "Lightning over DeepSpeed": lambda s: {
        **deepspeed(prefixed(s, "_forward_module.model.")),
        "pytorch-lightning_version": "2.6.6",
        "hyper_parameters": {},
    },
    **{
        f"prefix {prefix}": lambda s, prefix=prefix: prefixed(s, prefix)
        for prefix in (
            *("module.", "_orig_mod.", "module._orig_mod.", "backbone.", "encoder.", "net."),
            *("model.module.", "a.b.c.", "_fsdp_wrapped_module.", "_orig_mod.module."),
        )
    },
    "compiled stages": lambda s: {
        key.replace("layer1.", "layer1._orig_mod."): value for key, value in s.items()
    },
    "FSDP": lambda s: {
        "model": prefixed(
            {key.replace("layer1.0.", "layer1.0._fsdp_wrapped_module."): v for key, v in s.items()},
            "_fsdp_wrapped_module.",
        )
    },
    "no counters": lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
    "a profiler's counters": lambda s: {
        **s,
        "total_ops": torch.zeros(1),
        "layer1.total_params": torch.zeros(1),
    },
    "numpy arrays": lambda s: {key: value.numpy() for key, value in s.items()},
    "parameters": lambda s: {
        key: nn.Parameter(value) if value.is_floating_point() else value for key, value in s.items()
    },
    "float64": lambda s: {k: v.double() if v.is_floating_point() else v for k, v in s.items()},
    "contains itself": looped,
    "ordered": lambda s: OrderedDict(s),
}


@pytest.mark.parametrize("form", FORMS)
def test_it_loads_value_for_value(form: str, state: State, tmp_path: Path) -> None:
    model = load_model(NAME, save(FORMS[form](state), tmp_path / "file.pth"))
    assert_loaded(model, state)
    assert model.weights.head
    assert not [note for note in model.weights.notes if "classifier" in note]


def test_what_was_chosen_or_left_out_is_said(state: State, tmp_path: Path) -> None:
    content = FORMS["a teacher before its student"](state)
    model = load_model(NAME, save(content, tmp_path / "file.pth"))
    assert model.weights.notes == ("of 2 state dicts in the file, 'teacher' was taken",)
    assert model.record()["weights"]["notes"] == list(model.weights.notes)
    model = load_model(NAME, save(FORMS["lightning"](state), tmp_path / "file.pth"))
    (note,) = model.weights.notes
    assert note == "1 keys outside 'model.' were left out (criterion.weight)"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_exactly(dtype: torch.dtype, state: State, tmp_path: Path) -> None:
    half = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    model = load_model(NAME, save(half, tmp_path / "half.pth"))
    assert model.module.conv1[0].weight.dtype == torch.float32
    assert torch.equal(model.module.conv1[0].weight, half["conv1.0.weight"].float())


def test_names_do_not_matter(state: State, tmp_path: Path) -> None:
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "file.pth")
    assert_loaded(load_model(NAME, tmp_path / "file.pth"), state)
    assert_loaded(load_model(NAME, save(state, tmp_path / "file.safetensors")), state)
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_loaded(load_model(NAME, tmp_path / "old.pth"), state)


def test_a_missing_head_is_no_hindrance_but_for_decisions(state: State, tmp_path: Path) -> None:
    bare = {key: value for key, value in state.items() if not key.startswith("fc.")}
    model = load_model(NAME, save(bare, tmp_path / "bare.pth"))
    assert not model.weights.head
    assert "has no classifier" in model.weights.notes[0]
    whole = load_model(NAME, save(state, tmp_path / "whole.pth"))
    results = [
        effective_receptive_field(one, num_images=1, resolution=32, device="cpu")
        for one in (model, whole)
    ]
    assert np.array_equal(results[0].map, results[1].map)
    with pytest.raises(UsageError, match="shape bias needs a head: give weights with theirs"):
        settings(model, None, Deciding(), None)  # type: ignore[arg-type]


def test_a_head_of_ten_classes_comes_with_its_weights(state: State, tmp_path: Path) -> None:
    ten = trained(num_classes=10).state_dict()
    model = load_model(NAME, save({"model": ten}, tmp_path / "ten.pth"))
    assert_loaded(model, ten)
    assert model.weights.notes == ("the classifier is the file's own, of 10 classes",)
    with torch.no_grad():
        assert model.module(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_head_of_another_kind_is_left_out(state: State, tmp_path: Path) -> None:
    other = {key: value for key, value in state.items() if not key.startswith("fc.")}
    other |= {"fc.0.weight": torch.ones(8, 4), "fc.2.bias": torch.ones(3)}
    model = load_model(NAME, save(other, tmp_path / "file.pth"))
    assert not model.weights.head
    assert "classifier of another kind" in model.weights.notes[0]


def test_replknet_without_head_or_with_another(tmp_path: Path) -> None:
    with torch.device("meta"):  # of the values, none is looked at
        shapes = RepLKNet(VARIANTS["3"]).state_dict()
    state = {key: torch.zeros((), dtype=v.dtype).expand(v.shape) for key, v in shapes.items()}
    body = {key: value for key, value in state.items() if not key.startswith("head.")}
    model = load_model("replknet3", save(body, tmp_path / "body.pth"))
    assert not model.weights.head
    body |= {
        "head.weight": torch.ones(7, state["head.weight"].shape[1]),
        "head.bias": torch.ones(7),
    }
    model = load_model("replknet3", save(prefixed(body, "module."), tmp_path / "seven.pth"))
    assert model.module.head.out_features == 7


def test_a_missing_layer_is_still_a_misfit(state: State, tmp_path: Path) -> None:
    less = {key: value for key, value in state.items() if not key.startswith("layer4.")}
    with pytest.raises(ErfToolsError, match=r"missing \(layer4"):
        load_model(NAME, save(less, tmp_path / "file.pth"))
    more = {**state, "layer9.weight": torch.ones(1)}
    with pytest.raises(ErfToolsError, match=r"1 unexpected \(layer9.weight\)"):
        load_model(NAME, save(more, tmp_path / "file.pth"))


def test_a_factorys_head_is_not_known_to_be_one(
    state: State, study_folder: Path, tmp_path: Path
) -> None:
    (study_folder / "networks.py").write_text(
        f"import timm\ndef small(): return timm.create_model({NAME!r})\n"
    )
    bare = {key: value for key, value in state.items() if not key.startswith("fc.")}
    with pytest.raises(ErfToolsError, match=r"2 missing \(fc.weight, fc.bias\)"):
        load_model("networks:small", save(bare, tmp_path / "bare.pth"))
    assert_loaded(load_model("networks:small", save({"net": state}, tmp_path / "a.pth")), state)


# Names of other libraries.


def to_meta(state: State) -> State:
    """Lay out a timm ConvNeXt as its authors name it."""
    renamed = {}
    for key, value in state.items():
        key = key.replace("stem.", "downsample_layers.0.").replace(".blocks.", ".")
        for stage in range(1, 4):
            key = key.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
        key = key.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        renamed[key.replace("head.norm.", "norm.").replace("head.fc.", "head.")] = value
    return renamed


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
def test_convnext_as_its_authors_name_it(prefix: str, tmp_path: Path) -> None:
    state = trained("convnext_atto").state_dict()
    theirs = to_meta(state)
    assert "downsample_layers.1.1.weight" in theirs
    content = {"model": prefixed(theirs, prefix)}
    assert_loaded(load_model("convnext_atto", save(content, tmp_path / "file.pth")), state)


def test_vgg_as_torchvision_names_it() -> None:
    """Shapes and names alone: half a gigabyte otherwise."""
    with torch.device("meta"):
        ours, theirs = timm.create_model("vgg11"), torchvision.models.vgg11()
    renamed = timm_filter(dict(theirs.state_dict()), ours)
    assert {key: value.shape for key, value in renamed.items()} == {
        key: value.shape for key, value in ours.state_dict().items()
    }


def test_efficientnet_with_squeeze_and_excitation(tmp_path: Path) -> None:
    """As EfficientNet-PyTorch names it."""
    state = trained("tf_efficientnet_b0").state_dict()
    blocks = {}
    places = [f"{s}.{b}" for s, n in enumerate((1, 2, 2, 3, 3, 4, 1)) for b in range(n)]
    names = [
        *(("conv_pwl", "_project_conv"), ("conv_pw", "_expand_conv"), ("bn3", "_bn2")),
        *(("bn2", "_bn1"), ("bn1", "_bn0"), ("conv_dw", "_depthwise_conv")),
        *(("se.conv_reduce", "_se_reduce"), ("se.conv_expand", "_se_expand")),
    ]
    first = [
        *(("conv_pw", "_project_conv"), ("bn2", "_bn2"), ("bn1", "_bn1")),
        *(("conv_dw", "_depthwise_conv"),),
        *(("se.conv_reduce", "_se_reduce"), ("se.conv_expand", "_se_expand")),
    ]
    outside = [("conv_stem", "_conv_stem"), ("bn1", "_bn0"), ("conv_head", "_conv_head")]
    outside += [("bn2", "_bn1"), ("classifier", "_fc")]
    for key, value in state.items():
        if key.startswith("blocks."):
            _, stage, block, rest = key.split(".", 3)
            number = places.index(f"{stage}.{block}")
            own, other = next(
                pair for pair in (first if number == 0 else names) if rest.startswith(pair[0] + ".")
            )
            blocks[f"_blocks.{number}.{other}{rest.removeprefix(own)}"] = value
        else:
            own, other = next(pair for pair in outside if key.startswith(pair[0] + "."))
            blocks[other + key.removeprefix(own)] = value
    model = load_model("tf_efficientnet_b0", save(blocks, tmp_path / "file.pth"))
    assert_loaded(model, state)
    blocks["_blocks.3._other.weight"] = torch.ones(1)
    with pytest.raises(ErfToolsError, match=r"unexpected \(blocks\.\d\.\d\._other"):
        load_model("tf_efficientnet_b0", save(blocks, tmp_path / "file.pth"))


# What is refused, and what is said.


def with_value(key: str, change: Callable[[Tensor], Any]) -> Callable[[State], State]:
    return lambda state: {**state, key: change(state[key].clone())}


def poisoned(value: Tensor) -> Tensor:
    value.flatten()[3] = float("nan")
    return value


REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "int8": (
        with_value("conv1.0.weight", lambda v: v.to(torch.int8)),
        r"another kind of number \(conv1.0.weight int8 instead of float32\)",
    ),
    "bool": (with_value("fc.bias", lambda v: v > 0), "fc.bias bool instead of float32"),
    "complex": (with_value("fc.bias", lambda v: v + 0j), "fc.bias complex64 instead of float32"),
    "NaN": (with_value("conv1.0.weight", poisoned), r"not finite.*1 tensors \(conv1.0.weight\)"),
    "infinity": (
        with_value("bn1.running_var", lambda v: v / 0),
        r"not finite.*\(bn1.running_var\): the training diverged",
    ),
    "sparse": (with_value("fc.weight", lambda v: v.to_sparse()), "fc.weight is sparse.*to_dense"),
    "8 bits": (
        with_value("fc.weight", lambda v: v.to(torch.float8_e4m3fn)),
        "fc.weight is quantised: save the floating-point network",
    ),
    "quantised": (
        with_value("fc.weight", lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8)),
        "fc.weight is quantised: save the floating-point network",
    ),
    "no state dict": (
        lambda s: {"epoch": 3, "optimizer": {"param_groups": {"lr": 0.1}}, "config": {"a": 1}},
        "keys that hold dictionaries or lists are: optimizer, config, optimizer.param_groups",
    ),
    "two that fit": (
        lambda s: {"generator": s, "other": zeros(s)},
        "2 state dicts that fit.*'generator'.*'other'.*save the one that is meant",
    ),
    "two prefixes that fit": (
        lambda s: {**prefixed(s, "encoder_q."), **prefixed(zeros(s), "encoder_k.")},
        "2 networks that fit, under encoder_q., encoder_k.",
    ),
    "another network": (
        lambda s: {"model": {"a.weight": torch.ones(2)}, "optimizer": {"x": {"y": torch.ones(1)}}},
        r"does not fit the network: keys \d+ missing.*hold dictionaries are model, optimizer",
    ),
    "ZeRO-3": (
        lambda s: deepspeed({key: torch.empty(0) for key in s}),
        r"holds no values: DeepSpeed \(ZeRO\) has divided them.*run the zero_to_fp32.py",
    ),
    "ZeRO's optimiser": (
        lambda s: {"optimizer_state_dict": {"groups": [torch.ones(9)]}, "ds_version": "0.19"},
        "holds no values: DeepSpeed",
    ),
    "parallel in the model": (
        lambda s: deepspeed(s, mp_world_size=4),
        r"holds one of 4 parts of a network \(DeepSpeed",
    ),
    "a list": (lambda s: [1, 2, 3], "holds no state dict"),
    "a number": (lambda s: 3.5, "holds no state dict; it is a float"),
    "NumPy objects": (
        lambda s: {"model": s, "names": np.array(["a", None], dtype=object)},
        "NumPy values of the type 'O8'",
    ),
}


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor")
@pytest.mark.parametrize("fault", REFUSED)
def test_it_is_refused_with_what_it_holds(fault: str, state: State, tmp_path: Path) -> None:
    make, said = REFUSED[fault]
    with pytest.raises(ErfToolsError, match=said) as caught:
        load_model(NAME, save(make(state), tmp_path / "file.pth"))
    assert "\n" not in str(caught.value)


def as_bytes(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        entry = tarfile.TarInfo("file.pth")
        entry.size = len(content)
        packed.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)), buffer)
    return buffer.getvalue()


def exported() -> bytes:
    buffer = io.BytesIO()
    program = torch.export.export(nn.Conv2d(3, 4, 3).eval(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, buffer)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weight=np.ones(3))
    return buffer.getvalue()


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is empty; fetch or save it again"),
    "web page": (lambda: b"\n<!DOCTYPE html><html>Quota exceeded</html>", "is a web page"),
    "Git LFS pointer": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "is a Git LFS pointer.*git lfs pull",
    ),
    "gzip": (lambda: gzip.compress(as_bytes({"a": torch.ones(1)})), "compressed with gzip; unpack"),
    "tar": (lambda: tar(as_bytes({"a": torch.ones(1)})), "is a tar archive; unpack"),
    "zip": (lambda: archive(weights=b"abc"), "is a zip archive, not weights"),
    "zipped again": (
        lambda: archive(file__data__pkl=b"", **{"file__data.pkl": bytes(10_000)}),
        "was compressed after torch.save wrote it",
    ),
    "npz": (npz, "is a NumPy archive"),
    "npy": (lambda: b"\x93NUMPY\x01\x00", "is a NumPy array"),
    "Keras": (lambda: b"\x89HDF\r\n\x1a\n", "HDF5"),
    "settings": (lambda: b'{"architectures": ["resnet18"]}', "is JSON, not weights"),
    "TorchScript": (scripted, "is a TorchScript archive, which holds code; save the state dict"),
    "torch.export": (exported, "is a torch.export program; save the state dict"),
    "cut off": (lambda: as_bytes({"a": torch.ones(100)})[:-300], "cut off or damaged"),
    "whole module": (
        lambda: as_bytes(nn.Linear(2, 2)),
        r"\(torch.nn.modules.linear.Linear\).*state",
    ),
    "plain pickle": (lambda: pickle.dumps({"a": np.ones(2)}, 2), "cannot be read|holds more than"),
    "a pickle of nothing": (lambda: b"\x80\x02.", "cannot be read as weights; it is cut off"),
    "text": (lambda: b"hello", "cannot be read as weights|is no PyTorch file"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("kind", FILES)
def test_other_files_are_told_by_their_content(kind: str, tmp_path: Path) -> None:
    make, said = FILES[kind]
    path = tmp_path / "weights.pth"
    path.write_bytes(make())
    with pytest.raises(ErfToolsError, match=said) as caught:
        read_checkpoint(path)
    for advice in ("weights_only", "add_safe_globals", "\n"):
        assert advice not in str(caught.value)


def test_places_that_are_no_files(state: State, tmp_path: Path, run_command: Command) -> None:
    save(state, tmp_path / "model.pth")
    with pytest.raises(UsageError, match=r"is a folder; give a file in it \(model.pth\)"):
        load_model(NAME, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UsageError, match="no regular file"):
            load_model(NAME, place)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_flipped_bit_is_found(place: float, state: State, tmp_path: Path) -> None:
    path = save(state, tmp_path / "file.pth")
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 4
    path.write_bytes(content)
    with pytest.raises(ErfToolsError, match="damaged"):
        load_model(NAME, path)


def test_depth_and_size_are_bounded(state: State, tmp_path: Path) -> None:
    deep: State = state
    for _ in range(100):
        deep = {"model": deep}
    with pytest.raises(ErfToolsError, match="holds no state dict"):
        load_model(NAME, save(deep, tmp_path / "deep.pth"))
    loop: State = {}
    loop["model"], loop["list"] = loop, [loop]
    with pytest.raises(ErfToolsError, match="holds no state dict"):
        load_model(NAME, save(loop, tmp_path / "loop.pth"))


# Nothing in a file is run.


class Attack:
    """Pickled as a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def attacks(mark: Path) -> list[Any]:
    text = f"open({str(mark)!r}, 'w')"
    return [
        Attack(os.system, f"touch {mark}"),
        Attack(eval, text),
        Attack(exec, text),
        Attack(Path.touch, mark),
        Attack(open, str(mark), "w"),
        Attack(getattr, Path(), "touch"),
        Attack(np.save, str(mark), 1),
        Attack(np.fromfile, str(mark)),
        Attack(argparse.FileType("w"), str(mark)),
        Attack(torch.load, str(mark)),
        Attack(torch.hub.load_state_dict_from_url, "https://127.0.0.1:9/x"),
    ]


@pytest.mark.parametrize("number", range(11))
@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_is_run(number: int, legacy: bool, state: State, tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "file.pth"
    for content in (
        attacks(mark)[number],
        {"state_dict": state, "args": argparse.Namespace(hook=attacks(mark)[number])},
    ):
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(ErfToolsError, match="can run code"):
            read_checkpoint(path)
        assert not mark.exists()


def test_numpys_own_types_are_not_changed_by_a_file(state: State, tmp_path: Path) -> None:
    class Twisted:
        """The type of all float64, with its bytes the other way round."""

        def __reduce__(self) -> Any:
            swapped = (3, ">", None, None, None, -1, -1, 0)
            return np.dtype, ("f8", False, False), swapped

    path = save({"model": state, "metric": Twisted()}, tmp_path / "file.pth")
    assert_loaded(load_model(NAME, path), state)
    assert np.dtype("f8").isnative
    assert np.frombuffer(np.float64(1.5).tobytes(), "f8")[0] == 1.5
