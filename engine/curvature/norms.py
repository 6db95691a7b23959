"""Per-sample squared norms of weight gradients, without the gradients where that is cheaper.

For a linear map and sample b the gradient is ``Λᵀ·X`` (``Λ`` ``[time, out]`` adjoints, ``X`` ``[time, in]`` what the
weight sees), so that its squared norm per output is ``Σ_t Λ∘(K·Λ)`` with the Gram matrix ``K = X·Xᵀ`` of T × T. Where
``Λ = r·aᵀ`` (a linear readout) it is ``a²·|Xᵀ·r|²``. Convolutions of spikes go by the event, other convolutions over
unfolded windows of a few steps. Source: Goodfellow 2015 (arXiv:1510.01799), Li et al. 2022 ("ghost norm",
arXiv:2110.05679).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.curvature.adjoints import Adjoint
from engine.curvature.linear_network import LinearNetwork
from engine.curvature.wires import Wire
from engine.kernels.event_conv import ConvGeometry, SpikeWindows, all_events
from engine.kernels.native import library
from engine.kernels.spike_linear import Events

KEPT_BYTES = 256 * 2**20  # of Gram matrices that one block keeps; what is over is made again each time
EVENT_COST = 4  # of a spike's row of signs, in rows of a dense product
JITTER = 1e-6  # relative; keeps the Cholesky factor of a singular Gram matrix real, far below any standard error


class SampleNorms:
    """Squared norms per sample and output channel for the connections of one linearised block.

    Gram matrices, up to ``KEPT_BYTES`` in all, and events are made at first use and kept.
    """

    def __init__(self, network: LinearNetwork) -> None:
        self.network = network
        self._kept: dict[str, Tensor] = {}
        self._windows: dict[str, SpikeWindows] = {}
        self._events: dict[str, Events | None] = {}
        self._few: dict[str, bool] = {}
        self._bytes = 0

    def squares(self, wire: Wire, adjoint: Adjoint) -> Tensor:
        """``‖∂/∂W_o‖²`` of every sample and output channel, ``[batch, out]``.

        Args:
            wire: a weighted connection.
            adjoint: of its target.
        """
        linear = wire.connection.kind == "linear"
        if linear and adjoint.sample is not None and adjoint.time is not None:
            read = self._read(wire, adjoint.time).square().sum(1, keepdim=True)
            squares: Tensor = wire.pull_raw(adjoint.sample).square() * read
            return squares
        raw = wire.pull_raw(adjoint.acc.flatten(0, 1))
        raw = raw.reshape(self.network.steps, self.network.batch, *raw.shape[1:])
        if not linear:
            windows = self.windows(wire)
            return windows.squared_gradients(raw.reshape(*raw.shape[:3], *windows.geometry.out_size))
        over_time = raw.transpose(0, 1)  # [batch, time, out]
        if self.wide(wire):
            return (over_time * (self.gram(wire) @ over_time)).sum(1)
        return (over_time.transpose(1, 2) @ self.rows(wire)).square().sum(2)

    def windows(self, wire: Wire) -> SpikeWindows:
        """What a convolution's kernels meet."""
        name = wire.connection.name
        if name not in self._windows:
            geometry = conv_geometry(wire)
            shape = (self.network.steps, self.network.batch, geometry.channels, *geometry.size)
            self._windows[name] = SpikeWindows(self.network.seen[name].reshape(shape), geometry)
        return self._windows[name]

    def events(self, wire: Wire) -> Events | None:
        """Of what a linear weight sees, ``[time·batch, in]``; None: no native library, or values that are no floats."""
        name, found = wire.connection.name, library()
        if name not in self._events:
            seen = self.network.seen[name].flatten(1).contiguous()
            fits = found is not None and seen.device.type == "cpu"
            self._events[name] = all_events(found, seen) if fits and found is not None else None
        return self._events[name]

    def sparse(self, wire: Wire) -> bool:
        """Whether a linear weight meets so few spikes that products by the event are quickest."""
        seen, steps = self.network.seen[wire.connection.name], self.network.steps
        if wire.connection.name not in self._few:
            spikes = int(torch.count_nonzero(seen)) / self.network.batch
            self._few[wire.connection.name] = EVENT_COST * spikes < steps * min(steps, wire.mapped_shape[0])
        return self._few[wire.connection.name]

    def _read(self, wire: Wire, weights: Tensor) -> Tensor:
        """What a linear weight sees, summed over time with the readout's weights ``[time]``: ``[batch, in]``."""

        def make() -> Tensor:
            seen = self.network.seen[wire.connection.name]
            read: Tensor = torch.tensordot(weights, seen.reshape(self.network.steps, self.network.batch, -1), 1)
            return read

        return self._keep(f"read {wire.connection.name}", make)

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

    def _keep(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        if name in self._kept:
            return self._kept[name]
        value = make()
        size = value.element_size() * value.numel()
        if self._bytes + size <= KEPT_BYTES:
            self._kept[name] = value
            self._bytes += size
        return value


def conv_geometry(wire: Wire) -> ConvGeometry:
    """Of a convolution; one of one dimension has rows of height 1.

    Raises:
        ValueError: the connection is none, or holds no weight.
    """
    c = wire.connection
    if c.weight is None or c.kind == "linear":
        raise ValueError(f"connection {c.name!r} is no convolution")

    def pair(values: tuple[int, ...], neutral: int) -> tuple[int, int]:
        return (values[0], values[1]) if len(values) == 2 else (neutral, values[0])

    return ConvGeometry(
        channels=wire.mapped_shape[0],
        size=pair(wire.mapped_shape[1:], 1),
        out=c.weight.shape[0],
        out_size=pair(wire.raw_shape[1:], 1),
        kernel=pair(c.weight.shape[2:], 1),
        stride=pair(c.stride, 1),
        padding=pair(c.padding, 0),
        dilation=pair(c.dilation, 1),
        groups=c.groups,
    )
