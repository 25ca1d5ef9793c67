"""Padded linear layers give what plain ones do, and stay plain where padding could be seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from reference import randomise
from torch import Tensor, nn

from erf_tools.kernels.aligning import AlignedLinear
from erf_tools.kernels.folding import folded


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", [(5, 20), (8, 20), (5, 24), (33, 1)])
def test_padding_changes_nothing(widths: tuple[int, int], bias: bool) -> None:
    plain = nn.Linear(*widths, bias=bias).double()
    rows = torch.randn(2, 3, widths[0], dtype=torch.float64, requires_grad=True)
    expected = plain(rows)
    along = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad(expected, rows, along)
    for wide in (False, True):
        aligned = AlignedLinear(plain, wide)
        assert [side % 8 for side in aligned.weight.shape] == [0, 0]
        found = aligned(rows)
        assert found.shape[-1] == (-(-widths[1] // 8) * 8 if wide else widths[1])
        assert found.is_contiguous()
        assert not found[..., widths[1] :].any()
        found = found[..., : widths[1]]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        (actual,) = torch.autograd.grad(found, rows, along)
        torch.testing.assert_close(actual, gradient, rtol=1e-12, atol=1e-12)


class Pointwise(nn.Module):
    """A patch embedding with its norm, and two linear layers, put together as the test says."""

    def __init__(
        self, forward: Callable[[Pointwise, Tensor], Tensor], narrow: int = 5, wide: int = 20
    ) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, narrow, 4, 4), nn.BatchNorm2d(narrow)
        self.wider, self.act = nn.Linear(narrow, wide), nn.GELU()
        self.narrower = nn.Linear(wide, narrow)
        self.run = forward

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.conv(images)).permute(0, 2, 3, 1)
        return (features + self.run(self, features)).permute(0, 3, 1, 2)


def in_a_row(net: Pointwise, features: Tensor) -> Tensor:
    return net.narrower(net.act(net.wider(features)))


def with_second_consumer(net: Pointwise, features: Tensor) -> Tensor:
    hidden = net.wider(features)
    return net.narrower(net.act(hidden)) * hidden.mean(-1, keepdim=True)


def with_second_consumer_behind(net: Pointwise, features: Tensor) -> Tensor:
    hidden = net.act(net.wider(features))
    return net.narrower(hidden) * hidden.mean(-1, keepdim=True)


def with_normed_hidden(net: Pointwise, features: Tensor) -> Tensor:
    return net.narrower(nn.functional.normalize(net.act(net.wider(features) + 1), dim=-1))


def with_softmax(net: Pointwise, features: Tensor) -> Tensor:
    return net.narrower(net.wider(features).softmax(-1))


def with_shared_activation(net: Pointwise, features: Tensor) -> Tensor:
    return net.act(net.narrower(net.act(net.wider(features))))


@pytest.mark.parametrize("tapped", ["", "wider", "act"])
@pytest.mark.parametrize(
    "forward",
    [
        in_a_row,
        with_second_consumer,
        with_second_consumer_behind,
        with_normed_hidden,
        with_softmax,
        with_shared_activation,
    ],
)
def test_padding_is_left_in_only_where_nothing_sees_it(
    forward: Callable[[Pointwise, Tensor], Tensor], tapped: str
) -> None:
    network = randomise(Pointwise(forward)).double().eval().requires_grad_(False)

    def read(net: nn.Module, images: Tensor) -> list[Tensor]:
        kept: list[Tensor] = []
        with net.get_submodule(tapped or "narrower").register_forward_hook(
            lambda _part, _inputs, output: kept.append(output.permute(0, 3, 1, 2))
        ):
            return [net(images), *kept]

    whole, _ = folded(network, read, (32, 40), {tapped} if tapped else set())
    assert isinstance(whole.get_submodule("norm"), nn.Identity)
    assert all(
        isinstance(whole.get_submodule(name), AlignedLinear) for name in ("wider", "narrower")
    )
    seen: list[int] = []
    whole.get_submodule("act").register_forward_pre_hook(
        lambda _part, inputs: seen.append(inputs[0].shape[-1])
    )
    images = torch.randn(1, 3, 32, 40, dtype=torch.float64, requires_grad=True)
    found, expected = read(whole, images), read(network, images)
    if forward is not with_softmax:
        assert seen[0] == (24 if forward is in_a_row and not tapped else 20)
    for actual, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(actual, plain, rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad(maps[0].square().sum(), images)[0] for maps in (found, expected)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_layers_that_fill_whole_vectors_stay() -> None:
    network = Pointwise(in_a_row, 16, 64).eval().requires_grad_(False)
    whole, _ = folded(network, lambda net, images: [net(images)], (32, 40))
    assert whole is not network
    assert type(whole.get_submodule("wider")) is type(whole.get_submodule("narrower")) is nn.Linear
