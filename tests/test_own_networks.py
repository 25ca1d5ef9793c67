"""Networks of every kind, by a name or a few lines: what takes other inputs, or gives images."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from erf_tools import as_model, effective_receptive_field, load_model, merge
from erf_tools.cli import main
from erf_tools.erf.procedure import Procedure
from erf_tools.errors import ErfToolsError, UsageError
from erf_tools.features.channels import taking_rgb
from erf_tools.features.taps import Tap
from erf_tools.models.digests import state_sha256
from erf_tools.models.model import Model
from erf_tools.models.requests import Request
from erf_tools.report.commands import erf_command
from erf_tools.studies.requested import expected_setting
from erf_tools.sweep.plan import network_identity

#: A file of a user's: a U-Net, a network that enlarges images, and one that compares two.
FILE = '''
import torch
from torch import nn
from torch.nn import functional as F


class UNet(nn.Module):
    """Down, up, and what was left on the way beside it."""

    def __init__(self, width=4):
        super().__init__()
        self.down = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(width, width, 3, padding=1)
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.out = nn.Conv2d(width + 3, 2, 1)

    def forward(self, images):
        deep = self.deep(self.down(images).relu()).relu()
        return {"masks": self.out(torch.cat([self.up(deep), images], dim=1)), "depth": 1}


class Enlarging(nn.Module):
    """Twice the size, by pixels made of channels."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 12, 5, padding=2)

    def forward(self, images):
        return F.pixel_shuffle(self.body(images), 2)


class Comparing(nn.Module):
    """What two images differ in."""

    def __init__(self):
        super().__init__()
        self.of_both = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, before, after):
        return self.of_both(torch.cat([before, after], dim=1))


class WithFixedSecond(nn.Module):
    """The adapter of the documentation: one input is measured, the other stays."""

    def __init__(self, network, second):
        super().__init__()
        self.network = network
        self.register_buffer("second", second)

    def forward(self, images):
        second = F.interpolate(self.second, images.shape[-2:])
        return self.network(images, second.expand(len(images), -1, -1, -1))


def unet(width=4):
    torch.manual_seed(0)
    return UNet(width)


def enlarging():
    torch.manual_seed(0)
    return Enlarging()


def comparing():
    torch.manual_seed(0)
    return WithFixedSecond(Comparing(), torch.zeros(1, 3, 32, 32))


def grey():
    torch.manual_seed(0)
    return nn.Conv2d(1, 2, 3, padding=1)


def listing(sizes, kind="plain"):
    torch.manual_seed(0)
    return nn.Conv2d(3, sum(sizes), 3) if kind in ("a,b", "a&b") else None
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my networks.py"
    path.write_text(FILE)
    return path


def _run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["erf-tools", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.usefixtures("no_drawing")
def test_a_unet_from_a_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its output is a dictionary; the field of a unit is 3 + 2 * 2 wide, or 8 with both strides."""
    result = effective_receptive_field(
        load_model(f"{file}:unet?width=6"), num_images=1, resolution=32
    )
    assert result.setting["model"]["parameters"] == sum(
        parameter.numel() for parameter in load_model(f"{file}:unet?width=6").module.parameters()
    )
    rows, columns = np.nonzero(result.map)
    assert (np.ptp(rows), np.ptp(columns)) == (6, 6)
    output = tmp_path / "out"
    words = ["erf", "--model", f"{file}:unet?width=6,{file}:enlarging", "--resolution", "32"]
    words += ["--num-images", "1", "--output", str(output)]
    assert _run(monkeypatch, *words) == 0
    assert "unet" in capfd.readouterr().out
    assert len(list(output.glob("*/erf.npz"))) == 2
    command = erf_command(result)
    assert command is not None
    assert f"'{file}:unet?width=6'" in command


def test_a_tap_that_replaces_the_default_one_is_recorded_as_what_it_is() -> None:
    model, choices = load_model("resnet18", "random"), {"num_images": 1, "resolution": 64}
    asked = effective_receptive_field(model, layer="layer2", **choices)
    other = replace(model, tap=Tap("layer2"))
    result = effective_receptive_field(other, **choices)
    np.testing.assert_array_equal(result.map, asked.map)
    assert result.setting == asked.setting
    assert result.setting["tap"]["default"] is False
    assert erf_command(result) == erf_command(asked)
    assert "--layer layer2" in str(erf_command(result))
    assert result.label == asked.label != result.network_label
    assert list(result.to_frame()["default_layer"]) == [False]
    assert expected_setting(other, other.tap, Procedure())["tap"]["default"] is False
    again = effective_receptive_field(replace(other, tap=model.tap), **choices)
    assert again.setting == effective_receptive_field(model, **choices).setting
    assert again.setting["tap"]["default"] is True


def test_the_centre_of_an_image_that_is_enlarged(file: Path) -> None:
    """A pixel of the output at twice the size sees 5 x 5 pixels of the input."""
    result = effective_receptive_field(load_model(f"{file}:enlarging"), num_images=1, resolution=32)
    assert result.setting["feature_map"] == [3, 64, 64]
    rows, columns = np.nonzero(result.map)
    assert (np.ptp(rows), np.ptp(columns)) == (4, 4)
    assert result.setting["receptive_field"]["stride"] == [0.5, 0.5]


def test_the_second_of_two_images_stays(file: Path) -> None:
    """With zeros for the second, the first is seen as through its own half of the weights."""
    both = load_model(f"{file}:comparing")
    alone = torch.nn.Conv2d(3, 2, 3, padding=1)
    with torch.no_grad():
        kernel = both.module.network.of_both.weight[:, :3]  # type: ignore[union-attr, index]
        alone.weight.copy_(kernel)
        alone.bias.copy_(both.module.network.of_both.bias)  # type: ignore[union-attr, arg-type]
    maps = [
        effective_receptive_field(model, num_images=2, resolution=32).map
        for model in (both, as_model(alone))
    ]
    np.testing.assert_allclose(*maps, rtol=1e-6)


@pytest.mark.parametrize("gradient", ["relu", "abs", "signed"])
def test_a_network_of_one_channel(file: Path, gradient: str) -> None:
    """Equal to the gradient of the one channel, which is taken by hand."""
    model = load_model(f"{file}:grey", channels=1)
    found = effective_receptive_field(model, num_images=1, resolution=32, gradient=gradient)
    from erf_tools.images import select

    (image,) = select("builtin", 1).images
    grey = load_model(f"{file}:grey").module
    from erf_tools.erf.procedure import Procedure
    from erf_tools.images import PixelStore
    from erf_tools.kernels.devices import normalise

    view = Procedure(resolution=32).view(model.preprocessing)
    pixels = np.stack(list(PixelStore(0).decode([image], view)))
    own = model.preprocessing
    rgb = normalise(pixels, own.mean, own.std, torch.device("cpu"), torch.float32)
    luminance = torch.tensordot(rgb, torch.tensor([0.299, 0.587, 0.114]), dims=([1], [0]))[:, None]
    luminance.requires_grad_()
    grey(luminance)[0, :, 16, 16].relu().sum().backward()
    assert luminance.grad is not None
    expected = luminance.grad[0, 0].double().numpy()
    seen = {"relu": np.maximum(expected, 0), "abs": abs(expected), "signed": expected}[gradient]
    np.testing.assert_allclose(found.map, abs(seen), atol=1e-6 * abs(seen).max())


@pytest.mark.parametrize("channels", [1, 4])
def test_networks_of_timm_for_other_channels(channels: int) -> None:
    """Stages are reached as ever, and the network that was given is as it was."""
    model = load_model("timm:resnet18", "random", channels=channels)
    assert model.record()["arguments"]["channels"] == channels
    images = torch.randn(2, 3, 64, 64)
    luminance = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    own = luminance if channels == 1 else torch.cat([images, luminance], dim=1)
    with torch.no_grad():
        assert torch.allclose(model.module(images), model.module(own), atol=1e-5)
        given = timm.create_model("resnet18", in_chans=channels).eval()
        adapted = taking_rgb(given, channels)
        assert torch.allclose(adapted.forward_features(images), given.forward_features(own))
    assert type(given) is timm.models.resnet.ResNet
    assert [name for name, _ in adapted.named_modules()] == [n for n, _ in given.named_modules()]
    result = effective_receptive_field(model, num_images=1, resolution=64)
    assert "--channels" in (erf_command(result) or "")
    assert result.setting["tap"]["path"] == "forward_intermediates"


@pytest.mark.usefixtures("no_drawing")
def test_commands_take_other_channels(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["erf", "--model", f"{file}:grey", "--resolution", "32", "--num-images", "1"]
    words += ["--output", str(tmp_path / "out")]
    assert _run(monkeypatch, *words) == 1
    assert "give --channels 1 or 4" in capfd.readouterr().err
    assert _run(monkeypatch, *words, "--channels", "1") == 0
    assert _run(monkeypatch, *words, "--channels", "2") == 2
    assert "it is 1, 3 or 4" in capfd.readouterr().err


def test_values_of_arguments_are_json(file: Path) -> None:
    for kind in ("a,b", "a&b"):
        model = load_model(f'{file}:listing?sizes=[1,2]&kind="{kind}"')
        assert model.module.out_channels == 3
    for query, said in [
        ("sizes=[1", "is no argument"),
        ("sizes=__import__('os')", "is no argument"),
        ("sizes", "is no argument"),
        ("si zes=1", "is no argument"),
        ("sizes=[1]&sizes=[2]", "given twice"),
        ("sizes=[1]kind=2", "is no argument"),
    ]:
        with pytest.raises(UsageError, match=said):
            load_model(f"{file}:listing?{query}")


def test_a_field_is_found_where_nothing_has_imported_timm(file: Path) -> None:
    """What torch itself imports when it first runs is not taken for the network's doing."""
    code = (
        "from erf_tools import as_model\n"
        "from erf_tools.models.layers import describe_layers\n"
        "from torch import nn\n"
        "net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))\n"
        "print(*[layer.field.in_words for layer in describe_layers(as_model(net))])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "3 3 5"


def test_files_of_one_name_are_told_apart(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / file.name
    other.parent.mkdir()
    shutil.copy(file, other)
    other.write_text(other.read_text().replace("manual_seed(0)", "manual_seed(1)"))
    digests = {load_model(f"{place}:unet").weights.sha256 for place in (file, other)}
    assert len(digests) == 2
    with pytest.raises(UsageError, match="there is no file"):
        load_model(f"{tmp_path}/absent.py:unet")


@pytest.mark.parametrize("place", ["nets.py", "nets"])
def test_edited_code_is_another_network(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are the same, what is done with them is not; in one process as in two."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    code = (
        "from torch import nn\n\nclass Net(nn.Conv2d):\n    pass\n\n"
        "def build():\n    net = Net(3, 2, 1)\n    nn.init.ones_(net.weight)\n"
        "    nn.init.zeros_(net.bias)\n    return nn.Sequential(net, nn.ReLU())\n"
    )
    path = tmp_path / "nets.py"
    path.write_text(code)
    first = load_model(f"{place}:build")
    planned = [network_identity(Request(f"{place}:build"))]
    path.write_text(code.replace("ReLU", "GELU"))
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    second = load_model(f"{place}:build")
    assert first.weights.sha256 == second.weights.sha256
    assert first.record() != second.record()
    if place.endswith(".py"):
        assert isinstance(second.module[1], torch.nn.GELU)
    planned.append(network_identity(Request(f"{place}:build")))
    assert planned[0] != planned[1]


def test_the_code_of_parts_counts(tmp_path: Path) -> None:
    (tmp_path / "parts_of_it.py").write_text("from torch import nn\n\nclass Part(nn.ReLU): pass\n")
    (tmp_path / "of_parts.py").write_text("from parts_of_it import Part\n\nbuild = Part\n")
    name = f"{tmp_path}/of_parts.py:build"
    before = load_model(name).arguments
    (tmp_path / "parts_of_it.py").write_text("from torch import nn\n\nclass Part(nn.GELU): pass\n")
    after = load_model(name)
    assert after.arguments != before
    assert isinstance(after.module, torch.nn.GELU)


def _write(folder: Path, **files: str) -> str:
    """Write files of code and return the name of the factory ``build`` in ``net``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, code in files.items():
        (folder / f"{name}.py").write_text(f"import torch\nfrom torch import nn\n{code}")
    return f"{folder / 'net.py'}:build"


def _kernel(model: Model) -> int:
    return max(part.shape[-1] for part in model.module.parameters() if part.ndim == 4)


BLOCK = "def block(): return nn.Conv2d(3, 8, {side}, padding={side} // 2)\n"


@pytest.mark.parametrize(
    ("module", "imported", "called"),
    [
        ("layers", "from layers import block\n", "block()"),
        ("layers", "", "__import__('layers').block()"),
        ("parts/layers", "from parts import layers\n", "layers.block()"),
    ],
)
def test_each_network_has_its_own_modules_of_one_name(
    tmp_path: Path, module: str, imported: str, called: str
) -> None:
    """Two copies of a project, in turn and in every order."""
    names = {}
    for side in (5, 15):
        code = {"net": f"{imported}def build(): return {called}\n"}
        (tmp_path / str(side) / module).parent.mkdir(parents=True)
        names[side] = _write(tmp_path / str(side), **code, **{module: BLOCK.format(side=side)})
    for side in (5, 15, 5, 5, 15):
        assert _kernel(load_model(names[side])) == side
    digests = {load_model(name).arguments["code_sha256"] for name in names.values()}
    assert len(digests) == 2


def test_a_module_that_several_networks_have_is_not_imported_while_one_runs(tmp_path: Path) -> None:
    net = (
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        import late\n"
        "    def forward(self, x):\n        import late\n        return late.{called}(x)\n"
        "def build(): return Net()\n"
    )
    act = {"late": "def act(x): return x.{}()\n"}
    first = _write(tmp_path / "a", net=net.format(called="act"), late=act["late"].format("relu"))
    other = _write(tmp_path / "b", net=net.format(called="act"), late=act["late"].format("neg"))
    x = torch.ones(1)
    model = load_model(first)
    assert model.module(x) == 1
    load_model(other)
    with pytest.raises(ErfToolsError, match="different modules of the name 'late'"):
        model.module(x)


def test_what_was_edited_is_imported_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the user has imported it, and where it is read by code that was not edited."""
    code = "from layers import block\ndef build(): return block()\n"
    name = _write(tmp_path, net=code, layers=BLOCK.format(side=3))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    __import__("layers")
    seen = []
    for side in (3, 5, 3):
        (tmp_path / "layers.py").write_text(
            f"from torch import nn\n{BLOCK.format(side=side)}"  # of the same length
        )
        model = load_model(name)
        assert _kernel(model) == side
        seen.append(model.arguments["code_sha256"])
    assert seen[0] == seen[2] != seen[1]


#: Files of a network, and what to write in place of what: each makes it compute something else.
EDITS = {
    "a method of a base class": (
        {
            "net": "from base import Base\nclass Net(Base): pass\ndef build(): return Net()\n",
            "base": "class Base(nn.Module):\n    def forward(self, x): return x.relu()\n",
        },
        ("base.py", "relu", "tanh"),
    ),
    "a function in another file": (
        {
            "net": "import helper\nclass Net(nn.Module):\n"
            "    def forward(self, x): return helper.act(x)\ndef build(): return Net()\n",
            "helper": "from deeper import act\n",
            "deeper": "def act(x): return x.relu()\n",
        },
        ("deeper.py", "relu", "tanh"),
    ),
    "what a factory reads": (
        {
            "net": "import json, pathlib\ndef build():\n"
            "    read = pathlib.Path(__file__).with_name('sett' + 'ings.json').read_text()\n"
            "    return nn.LeakyReLU(json.loads(read)['slope'])\n",
        },
        ("settings.json", "1", "2"),
    ),
    "what a file reads when it is imported": (
        {
            "net": "import json, pathlib\n"
            "READ = json.loads(pathlib.Path(__file__).with_name('settings.json').read_text())\n"
            "class Net(nn.Module):\n    def forward(self, x): return x * READ['slope']\n"
            "def build(): return Net()\n",
        },
        ("settings.json", "1", "2"),
    ),
    "a table that is no parameter": (
        {
            "net": "import json, pathlib\ndef build():\n    net = nn.Conv2d(3, 3, 1)\n"
            "    read = pathlib.Path(__file__).with_name('settings.json').read_text()\n"
            "    slope = torch.tensor(float(json.loads(read)['slope']))\n"
            "    net.register_buffer('slope', slope, persistent=False)\n    return net\n",
        },
        ("settings.json", "1", "2"),
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_all_that_decides_a_network_is_in_its_record(tmp_path: Path, edit: str) -> None:
    """The weights are the same, or there are none."""
    code, (file, before, after) = EDITS[edit]
    name = _write(tmp_path, **code)
    (tmp_path / "settings.json").write_text('{"slope": 1}')

    def decided() -> dict[str, Any]:
        record = load_model(name).record()
        return {key: record[key] for key in ("arguments", "network_sha256")}

    first = decided()
    assert decided() == first
    (tmp_path / "elsewhere").mkdir()
    copied = shutil.copytree(
        tmp_path, tmp_path / "elsewhere" / "copy", ignore=lambda *_: ["elsewhere"]
    )
    edited = tmp_path / file
    edited.write_text(edited.read_text().replace(before, after))
    assert decided() != first
    name = f"{copied}/net.py:build"
    assert decided() == first  # the same code in another place


def test_networks_of_notebooks_are_told_apart_by_what_they_do() -> None:
    """One class written twice, a hook, a number, a table; and one network as it was before."""

    def network(slope: float = 1.0, code: str = "x * scale") -> torch.nn.Module:
        space: dict[str, Any] = {"nn": torch.nn, "scale": 2.0, "__name__": "__main__"}
        exec(f"class Net(nn.Module):\n    def forward(self, x): return {code}", space)
        made: torch.nn.Module = space["Net"]()
        made.slope = slope  # type: ignore[assignment]
        made.forward.__func__.__globals__["scale"] = slope  # type: ignore[attr-defined]
        return made

    def digest(module: torch.nn.Module) -> str:
        found: str = as_model(module).record()["network_sha256"]
        return found

    hooked = network()
    hooked.register_forward_hook(lambda _module, _inputs, output: output + 1)
    others = [network(2.0), network(code="x + scale"), hooked]
    digests = {digest(each) for each in (network(), network(), *others)}
    assert len(digests) == 1 + len(others)
    relu, leaky = torch.nn.ReLU(), torch.nn.LeakyReLU(0.9)
    assert digest(torch.nn.Sequential(relu)) != digest(torch.nn.Sequential(leaky))


class _OfThreeWithin(torch.nn.Module):
    """Hands features of three channels to a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(1, 3, 1), torch.nn.Conv2d(3, 4, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_features(self.first(images))

    def forward_features(self, features: torch.Tensor) -> torch.Tensor:
        return self.last(features)


class _SetForward(torch.nn.Module):
    """Chooses how it is called when it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 3, 1)
        self.forward = self.forward_plainly

    def forward_plainly(self, images: torch.Tensor) -> torch.Tensor:
        return self.first(images)


@pytest.mark.parametrize("kind", [_OfThreeWithin, _SetForward])
def test_images_alone_are_converted(kind: type[torch.nn.Module]) -> None:
    network, images = kind(), torch.randn(1, 3, 4, 4)
    luminance = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    with torch.no_grad():
        assert torch.allclose(taking_rgb(network, 1)(images), network(luminance), atol=1e-6)


def test_the_wrong_number_of_channels_is_told() -> None:
    with pytest.raises(ErfToolsError, match="give the right --channels"):
        effective_receptive_field(
            as_model(torch.nn.Conv2d(3, 4, 1), channels=1), num_images=1, resolution=32
        )


def test_a_network_whose_weights_were_changed_is_another(tmp_path: Path) -> None:
    """In place, as training does it; and back again."""
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
    models = [as_model(module), load_model("resnet18", "random")]
    torch.save(module.state_dict(), tmp_path / "own.pth")
    code = "def build(): return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())\n"
    models.append(load_model(_write(tmp_path, net=code), tmp_path / "own.pth"))
    for model in models:
        before = model.record()["weights"]
        assert before == _described(model)
        weight = next(model.module.parameters())
        weight.data.mul_(2)  # which torch does not count as a change
        after = model.record()["weights"]
        assert after["sha256"] == state_sha256(model.module) != before["sha256"]
        assert (after["label"], after["kind"]) == ("as given", "given")
        weight.data.div_(2)
        assert model.record()["weights"] == before
    first = effective_receptive_field(models[0], images="builtin", num_images=1, resolution=32)
    next(module.parameters()).data.neg_()
    other = effective_receptive_field(models[0], images="builtin", num_images=2, resolution=32)
    with pytest.raises(UsageError, match="differ in model"):
        merge([first, other])


def _described(model: Model) -> dict[str, Any]:
    """Return what a record says of the weights that a network was described with."""
    notes = list(model.weights.notes)
    return {**vars(model.weights), "notes": notes, "label": model.weights.label}
