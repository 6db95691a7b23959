"""The quantity ``hessian``: traces of the full Hessian with a twice differentiable surrogate (may be negative)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.curvature.blocks import Block, Blocks
from engine.curvature.directions import draw
from engine.curvature.estimator import Clock, LayerTrace, Progress, StopRule
from engine.curvature.exact_rest import exact_rest
from engine.curvature.gauss_newton import GaussNewton, further_probes, gauss_newton
from engine.curvature.linear_network import feeds_itself, reached_from
from engine.curvature.objective import Objective
from engine.curvature.shards import Merged, Piece, generator_of, merge
from engine.curvature.sweeps import tangents
from engine.curvature.wires import Wire
from engine.errors import InvalidSpec

GAUSS_NEWTON_ERROR = 0.5  # of the asked error where the rest is probed: its sweeps serve all layers at once


def hessian_trace(
    objective: Objective, stop: StopRule, seed: int, events: Progress, dtype: torch.dtype = torch.float64
) -> tuple[LayerTrace, ...]:
    """``tr H_l`` per layer: what needs no probe first, probes only for the rest.

    ``H = G + (H − G)``. The trace of G comes from backward sweeps (:mod:`engine.curvature.gauss_newton`). Of
    ``H − G``, the curvature of the layer's own neurons and of the next linear layer's are closed where the reset is
    detached (:mod:`engine.curvature.exact_rest`). What is left is ``E[V'(H − G)V]`` over random signs V in one layer,
    one forward tangent pass each (:mod:`engine.curvature.quadratic`), summed over the layers that are not covered.

    Args:
        objective: network, samples, loss, surrogate.
        stop: asked standard error, relative to the larger of ``|tr H|`` and ``tr G`` (tr H can cancel to nearly
            nothing in early layers), and caps.
        seed: of the probes.
        events: told after every round.
        dtype: of the derivatives; the network itself runs in float64.

    Raises:
        InvalidSpec: ``invalid_step`` where derivatives overflow.
    """
    blocks, clock = Blocks(objective, dtype), Clock()
    known = [_known(blocks, name) for name in blocks.names]
    shares = torch.tensor([1.0 if covered else GAUSS_NEWTON_ERROR for _, covered in known], dtype=torch.float64)
    base = gauss_newton(blocks, stop, seed, events, clock, shares=shares)
    return tuple(_layer(blocks, k, base, known[k], stop, seed, events, clock) for k in range(len(blocks.names)))


def _layer(
    blocks: Blocks,
    k: int,
    base: GaussNewton,
    closed: tuple[float, bool],
    stop: StopRule,
    seed: int,
    events: Progress,
    clock: Clock,
) -> LayerTrace:
    name, samples = blocks.names[k], blocks.objective.samples
    known, covered = closed
    part, variance = float(base.trace[k]) + known / samples, float(base.variance[k])
    probed, probes = 0.0, 0
    if not covered:
        merged = _probe_until(blocks, name, part, float(base.trace[k]), variance, stop, seed, events, clock)
        probed, probes = float(merged.mean()) / samples, merged.probes
        variance += float(merged.variance()) / samples**2
    trace, error = part + probed, variance**0.5
    sure = abs(known / samples) + (float(base.trace[k]) if base.exact else 0.0)
    whole = abs(known / samples) + float(base.trace[k]) + abs(probed)
    return LayerTrace(
        layer=name,
        trace=trace,
        standard_error=error,
        probes=probes + (0 if base.exact else base.probes),
        converged=error <= stop.relative_error * max(abs(trace), float(base.trace[k])),
        exact_share=1.0 if covered and base.exact else (sure / whole if whole > 0 else 0.0),
        gauss_newton=float(base.trace[k]),
    )


def _known(blocks: Blocks, name: str) -> tuple[float, bool]:
    """Sum over samples of what is closed, and whether nothing is left."""
    total, covered = 0.0, True
    for block in blocks:
        wire = block.network.wire(name)
        if feeds_itself(block.network, wire):
            return 0.0, False
        values, done = exact_rest(block, wire)
        total += float(values.double().sum())
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


def _probe_until(
    blocks: Blocks,
    name: str,
    part: float,
    gauss: float,
    variance: float,
    stop: StopRule,
    seed: int,
    events: Progress,
    clock: Clock,
) -> Merged:
    samples, pieces, done = blocks.objective.samples, list[Piece](), 0
    wanted = min(stop.min_probes, stop.max_probes)
    while True:
        for block in blocks:
            probe = rest_probe(block, name)
            pieces += [probe(seed, index) for index in range(done, done + wanted)]
        done += wanted
        merged = merge(pieces)
        if not bool(torch.isfinite(merged.units).all()):
            raise InvalidSpec("invalid_step", f"sensitivity: second derivatives of layer {name!r} overflow", name)
        events.progress("sensitivity", done, max(done, stop.max_probes), f"{name}: probes", probes=done)
        size = max(abs(part + float(merged.mean()) / samples), gauss)
        allowed = max((stop.relative_error * size) ** 2 - variance, 0.0) ** 0.5 * samples
        wanted = further_probes(done, merged.variance().sqrt(), torch.tensor([allowed]), stop, clock)
        if wanted == 0:
            return merged


def rest_probe(block: Block, name: str) -> Callable[[int, int], Piece]:
    """Probes of ``tr(H − G)``, less what is closed, for one connection: a function of (seed, number)."""
    wire = block.network.wire(name)
    back = feeds_itself(block.network, wire)
    done: frozenset[str] = frozenset() if back else exact_rest(block, wire)[1]
    left = _left(block, wire, done)

    def probe(seed: int, number: int) -> Piece:
        place = (f"rest {name}", block.index, number)
        direction = draw(block, wire, generator_of(seed, place))
        values = block.network.outputs.new_zeros(block.network.batch, dtype=torch.float64)
        changed: dict[str, Tensor] = {}
        missing = set(left)
        bends = {name: block.bent.bends[name] for name in left}
        keep = () if direction.meets is None else (wire.connection.source,)
        for stage, tangent in tangents(block.network, {wire.connection.target: direction.seed}, bends, keep):
            if tangent.curvature is not None:
                values = values + tangent.curvature
            missing.discard(stage.name)
            if tangent.n is not None and direction.meets is not None:
                changed[stage.name] = tangent.n
            if not missing and (direction.meets is None or wire.connection.source in changed):
                break
        if direction.meets is not None and wire.connection.target in block.bent.acc:
            values = values + direction.meets(changed)
        units = values.double().cpu().unsqueeze(1)
        units = units if direction.independent else units.sum(0, keepdim=True)
        return Piece(place, units, units.new_zeros(0))

    return probe
