"""Convolutions by the event against F.conv2d and autograd, native and in torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.kernels import event_conv
from engine.kernels.event_conv import ConvGeometry, SpikeWindows
from engine.kernels.fill import as_tensor
from engine.kernels.native import library, switched_off

STEPS, BATCH = 6, 5
CASES = {
    "grouped, dilated": (2, (9, 8), 4, (3, 2), (2, 1), (1, 0), (1, 2), 2),
    "one dimension": (4, (1, 12), 32, (1, 3), (1, 2), (0, 1), (1, 1), 1),
    "three groups": (3, (7, 7), 48, (3, 3), (1, 1), (1, 1), (1, 1), 3),
    "odd channels": (2, (6, 6), 21, (5, 5), (2, 2), (2, 2), (1, 1), 1),
}


def geometry(name: str) -> ConvGeometry:
    channels, size, out, kernel, stride, padding, dilation, groups = CASES[name]
    rows, columns = ((size[k] + 2 * padding[k] - dilation[k] * (kernel[k] - 1) - 1) // stride[k] + 1 for k in (0, 1))
    return ConvGeometry(channels, size, out, (rows, columns), kernel, stride, padding, dilation, groups)


def spikes(g: ConvGeometry, dtype: torch.dtype, density: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (STEPS, BATCH, g.channels, *g.size)
    fired = torch.rand(shape, generator=generator) < density
    return fired.to(dtype) * torch.randint(1, 3, shape, generator=generator)


def kernels_of(g: ConvGeometry, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """Every sample's kernels in the order of memory, and as F.conv2d takes them."""
    own = torch.randn(BATCH, *g.kernel_shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
    share, each = g.channels // g.groups, g.out // g.groups
    split = own.reshape(BATCH, *g.kernel, g.groups, share, each).permute(0, 3, 5, 4, 1, 2)
    return own, list(split.reshape(BATCH, g.out, share, *g.kernel))


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_sums_and_gradients_are_those_of_a_convolution(
    name: str, dtype: torch.dtype, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if native and library() is None:
        pytest.skip("the native library is not built here")
    monkeypatch.setattr(event_conv, "WINDOW_BYTES", 3000)  # several stretches of samples and steps
    g = geometry(name)
    seen, (own, each) = spikes(g, dtype), kernels_of(g, dtype)
    adjoint = torch.randn(STEPS, BATCH, g.out, *g.out_size, generator=torch.Generator().manual_seed(3), dtype=dtype)
    if native:
        windows = SpikeWindows(seen, g)
    else:
        with switched_off():
            windows = SpikeWindows(seen, g)
    assert (windows._events is not None) == native
    sums, squares = as_tensor(windows.sums(own)), windows.squared_gradients(adjoint)
    for sample, weight in enumerate(each):
        weight = weight.requires_grad_()
        expected = F.conv2d(seen[:, sample], weight, None, g.stride, g.padding, g.dilation, g.groups)
        torch.testing.assert_close(sums[:, sample], expected.detach())
        (gradient,) = torch.autograd.grad(expected, weight, adjoint[:, sample])
        torch.testing.assert_close(squares[sample].to(dtype), gradient.square().sum((1, 2, 3)), rtol=1e-4, atol=1e-5)


def test_dense_frames_and_values_that_are_no_float() -> None:
    g = geometry("odd channels")
    dense = spikes(g, torch.float64, density=1.0)
    assert SpikeWindows(dense, g)._events is not None or library() is None
    analogue = SpikeWindows(dense / 3.0, g)
    assert analogue._events is None  # 1/3 in float64 is no float32: unfolded instead
    own, _ = kernels_of(g, torch.float64)
    torch.testing.assert_close(as_tensor(analogue.sums(own)), as_tensor(SpikeWindows(dense, g).sums(own)) / 3.0)
