"""Random directions in one connection's weights, and what they add to its target's sum. Independent signs throughout.

Only the covariance of a direction matters for the mean of a quadratic form, so where a sample has its own direction and
nothing else sees its weights, its ``V·X`` is drawn directly: ``K^{1/2}·ξ`` with the Gram matrix ``K = X·Xᵀ`` (T × T)
in the place of in × out signs (PERFORMANCE section 1, "Gram-coloured"). Where few inputs spike, the signs themselves
are quicker, a bit each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.curvature.blocks import Block
from engine.curvature.linear_network import LinearNetwork, feeds_itself
from engine.curvature.output_losses import rademacher
from engine.curvature.wires import Wire
from engine.kernels.fill import Change, as_tensor
from engine.kernels.sign_linear import sign_products

OWN_BYTES = 64 * 2**20  # of weights, up to which every sample of a block draws its own


@dataclass(frozen=True)
class Direction:
    """A draw: ``seed`` ``[time, batch, neuron...]`` (to be consumed); whether samples are independent of each other;
    what the direction adds where it meets spikes that it changed itself, ``2·⟨λ, V·ds⟩`` ``[batch, out]`` by output
    channel (None: nothing).
    """

    seed: Change
    independent: bool
    meets: Callable[[Mapping[str, Tensor]], Tensor] | None


def draw(block: Block, wire: Wire, generator: torch.Generator) -> Direction:
    """A direction with independent signs (mean 0, covariance 1) in one connection's weights.

    Args:
        block: samples, linearised.
        wire: the connection.
        generator: the only source of randomness.
    """
    network = block.network
    back = feeds_itself(network, wire)
    if wire.connection.kind == "linear":
        if not back:
            return Direction(_seed(network, wire, _unmet(block, wire, generator)), True, None)
        if _own_bytes(block, wire) <= OWN_BYTES:
            return _own(block, wire, generator)
    elif not back and _own_bytes(block, wire) <= OWN_BYTES:
        return Direction(_seed(network, wire, _own_kernels(block, wire, generator)), True, None)
    return _shared(block, wire, generator)


def _seed(network: LinearNetwork, wire: Wire, change: Change) -> Change:
    """``[time, batch, *raw_shape]`` to the target's sum."""
    bare = not wire.after and wire.raw_shape == wire.target_shape
    if bare and wire.gain is None:
        return change
    raw = as_tensor(change)
    if bare and wire.gain is not None:
        return raw * wire.gain
    return wire.finish(raw.flatten(0, 1)).reshape(network.steps, network.batch, *wire.target_shape)


def _unmet(block: Block, wire: Wire, generator: torch.Generator) -> Change:
    """Own weights for every sample, drawn where that costs least: ``[time, batch, out]``."""
    network, like = block.network, block.network.seen[wire.connection.name]
    if block.norms.sparse(wire):
        seen = like.reshape(network.steps, network.batch, -1)
        return sign_products(block.norms.events(wire), seen, wire.raw_shape[0], generator)
    if block.norms.wide(wire):
        root = block.norms.gram_root(wire)
        signs = rademacher((network.batch, network.steps, wire.raw_shape[0]), like, generator)
        return (root @ signs).transpose(0, 1)
    signs = rademacher((network.batch, wire.mapped_shape[0], wire.raw_shape[0]), like, generator)
    return (block.norms.rows(wire) @ signs).transpose(0, 1)


def _own_kernels(block: Block, wire: Wire, generator: torch.Generator) -> Change:
    windows, network = block.norms.windows(wire), block.network
    signs = rademacher((network.batch, *windows.geometry.kernel_shape), network.seen[wire.connection.name], generator)
    sums = windows.sums(signs)
    if len(wire.raw_shape) == 3:
        return sums
    return as_tensor(sums).reshape(network.steps, network.batch, *wire.raw_shape)


def _own(block: Block, wire: Wire, generator: torch.Generator) -> Direction:
    """Own weights for every sample of a connection that sees what it changes."""
    network, rows = block.network, block.norms.rows(wire)
    signs = rademacher((network.batch, wire.mapped_shape[0], wire.raw_shape[0]), rows, generator)

    def meets(changed: Mapping[str, Tensor]) -> Tensor:
        spikes = wire.late(changed[wire.connection.source])
        mapped = wire.map(spikes.flatten(0, 1)).reshape(network.steps, network.batch, -1).transpose(0, 1)
        value = as_tensor(_seed(network, wire, (mapped @ signs).transpose(0, 1)))
        return _met(wire, block.bent.acc[wire.connection.target] * value)

    return Direction(_seed(network, wire, (rows @ signs).transpose(0, 1)), True, meets)


def _shared(block: Block, wire: Wire, generator: torch.Generator) -> Direction:
    """One vector for all samples of the block."""
    network, seen = block.network, block.network.seen[wire.connection.name]
    weight = wire.connection.weight
    signs = rademacher(() if weight is None else weight.shape, seen, generator)

    def meets(changed: Mapping[str, Tensor]) -> Tensor:
        spikes = wire.late(changed[wire.connection.source])
        value = wire.weigh(wire.map(spikes.flatten(0, 1)), signs)
        acc = block.bent.acc[wire.connection.target]
        return _met(wire, acc * value.reshape(acc.shape))

    seed = wire.weigh(seen, signs).reshape(network.steps, network.batch, *wire.target_shape)
    return Direction(seed, False, meets if feeds_itself(network, wire) else None)


def _met(wire: Wire, product: Tensor) -> Tensor:
    """``2·λ·(V·ds)`` ``[time, batch, neuron...]`` by output channel: ``[batch, out]``."""
    return 2.0 * product.reshape(*product.shape[:2], wire.raw_shape[0], -1).sum((0, 3))


def _own_bytes(block: Block, wire: Wire) -> int:
    """Of weights for every sample."""
    weight = wire.connection.weight
    return 0 if weight is None else weight.size * block.network.batch * block.network.outputs.element_size()
