"""Fast depthwise convolutions against torch's own."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from erf_tools.features.behaviour import Behaviour, watched
from erf_tools.kernels import banded, choosing, depthwise, fourier
from erf_tools.kernels.depthwise import DepthwiseConv2d, exact_dependency

ALGORITHMS = ("plain", "other layout", "transposed", "fft")
FORMATS = (torch.contiguous_format, torch.channels_last)

# Images, channels, height, width, kernel height, kernel width.
SHAPES = (
    (1, 3, 16, 16, 3, 3),
    (3, 2, 11, 18, 9, 9),
    (1, 4, 15, 13, 13, 13),
    (3, 3, 24, 35, 15, 15),
    (1, 2, 7, 9, 31, 31),
    (1, 2, 1, 5, 7, 5),
    (2, 1, 33, 20, 21, 5),
)


def _tolerance(dtype: torch.dtype) -> float:
    return {torch.float64: 1e-12, torch.float32: 1e-6}.get(dtype, 2e-2)


def _assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert (actual.double() - expected).norm() <= tolerance * expected.norm()


def _make(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    images, channels, height, width, *kernel = shape
    conv = DepthwiseConv2d(
        channels,
        channels,
        (kernel[0], kernel[1]),
        padding=(kernel[0] // 2, kernel[1] // 2),
        groups=channels,
    )
    return conv.to(dtype), torch.randn(images, channels, height, width, dtype=dtype)


def _reference(conv: nn.Conv2d, features: Tensor, gradient: Tensor) -> list[Tensor]:
    """Return torch's result in float64, and the gradients to input, weight and bias."""
    own = [t.detach().double().requires_grad_() for t in (features, conv.weight, conv.bias)]
    padding = (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)
    out = F.conv2d(*own, padding=padding, groups=conv.groups)
    return [out.detach(), *torch.autograd.grad(out, own, gradient.double())]


def _compare(conv: DepthwiseConv2d, features: Tensor) -> None:
    gradient = torch.randn_like(features)
    features = features.detach().requires_grad_()
    out = conv(features)
    assert out.stride() == features.stride()
    inputs = (features, conv.weight, conv.bias)
    actual = [out.detach(), *torch.autograd.grad(out, inputs, gradient)]
    tolerance = _tolerance(features.dtype)
    expected = _reference(conv, features, gradient)
    for ours, theirs in zip(actual[:2], expected[:2], strict=True):
        _assert_close(ours, theirs, tolerance)
    # Those to weight and bias are torch's own, sums over all pixels, and lose a digit there.
    tolerance *= 10 if features.dtype == torch.float32 else 1
    for ours, theirs in zip(actual[2:], expected[2:], strict=True):
        _assert_close(ours, theirs, tolerance)


def _force(monkeypatch: pytest.MonkeyPatch, algorithm: str) -> None:
    monkeypatch.setattr(depthwise, "cpu_algorithm", lambda *_: algorithm)


def _forbid_fft(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Tensor:
        raise AssertionError("the FFT was used")

    monkeypatch.setattr(fourier, "convolve", refuse)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_is_torchs_convolution(
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> None:
    _force(monkeypatch, algorithm)
    conv, features = _make(shape, dtype)
    _compare(conv, features.contiguous(memory_format=memory_format))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("side", [3, 9, 13, 15, 31])
def test_the_rule_holds_at_every_size(
    side: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    conv, features = _make((1, 2, 66, 64, side, side), dtype)
    _compare(conv, features.contiguous(memory_format=memory_format))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", [(51, 5), (5, 51), (21, 3), (5, 13), (13, 5)])
def test_the_rule_holds_for_strips(
    kernel: tuple[int, int], dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    for channels, side in ((3, 40), (16, 20)):
        conv, features = _make((1, channels, side, side, *kernel), dtype)
        _compare(conv, features.contiguous(memory_format=memory_format))


@settings(deadline=None, max_examples=60)
@given(
    images=st.integers(1, 3),
    channels=st.integers(1, 4),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    kernel=st.tuples(st.integers(0, 15), st.integers(0, 15)),
    algorithm=st.sampled_from(ALGORITHMS),
    memory_format=st.sampled_from(FORMATS),
)
def test_any_shape_is_torchs_convolution(
    images: int,
    channels: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    algorithm: str,
    memory_format: torch.memory_format,
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        _force(monkeypatch, algorithm)
        shape = (images, channels, *size, 2 * kernel[0] + 1, 2 * kernel[1] + 1)
        conv, features = _make(shape, torch.float64)
        _compare(conv, features.contiguous(memory_format=memory_format))


def test_the_fft_takes_channels_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, "fft")
    monkeypatch.setattr(fourier, "_CHUNK", 3 * 2 * 20 * 20)
    _compare(*_make((2, 7, 14, 14, 13, 13), torch.float64))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_gradients_are_derivatives(monkeypatch: pytest.MonkeyPatch, algorithm: str) -> None:
    _force(monkeypatch, algorithm)
    conv, features = _make((2, 2, 5, 4, 3, 7), torch.float64)
    # It perturbs weights through `data`, which goes unnoticed; products of them are new tensors.
    assert torch.autograd.gradcheck(
        lambda features, weight, bias: torch.func.functional_call(
            conv, {"weight": weight * 1, "bias": bias}, (features,)
        ),
        (features.requires_grad_(), conv.weight, conv.bias),
    )


@pytest.mark.parametrize("memory_format", FORMATS)
def test_cropped_and_expanded_tensors(memory_format: torch.memory_format) -> None:
    conv, features = _make((2, 3, 40, 40, 13, 13))
    cropped = features.contiguous(memory_format=memory_format)[:, :, 3:31, 5:38].requires_grad_()
    out = conv(cropped)
    assert out.is_contiguous(memory_format=memory_format)
    (ours,) = torch.autograd.grad(out.sum(), cropped)
    _assert_close(ours, _reference(conv, cropped, torch.ones_like(cropped))[1], 1e-6)


def test_frozen_weights_save_no_input() -> None:
    conv, features = _make((1, 2, 20, 20, 13, 13))
    conv.requires_grad_(False)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor
    ):
        conv(features.requires_grad_()).sum().backward()
    assert [tensor.shape for tensor in saved] == [conv.weight.shape]


def test_weights_alone_can_be_trained() -> None:
    conv, features = _make((1, 2, 64, 64, 31, 31))
    conv(features).square().sum().backward()
    _, _, weight, bias = _reference(conv, features, 2 * conv(features).detach())
    _assert_close(conv.weight.grad, weight, 1e-5)
    _assert_close(conv.bias.grad, bias, 1e-5)


def _optimise(conv: DepthwiseConv2d) -> None:
    conv.weight.grad = torch.ones_like(conv.weight)
    torch.optim.SGD(conv.parameters(), lr=0.1).step()


def _optimise_fused(conv: DepthwiseConv2d) -> None:
    conv.weight.grad = torch.ones_like(conv.weight)
    torch.optim.SGD(conv.parameters(), lr=0.1, fused=True).step()  # counts as no change


def _write_data(conv: DepthwiseConv2d) -> None:
    conv.weight.data.mul_(2)


def _write_as_array(conv: DepthwiseConv2d) -> None:
    conv.weight.numpy(force=True)[:] *= 2


def _load(conv: DepthwiseConv2d) -> None:
    conv.load_state_dict({name: value + 1 for name, value in conv.state_dict().items()})


def _change_in_place(conv: DepthwiseConv2d) -> None:
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] += 3


def _replace(conv: DepthwiseConv2d) -> None:
    # A new count of changes, at the old address.
    conv.weight = nn.Parameter(conv.weight.data.mul_(2))


def _replace_data(conv: DepthwiseConv2d) -> None:
    conv.weight.data = conv.weight.data * 2


def _convert(conv: DepthwiseConv2d) -> None:
    # The second tensor may get the address of the first.
    conv.half().float()


@pytest.mark.parametrize(
    "change",
    [
        _optimise,
        _optimise_fused,
        _write_data,
        _write_as_array,
        _load,
        _change_in_place,
        _replace,
        _replace_data,
        _convert,
    ],
)
def test_the_spectrum_follows_the_weight(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[DepthwiseConv2d], None]
) -> None:
    _force(monkeypatch, "fft")
    conv, features = _make((1, 2, 20, 20, 15, 15))
    _compare(conv, features)
    change(conv)
    _compare(conv, features)


def test_the_spectrum_is_kept_and_follows_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, "fft")
    conv, features = _make((1, 2, 20, 20, 15, 15))
    transforms = []
    transform = fourier.transform
    monkeypatch.setattr(
        fourier, "transform", lambda *args: transforms.append(args[1]) or transform(*args)
    )
    for _ in range(3):
        _compare(conv, features)
    assert transforms == [(20, 20)]
    _compare(conv, features[:, :, :12].contiguous())
    assert transforms == [(20, 20), (12, 20)]


def test_what_inference_mode_kept_serves_training(monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, "fft")
    conv, features = _make((1, 2, 20, 20, 15, 15))
    with torch.inference_mode():
        conv(features)
    _compare(conv, features)
    with torch.inference_mode():
        _assert_close(conv(features), nn.Conv2d.forward(conv, features), 1e-5)


def test_copies_and_files_leave_the_spectrum_out(monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, "fft")
    conv, features = _make((1, 2, 20, 20, 15, 15))
    out = conv(features)
    assert conv._spectrum is not None
    for twin in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert twin._spectrum is None
        assert torch.equal(twin(features), out)
        with torch.no_grad():
            twin.weight.zero_()
        _compare(twin, features + 0.5)
    assert torch.equal(conv(features), out)


def test_state_dicts_are_those_of_conv2d() -> None:
    conv, features = _make((1, 2, 20, 20, 15, 15))
    plain = nn.Conv2d(2, 2, 15, padding=7, groups=2)
    plain.load_state_dict(conv.state_dict())
    _assert_close(conv(features), plain(features).double(), 1e-6)
    conv.load_state_dict(nn.Conv2d(2, 2, 15, padding=7, groups=2).state_dict())
    plain.__class__ = DepthwiseConv2d
    _compare(plain, features)


@pytest.mark.parametrize(
    "arguments",
    [
        {"stride": 2, "padding": 3, "groups": 4},
        {"dilation": 2, "padding": 3, "groups": 4},
        {"padding": 3, "groups": 2},
        {"padding": 3},
        {"padding": 2, "groups": 4},
        {"padding": 3, "groups": 4, "padding_mode": "reflect"},
        {"kernel_size": 6, "padding": 3, "groups": 4},
        {"out_channels": 8, "padding": 3, "groups": 4},
    ],
)
def test_all_else_is_conv2d(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]) -> None:
    def refuse(*_: Any) -> Tensor:
        raise AssertionError("a fast algorithm was used")

    monkeypatch.setattr(depthwise, "_convolve", refuse)
    arguments = {"in_channels": 4, "out_channels": 4, "kernel_size": 7, **arguments}
    conv, plain = DepthwiseConv2d(**arguments), nn.Conv2d(**arguments)
    plain.load_state_dict(conv.state_dict())
    features = torch.randn(2, 4, 20, 20)
    assert torch.equal(conv(features), plain(features))


def test_inputs_that_only_conv2d_takes() -> None:
    conv, features = _make((1, 2, 20, 20, 15, 15))
    assert conv(features[0]).shape == (2, 20, 20)
    assert conv(features[:0]).shape == (0, 2, 20, 20)
    with pytest.raises(RuntimeError):
        conv(features.double())
    with pytest.raises(RuntimeError):
        conv(torch.randn(1, 3, 20, 20))
    assert conv.to("meta")(features.to("meta")).shape == (1, 2, 20, 20)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("side", [3, 13, 31])
def test_half_precision_never_reaches_the_fft(
    monkeypatch: pytest.MonkeyPatch, side: int, dtype: torch.dtype
) -> None:
    _forbid_fft(monkeypatch)
    conv, features = _make((1, 2, 64, 64, side, side), dtype)
    for memory_format in FORMATS:
        own = features.contiguous(memory_format=memory_format).requires_grad_()
        conv(own).sum().backward()
    assert "fft" not in choosing.candidates(features, conv.weight, False)


@pytest.mark.parametrize("side", [5, 13, 31])
def test_autocast_is_that_of_conv2d(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    _forbid_fft(monkeypatch)
    conv, features = _make((1, 2, 64, 64, side, side))
    features.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(features)
    assert out.dtype == torch.bfloat16
    out.backward(torch.ones_like(out))
    expected = _reference(conv, features, torch.ones_like(features))
    actual = (out.detach(), features.grad, conv.weight.grad, conv.bias.grad)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours is not None
        _assert_close(ours, theirs, 2e-2)
    assert features.grad is not None
    assert features.grad.dtype == conv.weight.grad.dtype == torch.float32


def test_a_backward_pass_under_autocast_keeps_its_precision() -> None:
    conv, features = _make((1, 2, 20, 20, 13, 13))
    out = conv(features.requires_grad_())
    with torch.autocast("cpu", torch.bfloat16):
        (ours,) = torch.autograd.grad(out, features, torch.ones_like(out))
    _assert_close(ours, _reference(conv, features, torch.ones_like(features))[1], 1e-6)


@pytest.mark.parametrize("side", [13, 31])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_without_gradients(mode: Callable[[], Any], side: int) -> None:
    conv, features = _make((1, 2, 64, 64, side, side))
    with mode():
        out = conv(features)
        _assert_close(out, conv.double()(features.double()), 1e-6)
    _compare(conv.float(), features)
    with torch.inference_mode():
        inside, _ = _make((1, 2, 64, 64, side, side))
        assert torch.equal(inside(features), out)


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("side", [7, 13, 31])
def test_exact_dependency_spreads_nan_as_torch_does(
    monkeypatch: pytest.MonkeyPatch, side: int, memory_format: torch.memory_format, onednn: bool
) -> None:
    _forbid_fft(monkeypatch)
    conv, features = _make((1, 2, 64, 40, side, side))
    features[:, :, 3, 5] = torch.nan
    features = features.contiguous(memory_format=memory_format).requires_grad_()
    gradient = torch.zeros_like(features)
    gradient[:, :, 60, 39] = torch.nan
    with torch.backends.mkldnn.flags(enabled=onednn), exact_dependency():
        out = conv(features)
    (ours,) = torch.autograd.grad(out, features, gradient)
    reach = side // 2
    for tensor, (row, column) in ((out, (3, 5)), (ours, (60, 39))):
        expected = torch.zeros(64, 40, dtype=torch.bool)
        expected[
            max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1
        ] = True
        assert torch.equal(tensor.isnan(), expected.expand(1, 2, 64, 40))


def test_exact_dependency_ends() -> None:
    conv, features = _make((1, 2, 64, 64, 31, 31))
    features[0, 0, 0, 0] = torch.nan
    with pytest.raises(ZeroDivisionError), exact_dependency():
        raise ZeroDivisionError
    # The FFT is used again, and fills the channel.
    assert conv(features).isnan().sum() == 64 * 64


class _Clock:
    """A CUDA event for machines without CUDA."""

    def __init__(self, enable_timing: bool) -> None:
        self.seconds = 0.0

    def record(self) -> None:
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: _Clock) -> float:
        return end.seconds - self.seconds


def test_the_fastest_that_is_right_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", _Clock)
    expected = torch.randn(1, 2, 8, 8)

    def sleep(seconds: float, out: Tensor) -> Tensor:
        time.sleep(seconds)
        return out

    def fail() -> Tensor:
        raise RuntimeError("no compiler")

    candidates = {
        "plain": lambda: sleep(0.02, expected),
        "wrong": lambda: 1.1 * expected,
        "not a number": lambda: expected / 0,
        "failing": fail,
        "right": lambda: sleep(0.002, expected * 1.001),
        "slower": lambda: sleep(0.01, expected),
    }
    assert choosing._fastest(candidates) == "right"


@pytest.mark.parametrize("tf32", [True, False])
def test_what_a_gpu_would_try(tf32: bool) -> None:
    conv, features = _make((1, 2, 20, 20, 15, 15))
    candidates = choosing.candidates(features, conv.weight, tf32)
    # Products that are rounded to TF32 only where that is allowed.
    assert "triton" not in candidates or tf32
    expected = candidates["plain"]()
    for name in candidates.keys() - {"triton"}:
        _assert_close(candidates[name](), expected.double(), 1e-6)


def test_batches_take_what_was_chosen_for_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[torch.Size] = []

    def fastest(candidates: dict[str, Callable[[], Tensor]]) -> str:
        timed.append(candidates["plain"]().shape)
        return "plain"

    monkeypatch.setattr(choosing, "_chosen", {})
    monkeypatch.setattr(choosing, "_fastest", fastest)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    conv, features = _make((3, 2, 20, 20, 15, 15))
    for images in (features, features[:1], features[:2].contiguous()):
        assert choosing.cuda_algorithm(images, conv.weight) == "plain"
    assert timed == [(1, 2, 20, 20)]


def test_a_choice_by_time_is_none_by_the_values_of_an_image() -> None:
    conv, features = _make((1, 2, 20, 20, 15, 15))
    behaviour = Behaviour()
    with watched(features, behaviour):
        found = choosing.candidates(features, conv.weight, False)
        assert float((found["fft"]() - found["plain"]()).norm()) < 1
    assert not behaviour.decisions


def test_tf32_is_read_from_both_of_torchs_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed in (True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
        assert choosing._allows_tf32() is allowed


def test_triton_is_not_imported_with_the_module() -> None:
    code = "import sys, erf_tools.kernels.depthwise; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Expected are products of factors rounded to TF32, where they are float32.
INTERPRETED = """
import json, torch
from torch.nn import functional as F
from erf_tools.kernels import banded

def rounded(tensor):
    if tensor.dtype != torch.float32:
        return tensor
    return ((tensor.view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)

torch.manual_seed(0)
errors = []
for images, channels, height, width, side, dtype in CASES:
    dtype = getattr(torch, dtype)
    maps = torch.randn(images, channels, height, width).to(dtype)
    maps = maps.contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(channels, 1, side, side).to(dtype)
    for bias in (None, torch.randn(channels).to(dtype)):
        out = banded.convolve(maps, kernel, bias)
        assert out.dtype == dtype and out.stride() == maps.stride()
        expected = F.conv2d(
            rounded(maps).double(), rounded(kernel).double(),
            None if bias is None else bias.double(), padding=side // 2, groups=channels,
        )
        errors.append(float((out.double() - expected).norm() / expected.norm()))

# The NaN that CUDA makes; rounding it as a number would give zero.
maps = torch.zeros(1, 1, 20, 20)
maps.view(torch.int32)[0, 0, 9, 9] = 0x7FFFFFFF
assert banded.convolve(maps, torch.ones(1, 1, 3, 3), None)[0, 0, 8:11, 8:11].isnan().all()
print(json.dumps(errors))
"""


def test_the_triton_kernel_interpreted() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    cases = [
        (1, 2, 5, 7, 3, "float32"),
        (2, 2, 17, 19, 13, "float32"),
        (2, 1, 7, 9, 31, "float32"),
        (1, 1, 70, 18, 13, "float32"),
        # The interpreter multiplies the bits of bfloat16 as integers.
        (2, 1, 18, 17, 13, "float16"),
    ]
    run = subprocess.run(
        [sys.executable, "-c", f"CASES = {cases}\n{INTERPRETED}"],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    errors = json.loads(run.stdout.splitlines()[-1])
    assert max(errors[:-2]) < 1e-6
    assert max(errors[-2:]) < 1e-3


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(("architecture", "instruction"), [(80, "mma.sync"), (90, "wgmma")])
def test_the_triton_kernel_compiles_to_tensor_cores(
    architecture: int, instruction: str, dtype: str
) -> None:
    triton = pytest.importorskip("triton", reason="triton is not installed")
    if "nvidia" not in getattr(triton.backends, "backends", {}):
        pytest.skip("this triton is not built for NVIDIA")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = banded.kernel_constants(torch.empty(1, 1, 31, 31), True, dtype == "fp32")
    signature = dict.fromkeys(("maps", "taps", "bias", "out"), f"*{dtype}")
    signature |= dict.fromkeys(("images", "channels", "height", "width"), "i32")
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(banded.triton_kernel(), signature, constants)
    ptx = triton.compile(source, target=GPUTarget("cuda", architecture, 32)).asm["ptx"]
    factors = {"fp32": "tf32", "bf16": "bf16", "fp16": "f16"}[dtype]
    assert re.search(rf"\b{re.escape(instruction)}\S*\.{factors}\.{factors}", ptx)
