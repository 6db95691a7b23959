"""What spikes bring to a layer: the product with a connection's weights, by whichever way is quick here.

Feed-forward connections run time-batched (one product over all steps and samples). On a CPU sparse spikes go by their
events, convolutions of float64 in exact pieces of float32, channels lie innermost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.kernels.byte_conv import byte_conv2d
from engine.kernels.exact_conv import exact_conv2d
from engine.kernels.spike_conv import spike_conv2d
from engine.kernels.spike_linear import spike_linear
from engine.network.model import INPUT, Connection, Flatten, Map, Scale


@dataclass(frozen=True)
class Synapse:
    """A connection as tensors: ``gain·(maps(weight · maps(spikes)) + bias)``, summed into the target.

    ``weight``'s dtype is the one the product runs in; ``gain`` (or 1) brings the sum to the target's shape, unit and
    dtype. ``bias`` has one value per output neuron or channel.
    """

    connection: Connection
    weight: Tensor | None
    bias: Tensor | None
    gain: Tensor | None


def apply_synapse(synapse: Synapse, spikes: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The synaptic sum of spikes ``[rows, *source_shape]`` into a layer: ``[rows, *shape]`` in ``dtype``."""
    value = weigh(synapse, spikes).to(dtype).reshape(-1, *shape)
    return value if synapse.gain is None else value * synapse.gain


def weigh(synapse: Synapse, spikes: Tensor) -> Tensor:
    """The sum before its gain, in the dtype that it was computed in."""
    value = _product(synapse, spikes)
    for step in synapse.connection.after:
        value = apply_map(step, value)
    return value


def _product(synapse: Synapse, spikes: Tensor) -> Tensor:
    connection, weight = synapse.connection, synapse.weight
    if (exact := _convolve_exactly(synapse, spikes)) is not None:
        return exact
    if weight is not None and connection.kind == "linear" and spikes.device.type == "cpu":
        flat = all(isinstance(step, Flatten) for step in connection.before)
        value = spikes if flat else spikes.to(weight.dtype)
        if torch.is_grad_enabled() and connection.before == (Flatten(0, 2),) and _channels_innermost(value):
            weight = weight.reshape(-1, *value.shape[1:]).permute(0, 2, 3, 1).flatten(1)  # far smaller than the spikes
            return spike_linear(value.permute(0, 2, 3, 1).flatten(1), weight, synapse.bias)
        for step in connection.before:
            value = apply_map(step, value)
        if value.dim() == 2:
            return spike_linear(value, weight, synapse.bias)
        return F.linear(value.to(weight.dtype), weight, synapse.bias)
    if (kept := _convolve_bytes(synapse, spikes)) is not None:
        return kept
    value = spikes if weight is None else spikes.to(weight.dtype)
    for step in connection.before:
        value = apply_map(step, value)
    if weight is not None and connection.kind == "linear":
        value = F.linear(value, weight, synapse.bias)
    elif weight is not None:
        convolve = F.conv1d if connection.kind == "conv1d" else F.conv2d
        geometry = connection.stride, connection.padding, connection.dilation, connection.groups
        if value.dim() == 4 and weight.dtype == torch.float32 and value.device.type == "cpu":
            if torch.is_grad_enabled() and (sparse := spike_conv2d(value, weight, synapse.bias, geometry)) is not None:
                return sparse
            value = value.contiguous(memory_format=torch.channels_last)  # several times faster on few channels
        value = convolve(value, weight, synapse.bias, *geometry)
    return value


def _channels_innermost(value: Tensor) -> bool:
    """Whether ``[row, channel, height, width]`` lies in memory as channels-last alone."""
    last = value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
    return last and not value.is_contiguous()


def _convolve_bytes(synapse: Synapse, spikes: Tensor) -> Tensor | None:
    """A convolution in training whose input is bytes as they came; None where it is another."""
    connection, weight = synapse.connection, synapse.weight
    if weight is None or connection.kind != "conv2d" or connection.before or spikes.dtype != torch.uint8:
        return None
    if weight.dtype != torch.float32 or spikes.device.type != "cpu" or not torch.is_grad_enabled():
        return None
    geometry = connection.stride, connection.padding, connection.dilation, connection.groups
    sparse = spike_conv2d(spikes, weight, synapse.bias, geometry)
    return byte_conv2d(spikes, weight, synapse.bias, geometry) if sparse is None else sparse


def _convolve_exactly(synapse: Synapse, spikes: Tensor) -> Tensor | None:
    """A float64 convolution of spikes or counts at float32's speed; None where that cannot be exact or needed."""
    connection, weight = synapse.connection, synapse.weight
    if weight is None or connection.kind != "conv2d" or weight.dtype != torch.float64 or weight.device.type != "cpu":
        return None
    pools = [step for step in connection.before if not isinstance(step, Flatten)]
    if connection.source == INPUT:
        whole = not pools and _holds_whole_numbers(spikes)
    else:
        whole = all(not isinstance(step, Scale) and step.scale == 1.0 for step in pools)
    if not whole or (torch.is_grad_enabled() and (weight.requires_grad or spikes.requires_grad)):
        return None
    value = spikes.to(torch.float32)  # exact: spike counts, and sums of few of them, are far below 2^24
    for step in connection.before:
        value = apply_map(step, value)
    stride, padding, dilation = ((s[0], s[1]) for s in (connection.stride, connection.padding, connection.dilation))
    geometry = stride, padding, dilation, connection.groups
    return exact_conv2d(value, weight, synapse.bias, geometry)


def _holds_whole_numbers(values: Tensor) -> bool:
    """Integers, or floats that are; those of a size that float32 does not hold are told by their sums' bound."""
    return not values.is_floating_point() or bool((values == values.trunc()).all())


def apply_map(step: Map, value: Tensor) -> Tensor:
    """A weightless map on ``[rows, *shape]``."""
    if isinstance(step, Flatten):
        return value.flatten(step.start + 1, step.end + 1)
    if isinstance(step, Scale):
        dtype = torch.promote_types(value.dtype, torch.float32)
        return value * torch.as_tensor(step.factor, dtype=dtype, device=value.device)
    kh, kw = step.kernel
    ph, pw = step.padding
    sh, sw = step.stride
    value = F.pad(value, (pw, pw, ph, ph)) if ph or pw else value
    rows, cols = (value.shape[-2] - kh) // sh + 1, (value.shape[-1] - kw) // sw + 1
    total = torch.zeros((), dtype=value.dtype, device=value.device)
    for i in range(kh):  # slice-adds: several times faster than avg_pool2d (QUALITY, traps)
        for j in range(kw):
            total = total + value[..., i : i + sh * rows : sh, j : j + sw * cols : sw][..., :rows, :cols]
    return total if step.scale == 1.0 else total * step.scale
