"""Per-sample squared norms of weight gradients, without the gradients where that is cheaper.

For a linear map and sample b the gradient is ``Λᵀ·X`` (``Λ`` ``[time, out]`` adjoints, ``X`` ``[time, in]`` what the
weight sees), so that its squared norm per output is ``Σ_t Λ∘(K·Λ)`` with the Gram matrix ``K = X·Xᵀ`` of T × T. A
convolution is the same over unfolded patches. Source: Goodfellow 2015 (arXiv:1510.01799), Li et al. 2022 ("ghost
norm", arXiv:2110.05679).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.curvature.linear_network import LinearNetwork
from engine.curvature.wires import Wire

KEPT_BYTES = 256 * 2**20  # of Gram matrices and patches that one block keeps; what is over is made again each time
JITTER = 1e-6  # relative; keeps the Cholesky factor of a singular Gram matrix real, far below any standard error


class SampleNorms:
    """Squared norms per sample and output channel for the connections of one linearised block.

    Gram matrices and patches are made at first use and kept, up to ``KEPT_BYTES`` in all.
    """

    def __init__(self, network: LinearNetwork) -> None:
        self.network = network
        self._kept: dict[str, Tensor] = {}
        self._bytes = 0

    def squares(self, wire: Wire, acc: Tensor) -> Tensor:
        """``‖∂/∂W_o‖²`` of every sample and output channel, ``[batch, out]``.

        Args:
            wire: a weighted connection.
            acc: adjoint of its target's synaptic sum ``[time, batch, neuron...]``.
        """
        raw = wire.pull_raw(acc.flatten(0, 1))
        if wire.connection.kind == "linear":
            adjoint = raw.reshape(self.network.steps, self.network.batch, -1).transpose(0, 1)  # [batch, time, out]
            if self.wide(wire):
                return (adjoint * (self.gram(wire) @ adjoint)).sum(1)
            return (adjoint.transpose(1, 2) @ self.rows(wire)).square().sum(2)
        return self._convolution(wire, raw)

    def wide(self, wire: Wire) -> bool:
        """Whether a T × T Gram matrix is smaller than what the weight sees."""
        return wire.mapped_shape[0] >= self.network.steps

    def rows(self, wire: Wire) -> Tensor:
        """What a linear weight sees, ``[batch, time, in]``."""
        seen = self.network.seen[wire.connection.name]
        return seen.reshape(self.network.steps, self.network.batch, -1).transpose(0, 1)

    def gram(self, wire: Wire) -> Tensor:
        """``X·Xᵀ`` of every sample, ``[batch, time, time]``."""

        def make() -> Tensor:
            rows = self.rows(wire).contiguous()
            return rows @ rows.transpose(1, 2)

        return self._keep(f"gram {wire.connection.name}", make)

    def gram_root(self, wire: Wire) -> Tensor:
        """A root L with ``L·Lᵀ = X·Xᵀ``, ``[batch, time, time]``."""

        def make() -> Tensor:
            gram = self.gram(wire)
            square = gram.double()
            scale = square.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-30)
            eye = torch.eye(self.network.steps, dtype=square.dtype, device=square.device)
            root: Tensor = torch.linalg.cholesky(square + JITTER * scale[:, None, None] * eye)
            return root.to(gram.dtype)

        return self._keep(f"root {wire.connection.name}", make)

    def patches_fit(self, wire: Wire) -> bool:
        """Whether all samples' patches can be kept."""
        name = f"patches {wire.connection.name}"
        return name in self._kept or self._patch_bytes(wire) * self.network.batch + self._bytes <= KEPT_BYTES

    def patches(self, wire: Wire) -> Tensor:
        """All samples' unfolded windows, ``[batch, group, in/group·kh·kw, time·position]``."""
        return self._keep(f"patches {wire.connection.name}", lambda: self._unfold(wire, 0, self.network.batch))

    def _unfold(self, wire: Wire, first: int, last: int) -> Tensor:
        c, steps = wire.connection, self.network.steps
        seen = self.network.seen[c.name].reshape(steps, self.network.batch, *wire.mapped_shape)[:, first:last]
        kernel = tuple(c.weight.shape[2:]) if c.weight is not None else ()
        frames, sizes = seen.flatten(0, 1), [kernel, c.dilation, c.padding, c.stride]
        if c.kind == "conv1d":  # windows of height one
            frames = frames.unsqueeze(2)
            sizes = [(flat, *size) for flat, size in zip((1, 1, 0, 1), sizes, strict=True)]
        windows = F.unfold(frames, *sizes)  # [time·batch, C·k, position]
        windows = windows.reshape(steps, last - first, c.groups, -1, windows.shape[-1])
        return windows.permute(1, 2, 3, 0, 4).flatten(3)

    def _patch_bytes(self, wire: Wire) -> int:
        """Of one sample's patches."""
        c = wire.connection
        kernel = () if c.weight is None else c.weight.shape[2:]
        size = self.network.seen[c.name].element_size()
        return size * self.network.steps * prod((*wire.raw_shape[1:], wire.mapped_shape[0], *kernel))

    def _chunks(self, wire: Wire) -> list[tuple[int, int]]:
        size = max(1, KEPT_BYTES // (4 * self._patch_bytes(wire)))
        return [(k, min(k + size, self.network.batch)) for k in range(0, self.network.batch, size)]

    def _convolution(self, wire: Wire, raw: Tensor) -> Tensor:
        groups, batch = wire.connection.groups, self.network.batch
        adjoint = raw.reshape(self.network.steps, batch, groups, wire.raw_shape[0] // groups, -1)
        adjoint = adjoint.permute(1, 2, 3, 0, 4).flatten(3)  # [batch, group, out, time·position]
        if self.patches_fit(wire):
            return (adjoint @ self.patches(wire).transpose(2, 3)).square().sum(3).flatten(1)
        parts = [
            (adjoint[first:last] @ self._unfold(wire, first, last).transpose(2, 3)).square().sum(3).flatten(1)
            for first, last in self._chunks(wire)
        ]
        return torch.cat(parts)

    def _keep(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        if name in self._kept:
            return self._kept[name]
        value = make()
        size = value.element_size() * value.numel()
        if self._bytes + size <= KEPT_BYTES:
            self._kept[name] = value
            self._bytes += size
        return value
