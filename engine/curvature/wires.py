"""A connection as linear maps with their transposes. Rows are time × batch; axes ``[row, neuron...]``.

Convolutions run with channels innermost in memory, and a linear map that flattens such rows takes its weight in that
order: nothing is copied on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv1d_input, conv2d_input

from engine.kernels.fill import Sums
from engine.kernels.product import PackedProduct, pack_conv, pack_linear
from engine.network.model import Connection, Flatten, Map, Scale
from engine.network.simulate import late
from engine.network.synapse import Synapse, apply_map


@dataclass(frozen=True)
class Wire:
    """``a = gain·after(W ∗ before(s))`` without its bias, for derivatives.

    ``weight`` None: spikes enter as they are. ``gain`` None is 1. ``before`` and ``after`` pair every map with the
    shape that enters it.
    """

    connection: Connection
    weight: Tensor | None
    gain: Tensor | None
    before: tuple[tuple[Map, tuple[int, ...]], ...]
    mapped_shape: tuple[int, ...]
    after: tuple[tuple[Map, tuple[int, ...]], ...]
    raw_shape: tuple[int, ...]
    target_shape: tuple[int, ...]

    def map(self, spikes: Tensor) -> Tensor:
        """What the weight sees: ``[row, *source_shape]`` to ``[row, *mapped_shape]``."""
        for step, _ in self.before:
            spikes = apply_map(step, spikes)
        return spikes

    def weigh(self, mapped: Tensor, weight: Tensor | None) -> Tensor:
        """With a weight in the place of W: ``[row, *mapped_shape]`` to ``[row, *target_shape]``."""
        return self.finish(mapped if weight is None else self.product(mapped, weight))

    def finish(self, raw: Tensor) -> Tensor:
        """What follows the weighted sum: ``[row, *raw_shape]`` to ``[row, *target_shape]``."""
        for step, _ in self.after:
            raw = apply_map(step, raw)
        raw = raw.reshape(-1, *self.target_shape)
        return raw if self.gain is None else raw * self.gain

    def push(self, spikes: Tensor) -> Tensor:
        """``[row, *source_shape]`` to ``[row, *target_shape]``."""
        if self.by_channel is not None and _channels_innermost(spikes):
            return self.finish(F.linear(spikes.permute(0, 2, 3, 1).flatten(1), self.by_channel))
        return self.weigh(self.map(spikes), self.weight)

    @cached_property
    def by_channel(self) -> Tensor | None:
        """The weight of a linear map that flattens a convolution's neurons, for channels innermost; None: another."""
        c = self.connection
        flattens = self.before == ((Flatten(0, 2), c.source_shape),) and len(c.source_shape) == 3
        if self.weight is None or c.kind != "linear" or not flattens:
            return None
        return self.weight.reshape(-1, *c.source_shape).permute(0, 2, 3, 1).flatten(1)

    def delivers(self, spikes: Tensor) -> Sums | None:
        """:meth:`push` of ``[time, batch, *source_shape]`` that the layer's scan makes for itself; None: it cannot."""
        packed, last = self.packed, spikes.dim() == 5
        fits = _channels_innermost(spikes.flatten(0, 1)) if last else spikes.is_contiguous()
        if packed is None or not fits or spikes.dtype != torch.float32:
            return None
        return packed.sums(spikes, spikes.shape[0], spikes.shape[1])

    @cached_property
    def packed(self) -> PackedProduct | None:
        """The weight as the native product takes it; None: there is none, or more than a product happens here."""
        c, weight = self.connection, self.weight
        bare = not self.after and self.raw_shape == self.target_shape and self.gain is None
        if weight is None or not bare or c.delayed or c.delay is not None:
            return None
        if c.kind == "linear":
            flat = weight if not self.before and len(c.source_shape) == 1 else self.by_channel
            return None if flat is None else pack_linear(flat)
        if c.kind != "conv2d" or c.groups != 1 or self.before:
            return None
        (_, *size), (_, *out_size) = self.mapped_shape, self.raw_shape
        pairs = (tuple(size), tuple(out_size), c.stride, c.padding, c.dilation)
        return pack_conv(weight, *((pair[0], pair[1]) for pair in pairs))

    def product(self, mapped: Tensor, weight: Tensor) -> Tensor:
        """The weighted sum alone, ``[row, *raw_shape]``."""
        c = self.connection
        if c.kind == "linear":
            return F.linear(mapped, weight)
        if c.kind == "conv1d":
            return F.conv1d(mapped, weight, None, c.stride, c.padding, c.dilation, c.groups)
        mapped, weight = _innermost(mapped), _innermost(weight)
        return F.conv2d(mapped, weight, None, c.stride, c.padding, c.dilation, c.groups)

    def pull_raw(self, adjoint: Tensor) -> Tensor:
        """Adjoint of the weighted sum: ``[row, *target_shape]`` to ``[row, *raw_shape]``."""
        value = adjoint if self.gain is None else adjoint * self.gain
        for step, shape in reversed(self.after):
            value = _transpose(step, value, shape)
        return value.reshape(-1, *self.raw_shape)

    def pull(self, adjoint: Tensor) -> Tensor:
        """Adjoint of the spikes: ``[row, *target_shape]`` to ``[row, *source_shape]``."""
        value = self.pull_raw(adjoint)
        c, weight = self.connection, self.weight
        if self.by_channel is not None:
            channels, *places = c.source_shape
            return (value @ self.by_channel).reshape(-1, *places, channels).permute(0, 3, 1, 2)
        if weight is not None and c.kind == "linear":
            value = value @ weight
        elif weight is not None:
            shape = (len(value), *self.mapped_shape)
            transpose = conv1d_input
            if c.kind == "conv2d":
                transpose, value, weight = conv2d_input, _innermost(value), _innermost(weight)
            value = transpose(  # type: ignore[no-untyped-call]
                shape, weight, value, c.stride, c.padding, c.dilation, c.groups
            )
        for step, shape in reversed(self.before):
            value = _transpose(step, value, shape)
        return value.reshape(-1, *c.source_shape)

    def late(self, values: Tensor) -> Tensor:
        """What the connection sees: values ``[time, batch, *source_shape]`` of earlier steps, zeros before."""
        return late(self.connection, values)

    def early(self, values: Tensor) -> Tensor:
        """Transpose of :meth:`late`."""
        steps, delay = int(self.connection.delayed), self.connection.delay
        if delay is None:
            return _earlier(values, steps)
        each = torch.as_tensor(delay, device=values.device)
        total = torch.zeros_like(values)
        for d in torch.unique(each).tolist():
            total += torch.where(each == d, _earlier(values, steps + int(d)), 0.0)
        return total

    def seen_at(self, history: Tensor, t: int) -> Tensor | None:
        """One step of :meth:`late` from the steps so far; None: nothing has arrived."""
        parts = [(then, mask) for then, mask in self._arrivals(t, history.device) if then >= 0]
        if not parts:
            return None
        (then, mask), *rest = parts
        total = history[then] if mask is None else torch.where(mask, history[then], 0.0)
        for then, mask in rest:
            total = total if mask is None else torch.where(mask, history[then], total)
        return total

    def send_back(self, total: Tensor, t: int, value: Tensor) -> None:
        """Transpose of :meth:`seen_at`: add the adjoint of what was seen at step t to ``total``."""
        for then, mask in self._arrivals(t, value.device):
            if then >= 0:
                total[then] += value if mask is None else torch.where(mask, value, 0.0)

    def _arrivals(self, t: int, device: torch.device) -> list[tuple[int, Tensor | None]]:
        """Steps whose values arrive at step t, and for which source neurons."""
        steps, delay = int(self.connection.delayed), self.connection.delay
        if delay is None:
            return [(t - steps, None)]
        each = torch.as_tensor(delay, device=device)
        return [(t - steps - int(d), each == d) for d in torch.unique(each).tolist()]


def _innermost(values: Tensor) -> Tensor:
    """``[row, channel, row, column]`` with channels innermost in memory."""
    return values.contiguous(memory_format=torch.channels_last)


def _channels_innermost(spikes: Tensor) -> bool:
    return spikes.dim() == 4 and spikes.is_contiguous(memory_format=torch.channels_last)


def _earlier(values: Tensor, steps: int) -> Tensor:
    """Values moved ``steps`` earlier, zeros at the end."""
    if steps == 0:
        return values
    steps = min(steps, len(values))
    return torch.cat([values[steps:], torch.zeros_like(values[:steps])])


def wire_of(synapse: Synapse, target_shape: tuple[int, ...], dtype: torch.dtype) -> Wire:
    """The linear maps of a prepared synapse, in the dtype of the derivatives."""
    connection = synapse.connection
    weight = None if synapse.weight is None else synapse.weight.detach().to(dtype)
    before, mapped_shape = _shapes(connection.before, connection.source_shape)
    raw_shape = mapped_shape
    if weight is not None and connection.kind == "linear":
        raw_shape = (weight.shape[0],)
    elif weight is not None:
        geometry = (connection.stride, connection.padding, connection.dilation, connection.groups)
        meta = torch.empty(1, *mapped_shape, device="meta")
        convolve = F.conv1d if connection.kind == "conv1d" else F.conv2d
        raw_shape = tuple(convolve(meta, torch.empty(weight.shape, device="meta"), None, *geometry).shape[1:])
    after, _ = _shapes(connection.after, raw_shape)
    gain = None if synapse.gain is None else synapse.gain.detach().to(dtype)
    return Wire(connection, weight, gain, before, mapped_shape, after, raw_shape, target_shape)


def _shapes(
    maps: tuple[Map, ...], shape: tuple[int, ...]
) -> tuple[tuple[tuple[Map, tuple[int, ...]], ...], tuple[int, ...]]:
    value = torch.zeros(1, *shape)
    pairs = []
    for step in maps:
        pairs.append((step, tuple(value.shape[1:])))
        value = apply_map(step, value)
    return tuple(pairs), tuple(value.shape[1:])


def _transpose(step: Map, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Transpose of a weightless map that takes ``[row, *shape]``."""
    if isinstance(step, Flatten):
        return value.reshape(-1, *shape)
    if isinstance(step, Scale):
        return value * torch.as_tensor(step.factor, dtype=value.dtype, device=value.device)
    (kh, kw), (ph, pw), (sh, sw) = step.kernel, step.padding, step.stride
    rows, cols = value.shape[-2:]
    height, width = shape[-2] + 2 * ph, shape[-1] + 2 * pw
    total = value.new_zeros(*value.shape[:-2], height, width)
    scaled = value if step.scale == 1.0 else value * step.scale
    for i in range(kh):
        for j in range(kw):
            total[..., i : i + sh * rows : sh, j : j + sw * cols : sw][..., :rows, :cols] += scaled
    return total[..., ph : height - ph, pw : width - pw]
