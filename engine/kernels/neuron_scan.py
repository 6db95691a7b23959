"""All time steps of one neuron layer, with its own recurrent weights, and a hand-written backward through time.

Twin of repeating :func:`engine.kernels.step.neuron_step`. The native scan computes it where it is built
(:mod:`engine.kernels.native_scan`), plain torch elsewhere (:mod:`engine.kernels.torch_scan`), with the same numbers.
Axes: currents, spikes and membranes ``[time, batch, neuron...]``. With recurrent weights the neuron axes are one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.kernels import native_scan, torch_scan
from engine.kernels.rules import NeuronRule
from engine.kernels.scan_types import Saved, ScanInput, ScanOutput
from engine.kernels.step import NeuronState, SpikeGradient, neuron_step, start_state


@dataclass(frozen=True)
class ScanResult:
    """Spikes ``[time, batch, neuron...]``, the membrane after every step (None: not asked) and the final state."""

    spikes: Tensor
    membrane: Tensor | None
    final: NeuronState


def neuron_scan(
    current: Tensor,
    rule: NeuronRule,
    *,
    gain: Tensor | None = None,
    dtype: torch.dtype | None = None,
    recurrent: Tensor | None = None,
    gradient: SpikeGradient | None = None,
    keep_membrane: bool = False,
) -> ScanResult:
    """Run a layer over all steps.

    Args:
        current: synaptic sums from outside the layer ``[time, batch, neuron...]``.
        rule: the neurons; ``bias``, ``bias_i``, ``fire_at`` and ``reset_sub`` may require gradients.
        gain: what brings the sums into units of the membrane, broadcastable to the layer's shape; None: they are.
        dtype: of the state; None: that of ``current``, which may be float32 where the state is float64.
        recurrent: weights ``[neuron, neuron]`` (to, from) on the layer's spikes of the step before, in the state's
            dtype.
        gradient: how to differentiate; None: values alone, nothing is saved.
        keep_membrane: also return the membrane after every step.

    Raises:
        ValueError: recurrent weights for a layer with several neuron axes.
    """
    if recurrent is not None and current.dim() != 3:
        raise ValueError(f"recurrent weights need currents [time, batch, neuron], got {tuple(current.shape)}")
    given = ScanInput(current, gain, recurrent, current.dtype if dtype is None else dtype)
    if gain is not None and gain.requires_grad:
        given = ScanInput(current.to(given.dtype) * gain, None, recurrent, given.dtype)
    if rule.residue_raises:
        return _scan_by_steps(given, rule, gradient, keep_membrane)
    if gradient is None:
        with torch.no_grad():
            out = _forward(given, rule, keep_membrane=keep_membrane, saving=False)
        return ScanResult(out.spikes, out.membrane, NeuronState(out.v, out.i, out.spikes[-1]))
    spikes, membrane, v, i = _Scan.apply(  # type: ignore[no-untyped-call]
        given.current, recurrent, rule.bias, rule.bias_i, rule.fire_at, rule.reset_sub, given, rule, gradient,
        keep_membrane,
    )  # fmt: skip
    return ScanResult(spikes, membrane, NeuronState(v, i, spikes[-1]))


def saving_scan(current: Tensor, rule: NeuronRule, recurrent: Tensor | None, *, keep_membrane: bool) -> ScanOutput:
    """:func:`neuron_scan` without autograd, with what a backward or tangent pass needs.

    Raises:
        ValueError: the rule is one that the fast forms lack (``residue_raises``).
    """
    if rule.residue_raises:
        raise ValueError("a residue that raises the threshold has no fast form, walk step by step")
    with torch.no_grad():
        return _forward(
            ScanInput(current, None, recurrent, current.dtype), rule, keep_membrane=keep_membrane, saving=True
        )


def _scan_by_steps(
    given: ScanInput, rule: NeuronRule, gradient: SpikeGradient | None, keep_membrane: bool
) -> ScanResult:
    """The twin itself, for the one rule that the fast forms lack; autograd differentiates it."""
    current = given.current.to(given.dtype)
    current = current if given.gain is None else current * given.gain
    current = current if rule.bias_i is None else current + rule.bias_i
    rule, state = replace(rule, bias_i=None), start_state(rule, current[0])
    spikes, membranes = [], []
    for acc in current.unbind(0):
        arriving = acc if given.recurrent is None else torch.addmm(acc, state.n, given.recurrent.T)
        state = neuron_step(rule, state, arriving, gradient)
        spikes.append(state.n)
        membranes.append(state.v)
    return ScanResult(torch.stack(spikes), torch.stack(membranes) if keep_membrane else None, state)


def _forward(given: ScanInput, rule: NeuronRule, *, keep_membrane: bool, saving: bool) -> ScanOutput:
    found = native_scan.suited(given, rule)
    if found is None:
        return torch_scan.forward(given, rule, keep_membrane=keep_membrane, saving=saving)
    return native_scan.forward(found, given, rule, keep_membrane=keep_membrane, saving=saving)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        recurrent: Tensor | None,
        bias: Tensor | None,
        bias_i: Tensor | None,
        fire_at: Tensor | None,
        reset_sub: Tensor | None,
        given: ScanInput,
        rule: NeuronRule,
        gradient: SpikeGradient,
        keep_membrane: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        out = _forward(given, rule, keep_membrane=keep_membrane, saving=True)
        saved = out.saved
        if saved is None:
            raise ValueError("the scan saved nothing for its backward pass")
        ctx.save_for_backward(saved.u, saved.raw, saved.inside, recurrent)
        # an empty stand-in: holding the current itself would keep what nobody needs any more
        ctx.given = ScanInput(current.new_empty(()).expand(current.shape), given.gain, None, given.dtype)
        ctx.rule, ctx.gradient = rule, gradient
        ctx.shapes = tuple(None if t is None else t.shape for t in (bias, bias_i, fire_at, reset_sub))
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(t for t in (out.v, out.i) if t is not None))
        return out.spikes, out.membrane, out.v, out.i

    @staticmethod
    def backward(ctx: Any, g_spikes: Tensor | None, g_membrane: Tensor | None, *_: Any) -> tuple[Any, ...]:
        u, raw, inside, recurrent = ctx.saved_tensors
        given = ScanInput(ctx.given.current, ctx.given.gain, recurrent, ctx.given.dtype)
        found, saved = native_scan.suited(given, ctx.rule), Saved(u, raw, inside)
        wanted = recurrent is not None and ctx.needs_input_grad[1]
        if found is None:
            grads = torch_scan.backward(
                given, ctx.rule, ctx.gradient, saved, g_spikes, g_membrane, recurrent_wanted=wanted
            )
        else:
            grads = native_scan.backward(
                found, given, ctx.rule, ctx.gradient, saved, g_spikes, g_membrane, recurrent_wanted=wanted,
                sums_wanted=any(ctx.needs_input_grad[2:6]),
            )  # fmt: skip
        sums = (grads.bias, grads.bias_i, grads.fire_at, grads.reset_sub)
        reduced = [
            total.sum_to_size(shape) if asked and shape is not None and total is not None else None
            for shape, asked, total in zip(ctx.shapes, ctx.needs_input_grad[2:6], sums, strict=True)
        ]
        return grads.current, grads.recurrent, *reduced, None, None, None, None
