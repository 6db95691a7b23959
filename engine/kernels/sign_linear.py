"""Spikes through linear weights of random signs, every sample with its own: one bit a weight, cost by the spike.

A product of ``[time, in]`` spikes with ``[in, out]`` signs for each sample. The signs are never held as numbers where
the native library is built; plain torch unpacks them sample by sample, with the same sums.
"""

from __future__ import annotations

import ctypes

import numpy as np
import torch
from torch import Tensor

from engine.kernels.fill import Change, Sums
from engine.kernels.native import SignFillStruct, library
from engine.kernels.spike_linear import KINDS, Events


def random_bits(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Independent random bytes; torch's generator gives the seed, NumPy the bytes, eight times faster.

    Example:
        >>> random_bits((2, 3), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3])
    """
    seed = int(torch.randint(0, 2**62, (), generator=generator))
    raw = np.random.Generator(np.random.SFC64(seed)).bytes(int(np.prod(shape)))
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(shape)


def sign_products(events: Events | None, seen: Tensor, out: int, generator: torch.Generator) -> Change:
    """Every sample's spikes through weights of independent signs of its own, ``[time, batch, out]``.

    Args:
        events: of the rows ``[time·batch]``; None: there is no native library.
        seen: the same spikes ``[time, batch, in]``.
        out: outputs.
        generator: the only source of randomness.
    """
    steps, batch, wide = seen.shape
    bits = random_bits((batch, wide, (out + 7) // 8), generator).to(seen.device)
    found = library()
    if found is None or events is None or seen.dtype not in KINDS or seen.device.type != "cpu":
        signs = ((bits.unsqueeze(3) >> torch.arange(8, device=seen.device)) & 1).flatten(2)[..., :out]
        return torch.stack([seen[:, b] @ (signs[b].to(seen.dtype) * 2 - 1) for b in range(batch)]).transpose(0, 1)
    struct = events.struct()
    context = SignFillStruct(
        ctypes.addressof(struct), bits.data_ptr(), steps, batch, wide, out, KINDS[seen.dtype], found.float_mode()
    )
    alive = (events, struct, bits)
    return Sums(found.fill_signs, context, alive, steps, batch, (out,), seen.dtype, len(events.columns) * out)
