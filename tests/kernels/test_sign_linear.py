"""Products with random signs by the event: the same bits as plain torch, and signs that are independent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.kernels.event_conv import all_events
from engine.kernels.fill import as_tensor
from engine.kernels.native import library, switched_off
from engine.kernels.sign_linear import sign_products

STEPS, BATCH, WIDE = 7, 5, 30


def spikes(dtype: torch.dtype, counts: bool) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    fired = (torch.rand(STEPS, BATCH, WIDE, generator=generator) < 0.2).to(dtype)
    return fired * torch.randint(1, 4, fired.shape, generator=generator) if counts else fired


@pytest.mark.skipif(library() is None, reason="the native library is not built here")
@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("out", [5, 64, 203])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_native_has_the_bits_of_plain_torch(dtype: torch.dtype, out: int, counts: bool) -> None:
    seen, found = spikes(dtype, counts), library()
    assert found is not None
    events = all_events(found, seen.flatten(0, 1).contiguous())
    native = as_tensor(sign_products(events, seen, out, torch.Generator().manual_seed(3)))
    with switched_off():
        plain = as_tensor(sign_products(None, seen, out, torch.Generator().manual_seed(3)))
    assert native.shape == (STEPS, BATCH, out)
    assert torch.equal(native, plain)  # sums of small integers are exact


def test_signs_are_independent() -> None:
    seen = torch.eye(WIDE, dtype=torch.float64).unsqueeze(1).expand(WIDE, 400, WIDE)  # every step shows one weight
    with switched_off():
        signs = as_tensor(sign_products(None, seen, 3, torch.Generator().manual_seed(5))).transpose(
            0, 1
        )  # [sample, in, out]
    assert torch.equal(signs.abs(), torch.ones_like(signs))
    flat = signs.flatten(1)
    covariance = flat.T @ flat / len(flat)
    off = covariance - torch.eye(len(covariance), dtype=torch.float64)
    assert float(off.abs().max()) < 5.0 / 400**0.5
    assert float(flat.mean().abs()) < 4.0 / flat.numel() ** 0.5
