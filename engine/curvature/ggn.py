"""The quantity ``ggn``: traces of the generalised Gauss-Newton matrix (non-negative; the default)."""

from __future__ import annotations

import torch

from engine.curvature.blocks import Blocks
from engine.curvature.estimator import Clock, LayerTrace, Progress, StopRule
from engine.curvature.gauss_newton import gauss_newton
from engine.curvature.objective import Objective


def ggn_trace(
    objective: Objective,
    stop: StopRule,
    seed: int,
    events: Progress,
    dtype: torch.dtype = torch.float64,
    *,
    channels: bool = True,
) -> tuple[LayerTrace, ...]:
    """``tr G_l`` per layer and output channel; :func:`engine.curvature.gauss_newton.gauss_newton` has the equation.

    Args:
        objective: network, samples, loss, surrogate.
        stop: asked relative standard error and caps.
        seed: of the probes.
        events: told after every block.
        dtype: of the derivatives; the network itself runs in float64.
        channels: traces of output channels, which cost nothing here.

    Raises:
        InvalidSpec: ``invalid_step`` where derivatives overflow.
    """
    blocks = Blocks(objective, dtype)
    found = gauss_newton(blocks, stop, seed, events, Clock())
    traces, errors = found.trace.tolist(), found.variance.sqrt().tolist()
    parts = torch.split(found.channels, list(blocks.channels))
    spreads = torch.split(found.channel_variance.sqrt(), list(blocks.channels))
    return tuple(
        LayerTrace(
            layer=name,
            trace=traces[k],
            standard_error=errors[k],
            probes=found.probes,
            converged=errors[k] <= stop.relative_error * traces[k],
            exact_share=float(found.exact),
            gauss_newton=traces[k],
            channels=tuple(parts[k].tolist()) if channels else (),
            channel_errors=tuple(spreads[k].tolist()) if channels else (),
        )
        for k, name in enumerate(blocks.names)
    )
