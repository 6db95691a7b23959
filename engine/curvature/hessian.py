"""The quantity ``hessian``: traces of the full Hessian with a twice differentiable surrogate (may be negative)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.curvature.adjoints import sum_adjoint
from engine.curvature.blocks import Block, Blocks
from engine.curvature.directions import Direction, draw
from engine.curvature.estimator import Clock, LayerTrace, Progress, StopRule
from engine.curvature.exact_rest import exact_rest
from engine.curvature.gauss_newton import GaussNewton, further_probes, gauss_newton, trusted
from engine.curvature.linear_network import feeds_itself, reached_from
from engine.curvature.objective import Objective
from engine.curvature.shards import Merged, Piece, generator_of, merge
from engine.curvature.sweeps import tangents
from engine.curvature.wires import Wire
from engine.errors import InvalidSpec
from engine.kernels.fill import Change, as_tensor
from engine.kernels.step import needed

GAUSS_NEWTON_ERROR = 0.5  # of the asked error where the rest is probed: its sweeps serve all layers at once


def hessian_trace(
    objective: Objective,
    stop: StopRule,
    seed: int,
    events: Progress,
    dtype: torch.dtype = torch.float64,
    *,
    channels: bool = False,
) -> tuple[LayerTrace, ...]:
    """``tr H_l`` per layer: what needs no probe first, probes only for the rest.

    ``H = G + (H − G)``. The trace of G comes from backward sweeps (:mod:`engine.curvature.gauss_newton`). Of
    ``H − G``, the curvature of the layer's own neurons and of the next linear layer's are closed where the reset is
    detached (:mod:`engine.curvature.exact_rest`). What is left is ``E[V'(H − G)V]`` over random signs V in one layer,
    one forward tangent pass each (:mod:`engine.curvature.quadratic`), summed over the layers that are not covered.
    Where they are asked for, one more sweep, back from ``bend·du``, splits it by output channel:
    ``V'(H − G)V = Σ_o ⟨V_o, ((H − G)V)_o⟩``. On a cycle, and where inputs are dropped, each channel has its own pass
    instead: ``Σ_o V_o'(H − G)V_o``, which has the same mean.

    Args:
        objective: network, samples, loss, surrogate.
        stop: asked standard error, relative to the larger of ``|tr H|`` and ``tr G`` (tr H can cancel to nearly
            nothing in early layers), and caps.
        seed: of the probes.
        events: told after every round.
        dtype: of the derivatives; the network itself runs in float64.
        channels: traces of output channels too.

    Raises:
        InvalidSpec: ``invalid_step`` where derivatives overflow.
    """
    blocks, clock = Blocks(objective, dtype), Clock()
    known = [_known(blocks, name) for name in blocks.names]
    shares = torch.tensor([1.0 if covered else GAUSS_NEWTON_ERROR for _, covered in known], dtype=torch.float64)
    base = gauss_newton(blocks, stop, seed, events, clock, shares=shares)
    return tuple(
        _layer(blocks, k, base, known[k], stop, seed, events, clock, channels=channels)
        for k in range(len(blocks.names))
    )


def _layer(
    blocks: Blocks,
    k: int,
    base: GaussNewton,
    closed: tuple[Tensor, bool],
    stop: StopRule,
    seed: int,
    events: Progress,
    clock: Clock,
    *,
    channels: bool,
) -> LayerTrace:
    name, samples = blocks.names[k], blocks.objective.samples
    by_channel, covered = closed[0] / samples, closed[1]
    known, gauss = float(by_channel.sum()), float(base.trace[k])
    part, variance = gauss + known, float(base.variance[k])
    probed, probes, split = 0.0, 0, covered
    by_channel = by_channel + torch.split(base.channels, list(blocks.channels))[k]
    spread = torch.split(base.channel_variance, list(blocks.channels))[k]
    if not covered:
        target = _Target(name, part, gauss, variance, channels)
        merged = _probe_until(blocks, target, stop, seed, events, clock)
        probed, probes, split = float(merged.mean()) / samples, merged.probes, merged.channels.shape[1] > 0
        variance += float(merged.variance()) / samples**2
        if split:
            by_channel = by_channel + merged.channels.mean(0) / samples
            spread = spread + merged.channels.var(0) / probes / samples**2
    trace, error = part + probed, variance**0.5
    sure = abs(known) + (gauss if base.exact else 0.0)
    whole = abs(known) + gauss + abs(probed)
    return LayerTrace(
        layer=name,
        trace=trace,
        standard_error=error,
        probes=probes + (0 if base.exact else base.probes),
        converged=error <= stop.relative_error * max(abs(trace), gauss),
        exact_share=1.0 if covered and base.exact else (sure / whole if whole > 0 else 0.0),
        gauss_newton=gauss,
        channels=tuple(by_channel.tolist()) if split else (),
        channel_errors=tuple(spread.sqrt().tolist()) if split else (),
    )


def _known(blocks: Blocks, name: str) -> tuple[Tensor, bool]:
    """Sum over samples of what is closed, per channel ``[out]``, and whether nothing is left."""
    total, covered = torch.zeros(dict(zip(blocks.names, blocks.channels, strict=True))[name], dtype=torch.float64), True
    for block in blocks:
        wire = block.network.wire(name)
        if feeds_itself(block.network, wire):
            return torch.zeros_like(total), False
        values, done = exact_rest(block, wire)
        total += values.double().sum(0).cpu()
        covered = covered and not _left(block, wire, done)
    return total, covered


def _left(block: Block, wire: Wire, done: frozenset[str]) -> list[str]:
    """Layers from the connection's target on that bend and are not covered, in execution order."""
    reached, bends = reached_from(block.network, wire.connection.target), block.bent.bends
    return [
        stage.name
        for stage in block.network.stages
        if stage.name in reached - done and stage.name in bends and bends[stage.name].bend is not None
    ]


@dataclass(frozen=True)
class _Target:
    """A layer that is probed: what is known of its trace, the Gauss-Newton part, its variance; channels are asked."""

    name: str
    part: float
    gauss: float
    variance: float
    channels: bool


def _probe_until(blocks: Blocks, target: _Target, stop: StopRule, seed: int, events: Progress, clock: Clock) -> Merged:
    samples, pieces, done = blocks.objective.samples, list[Piece](), 0
    wanted = min(stop.min_probes, stop.max_probes)
    while True:
        for block in blocks:
            probe = rest_probe(block, target.name, channels=target.channels)
            pieces += [probe(seed, index) for index in range(done, done + wanted)]
        done += wanted
        merged = merge(pieces)
        if not bool(torch.isfinite(merged.units).all()):
            raise InvalidSpec(
                "invalid_step", f"sensitivity: second derivatives of layer {target.name!r} overflow", target.name
            )
        events.progress("sensitivity", done, max(done, stop.max_probes), f"{target.name}: probes", probes=done)
        size = max(abs(target.part + float(merged.mean()) / samples), target.gauss)
        allowed = max((stop.relative_error * size) ** 2 - target.variance, 0.0) ** 0.5 * samples
        error = trusted(merged.variance().sqrt(), merged)
        wanted = further_probes(done, error, torch.tensor([allowed]), stop, clock)
        if wanted == 0:
            return merged


def rest_probe(block: Block, name: str, *, channels: bool = False) -> Callable[[int, int], Piece]:
    """Probes of ``tr(H − G)``, less what is closed, for one connection: a function of (seed, number)."""
    network = block.network
    wire = network.wire(name)
    back = feeds_itself(network, wire)
    done: frozenset[str] = frozenset() if back else exact_rest(block, wire)[1]
    bends = {stage: block.bent.bends[stage] for stage in _left(block, wire, done)}
    reached = reached_from(network, wire.connection.target)
    looped = any(feeds_itself(network, w) for s in network.stages if s.name in reached for w in s.wires)
    splits = channels and not looped and all(bend.cross is None for bend in bends.values())
    alone = range(wire.raw_shape[0]) if channels and not splits else ()  # channels that a sweep each is for

    def sweep(change: Change, direction: Direction, channel: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """``V'(H − G)V`` of every sample ``[batch]``; where they are split, ``bend·du`` of the layers that bend."""
        values = network.outputs.new_zeros(network.batch, dtype=torch.float64)
        changed: dict[str, Tensor] = {}
        pulled: dict[str, Tensor] = {}
        missing = set(bends)
        keep = () if direction.meets is None else (wire.connection.source,)
        membranes = tuple(bends) if splits else ()
        for stage, tangent in tangents(network, {wire.connection.target: change}, bends, keep, membranes):
            if tangent.curvature is not None:
                values = values + tangent.curvature
            if splits and stage.name in missing and tangent.u is not None:
                pulled[stage.name] = needed(bends[stage.name].bend) * tangent.u
            missing.discard(stage.name)
            if tangent.n is not None and direction.meets is not None:
                changed[stage.name] = tangent.n
            if not missing and (direction.meets is None or wire.connection.source in changed):
                break
        if direction.meets is not None and wire.connection.target in block.bent.acc:
            met = direction.meets(changed)
            values = values + (met.sum(1) if channel is None else met[:, channel])
        return values.double(), pulled

    def probe(seed: int, number: int) -> Piece:
        place = (f"rest {name}", block.index, number)
        direction = draw(block, wire, generator_of(seed, place))
        if alone:
            whole = as_tensor(direction.seed)
            each = torch.stack([sweep(_only(whole, o, len(alone)), direction, o)[0] for o in alone], dim=1)
            values, split = each.sum(1), each.sum(0).cpu()
        else:
            change = as_tensor(direction.seed) if splits else direction.seed
            values, pulled = sweep(change, direction)
            split = _by_channel(block, wire, pulled, as_tensor(change)) if splits else values.new_zeros(0).cpu()
        units = values.cpu().unsqueeze(1)
        return Piece(place, units if direction.independent else units.sum(0, keepdim=True), split)

    return probe


def _only(change: Tensor, channel: int, channels: int) -> Tensor:
    """``V·X`` ``[time, batch, neuron...]`` of one output channel's weights alone."""
    kept = torch.zeros_like(change, memory_format=torch.contiguous_format)
    shape = (*change.shape[:2], channels, -1)
    kept.view(shape)[:, :, channel] = change.reshape(shape)[:, :, channel]
    return kept


def _by_channel(block: Block, wire: Wire, seeds: dict[str, Tensor], direction: Tensor) -> Tensor:
    """``⟨V_o, ((H − G)V)_o⟩`` summed over samples, ``[out]``: the direction's own sums against their adjoint."""
    acc = sum_adjoint(block.network, seeds, wire.connection.target)
    product = (acc * direction).reshape(block.network.steps, block.network.batch, wire.raw_shape[0], -1)
    return product.sum((0, 1, 3), dtype=torch.float64).cpu()
