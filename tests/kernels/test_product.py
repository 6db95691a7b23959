"""Packed products against torch's, whole and as a scan takes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from engine.kernels.layout import channels_last
from engine.kernels.linear_neurons import Bends, LinearNeurons
from engine.kernels.native import library, switched_off
from engine.kernels.product import PackedProduct, pack_conv, pack_linear
from engine.kernels.tangent_scan import Wanted, push

STEPS, BATCH = 5, 7
found = library()
native = pytest.mark.skipif(found is None or found.product_rows == 0, reason="no native product on this processor")


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def given(packed: PackedProduct | None) -> PackedProduct:
    assert packed is not None
    return packed


@native
@pytest.mark.parametrize(("wide", "out"), [(1, 1), (33, 20), (64, 32), (100, 75)])
def test_linear(wide: int, out: int) -> None:
    x, weight = drawn(STEPS, BATCH, wide), drawn(out, wide)
    sums = given(pack_linear(weight)).sums(x, STEPS, BATCH).tensor()
    torch.testing.assert_close(sums, F.linear(x, weight), rtol=1e-5, atol=1e-5)


@native
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", [(0, 0), (2, 0), (1, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (1, 2)])
def test_convolution(stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]) -> None:
    x, weight = drawn(STEPS * BATCH, 3, 9, 8), drawn(21, 3, 3, 2)
    expected = F.conv2d(x, weight, None, stride, padding, dilation)
    high, across = expected.shape[2:]
    packed = given(pack_conv(weight, (9, 8), (high, across), stride, padding, dilation))
    rows = x.permute(0, 2, 3, 1).contiguous()
    sums = packed.sums(rows, STEPS, BATCH).tensor().flatten(0, 1)
    torch.testing.assert_close(sums, expected, rtol=1e-5, atol=1e-5)


@native
@pytest.mark.parametrize("shape", [(40,), (21, 7, 7)])
def test_a_scan_makes_the_same_sums_for_itself(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    if len(shape) == 1:
        packed, x = given(pack_linear(drawn(40, 12))), drawn(STEPS, BATCH, 12)
    else:
        packed, x = given(pack_conv(drawn(21, 2, 3, 3), (9, 9), (7, 7), (1, 1), (0, 0), (1, 1))), drawn(5, 7, 9, 9, 2)
    like = channels_last(drawn(STEPS, BATCH, *shape))
    neurons = LinearNeurons(torch.tensor(0.9), like.sigmoid(), None, None, None, old_current=False)
    bent, wanted = Bends(like.cos()), Wanted(n=True, read=torch.ones(STEPS))
    whole = push(neurons, like, packed.sums(x, STEPS, BATCH).tensor(), bent, wanted)
    monkeypatch.setattr(
        "engine.kernels.fill.GROUP_BYTES", 3 * STEPS * like[0, 0].numel() * 4
    )  # three samples at a time
    by_parts = push(neurons, like, packed.sums(x, STEPS, BATCH), bent, wanted)
    for one, other in (
        (whole.n, by_parts.n),
        (whole.curvature, by_parts.curvature),
        (whole.contracted, by_parts.contracted),
    ):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


def test_nothing_is_packed_without_the_library_or_in_double() -> None:
    assert pack_linear(drawn(3, 2).double()) is None
    with switched_off():
        assert pack_linear(drawn(3, 2)) is None
