"""The native scan against the torch scan: the same bits, over every rule; and what happens where it is not built."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.kernels import build, native, native_scan
from engine.kernels.neuron_scan import neuron_scan
from engine.kernels.rules import FloatLeak, MulShiftLeak, NeuronRule, NoLeak, ShiftLeak
from engine.kernels.scan_types import ScanInput
from engine.kernels.step import SpikeGradient
from tests.kernels.test_neuron_scan import EXTRAS, RESETS, make_rule

needs_library = pytest.mark.skipif(native.library() is None, reason=f"the native scan is not built: {native.status()}")
F32, F64 = torch.float32, torch.float64


def cast(rule: NeuronRule, dtype: torch.dtype) -> tuple[NeuronRule, list[torch.Tensor]]:
    """The rule in another dtype, and its differentiable values as new leaves."""
    changed: dict[str, Any] = {}
    for name in ("bias", "bias_i", "fire_at", "reset_sub", "reset_to", "floor", "start"):
        value = getattr(rule, name)
        if value is not None:
            changed[name] = value.detach().to(dtype).requires_grad_(value.requires_grad)
    for name in ("leak_v", "leak_i"):
        leak = getattr(rule, name)
        values = {"m": "m", "k": "k", "factor": "factor"}
        for field in values:
            if hasattr(leak, field):
                changed[name] = replace(leak, **{field: getattr(leak, field).to(dtype)})
    rule = replace(rule, **changed)
    leaves = [getattr(rule, name) for name in ("bias", "bias_i", "fire_at", "reset_sub")]
    return rule, [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]


def run_both(current, rule, leaves, recurrent=None, through=True, **options):
    """Everything that the scan gives, from both implementations."""
    results = []
    for off in (False, True):
        if off:
            with native.switched_off():
                results.append(outcome(current, rule, leaves, recurrent, through, **options))
        else:
            results.append(outcome(current, rule, leaves, recurrent, through, **options))
    return results


def outcome(current, rule, leaves, recurrent, through, **options):
    gradient = SpikeGradient(slope=3.0, through_reset=through)
    plain = neuron_scan(current.detach(), rule, recurrent=recurrent, keep_membrane=True, **options)
    found = neuron_scan(current, rule, recurrent=recurrent, gradient=gradient, keep_membrane=True, **options)
    generator = torch.Generator().manual_seed(9)
    weights = [torch.randn(found.spikes.shape, generator=generator, dtype=found.spikes.dtype) for _ in range(2)]
    total = (found.spikes * weights[0]).sum() + (found.membrane * weights[1] * 0.1).sum()
    wanted = [current, *leaves, *([] if recurrent is None or not recurrent.requires_grad else [recurrent])]
    grads = torch.autograd.grad(total, wanted, allow_unused=True)
    values = [plain.spikes, plain.membrane, plain.final.v, found.spikes, found.membrane, found.final.v]
    values += [t for t in (plain.final.i, found.final.i) if t is not None]
    return [t.detach() for t in values], grads


def assert_same_bits(got, want):
    for one, two in zip([*got[0], *got[1]], [*want[0], *want[1]], strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            assert one.dtype == two.dtype
            assert torch.equal(one, two)


@needs_library
@pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("cuba", [None, "new", "old"])
@pytest.mark.parametrize(("reset", "extra"), list(itertools.product(RESETS, EXTRAS)))
def test_native_is_the_torch_scan_to_the_bit(reset, extra, cuba, through, dtype):
    rule, leaves = cast(make_rule(reset, extra, cuba)[0], dtype)
    unit = 64.0 if extra.get("integer") else 1.0
    current = (torch.randn(25, 5, 3, generator=torch.Generator().manual_seed(3), dtype=dtype) * 0.5 + 0.2) * unit
    current = (current.round() if extra.get("integer") else current).requires_grad_()
    assert_same_bits(*run_both(current, rule, leaves, through=through))


@needs_library
@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("cuba", [None, "new", "old"])
@pytest.mark.parametrize("reset", RESETS)
def test_recurrent_sums_of_whole_numbers_are_the_same_in_any_order(reset, cuba, through):
    rule, leaves = make_rule(reset, {"integer": True}, cuba)
    generator = torch.Generator().manual_seed(4)
    current = (torch.randn(25, 5, 3, generator=generator, dtype=F64) * 32 + 13).round().requires_grad_()
    recurrent = (torch.randn(3, 3, generator=generator, dtype=F64) * 20).round().requires_grad_()
    (values, grads), (twin_values, twin_grads) = run_both(current, rule, leaves, recurrent, through)
    assert_same_bits((values, ()), (twin_values, ()))
    for one, two in zip(grads, twin_grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@needs_library
@pytest.mark.parametrize("leak", ["none", "shift", "multiply"])
@pytest.mark.parametrize("rounding", ["floor", "toward_zero", "half_up"])
def test_every_integer_leak_in_both_dtypes(leak, rounding):
    """States of 20 bits times factors of 12: float32 states are exact because the product is a float64."""
    whole = torch.randint(-200_000, 300_000, (30, 4, 3), generator=torch.Generator().manual_seed(1))
    values = []
    for dtype in (F64, F32):
        leaks = {
            "none": NoLeak(),
            "shift": ShiftLeak(torch.tensor([1.0, 2.0, 25.0], dtype=dtype), rounding),
            "multiply": MulShiftLeak(torch.tensor(3687.0, dtype=dtype), 12, rounding),
        }
        fire = torch.tensor(200_000.0, dtype=dtype, requires_grad=True)
        rule = NeuronRule(leak_v=leaks[leak], fire_at=fire, reset_sub=fire, limit=(-524288.0, 524287.0))
        both = run_both(whole.to(dtype).requires_grad_(), rule, [fire])
        assert_same_bits(*both)
        values.append([t.double() for t in both[0][0]])
    assert all(torch.equal(one, two) for one, two in zip(*values, strict=True))


@needs_library
@pytest.mark.parametrize("shape", [(7,), (3, 5, 7), (700,), (1500,)])
@pytest.mark.parametrize("narrow", [False, True])
def test_shapes_gains_and_narrow_inputs(shape, narrow):
    generator = torch.Generator().manual_seed(2)
    per_row = (shape[0], *[1] * (len(shape) - 1))
    fire = (torch.rand(per_row, generator=generator, dtype=F64) * 40 + 20).round().requires_grad_()
    sub = fire.detach().clone().requires_grad_()
    bias = (torch.randn(per_row, generator=generator, dtype=F64) * 3).round().requires_grad_()
    rule = NeuronRule(
        leak_v=MulShiftLeak(torch.full(per_row, 57.0, dtype=F64), 6, "half_up"), bias=bias, fire_at=fire,
        reset_sub=sub, limit=(-128.0, 127.0), start=torch.full((), 5.0, dtype=F64),
    )  # fmt: skip
    current = torch.randint(-5, 9, (12, 6, *shape), generator=generator).to(F32 if narrow else F64).requires_grad_()
    gain = 2.0 ** torch.randint(0, 3, per_row, generator=generator).to(F64)
    assert_same_bits(*run_both(current, rule, [bias, fire, sub], gain=gain, dtype=F64))


@needs_library
@pytest.mark.parametrize("recurrent", [False, True])
def test_results_do_not_depend_on_threads(recurrent, monkeypatch):
    monkeypatch.setattr(native, "LEAST_WORK", 1)
    generator = torch.Generator().manual_seed(6)
    fire = torch.ones(37, dtype=F32, requires_grad=True)
    rule = NeuronRule(leak_v=FloatLeak(torch.tensor(0.9)), leak_i=FloatLeak(torch.tensor(0.7)), fire_at=fire,
                      reset_sub=fire, bias=torch.zeros(37, requires_grad=True))  # fmt: skip
    current = (torch.randn(20, 11, 37, generator=generator) * 0.4 + 0.1).requires_grad_()
    weight = (torch.randn(37, 37, generator=generator) * 0.1).requires_grad_() if recurrent else None
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(outcome(current, rule, [fire, rule.bias], weight, True))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0][0], other[0], strict=True):
            assert torch.equal(one, two)
        for one, two in zip(results[0][1][:3], other[1][:3], strict=True):  # the matrix product is torch's own
            assert torch.equal(one, two)


@needs_library
@pytest.mark.parametrize("rule", [dict(max_spikes=7), dict(order="after_leak", timing="next_step", drop_input=True)])
def test_neurons_that_never_fire_need_no_reset(rule):
    current = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(8)).requires_grad_()
    assert_same_bits(*run_both(current, NeuronRule(leak_v=FloatLeak(torch.tensor(0.9)), **rule), []))


@needs_library
def test_threads_flush_denormals_as_the_caller_does(monkeypatch):
    monkeypatch.setattr(native, "LEAST_WORK", 1)
    rule = NeuronRule(leak_v=FloatLeak(torch.tensor(0.5)), start=torch.tensor(1e-37))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        kept = neuron_scan(torch.zeros(5, 4, 64), rule).final.v
        torch.set_flush_denormal(True)
        flushed = neuron_scan(torch.zeros(5, 4, 64), rule).final.v
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
    assert (kept > 0).all()
    assert (flushed == 0).all()


@needs_library
def test_what_the_kernels_do_not_know_is_left_to_torch():
    class OtherLeak(NoLeak):
        """A leak that the native code has never heard of."""

    current = torch.zeros(2, 1, 3)
    assert native_scan.suited(ScanInput(current, None, None, F32), NeuronRule(leak_v=NoLeak())) is not None
    assert native_scan.suited(ScanInput(current, None, None, F32), NeuronRule(leak_v=OtherLeak())) is None
    assert native_scan.suited(ScanInput(current.half(), None, None, F32), NeuronRule(leak_v=NoLeak())) is None
    assert neuron_scan(torch.zeros(2, 1, 3), NeuronRule(leak_v=OtherLeak())).spikes.sum() == 0


def test_without_a_library_the_torch_scan_runs_and_says_why(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(build, "FOLDER", tmp_path / "build")
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    native._load.cache_clear()
    try:
        fire = torch.tensor(1.0)
        result = neuron_scan(torch.ones(3, 1, 2), NeuronRule(leak_v=NoLeak(), fire_at=fire, reset_sub=fire))
        neuron_scan(torch.ones(3, 1, 2), NeuronRule(leak_v=NoLeak()))
        assert result.spikes.sum() == 6
        assert native.status() == "torch (no C compiler (cc, gcc or clang) was found)"
        assert caplog.text.count("the native scan is not used") == 1
    finally:
        monkeypatch.undo()
        native._load.cache_clear()


def test_nothing_is_compiled_where_the_folder_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "build").write_text("a file where the folder should be")
    monkeypatch.setattr(build, "FOLDER", tmp_path / "build")
    monkeypatch.setattr(build.subprocess, "run", lambda *a, **k: pytest.fail("the compiler was called"))
    monkeypatch.setattr(build, "_which", lambda name: "/usr/bin/cc")
    with pytest.raises(build.CannotBuild, match="build cannot be written"):
        build.build("DEFAULT")


def test_a_failing_compiler_is_told_and_leaves_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "FOLDER", tmp_path / "build")
    monkeypatch.setattr(build, "_which", lambda name: "/bin/false")
    assert build.main() == 0
    assert "not built: the C compiler failed: status 1" in capsys.readouterr().out
    assert list((tmp_path / "build").iterdir()) == []


@needs_library
def test_libraries_of_all_levels_give_the_same_bits():
    """Elementwise results are the same on every processor: the digest contract needs only the products' level."""
    import ctypes

    fire = torch.tensor(1.0, dtype=F32)
    rule = NeuronRule(leak_v=FloatLeak(torch.tensor(0.9)), fire_at=fire, reset_sub=fire)
    given = ScanInput(torch.randn(9, 4, 70, generator=torch.Generator().manual_seed(0)), None, None, F32)
    found = native.library()
    results = []
    for level in build.levels():
        if build.levels().index(level) > build.levels().index(found.level):
            continue  # this processor cannot run it
        library = native._bind(ctypes.CDLL(str(build.build(level))), level)
        out = native_scan.forward(library, given, rule, keep_membrane=True, saving=True)
        back = native_scan.backward(
            library, given, rule, SpikeGradient(3.0), out.saved, out.membrane, out.membrane, recurrent_wanted=False
        )
        results.append((out.spikes, out.membrane, back.current, back.fire_at))
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@needs_library
def test_channels_may_be_innermost_in_memory():
    generator = torch.Generator().manual_seed(7)
    fire = (torch.rand(6, 1, 1, generator=generator) + 0.5).requires_grad_()
    rule = NeuronRule(leak_v=FloatLeak(torch.rand(6, 1, 1, generator=generator)), fire_at=fire, reset_sub=fire)
    plain = torch.randn(5, 3, 6, 4, 2, generator=generator)
    inner = plain.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    results = [outcome(x.detach().requires_grad_(), rule, [fire], None, True) for x in (plain, inner)]
    assert_same_bits((results[0][0], results[0][1][:1]), (results[1][0], results[1][1][:1]))
    torch.testing.assert_close(results[0][1][1], results[1][1][1])  # summed over neurons in another order
    assert neuron_scan(inner, rule).spikes.stride() == inner.stride()


FUSED = [
    dict(order="after_leak", timing="next_step"),
    dict(),
]


@needs_library
@pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("limit", [None, (-1.5, 1.5)])
@pytest.mark.parametrize("compare", ["gt", "ge"])
@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("reset", FUSED)
def test_the_one_pass_backward_is_the_torch_scans_to_the_bit(reset, learned, compare, limit, through, dtype):
    """The rules that native/fused.inc takes: gradients of spikes alone."""
    generator = torch.Generator().manual_seed(5)
    fire = (torch.rand(7, generator=generator, dtype=dtype) + 0.4).requires_grad_(learned)
    sub = (fire.detach() * 0.9).requires_grad_(learned)
    bias = (torch.randn(7, generator=generator, dtype=dtype) * 0.05).requires_grad_(learned)
    leak = FloatLeak(torch.rand(7, generator=generator, dtype=dtype))
    rule = NeuronRule(leak_v=leak, fire_at=fire, reset_sub=sub, bias=bias, compare=compare, limit=limit, **reset)
    current = (torch.randn(9, 90, 7, generator=generator, dtype=dtype) + 0.3).requires_grad_()
    g = torch.randn(9, 90, 7, generator=generator, dtype=dtype)
    for gain in (None, torch.tensor(2.0, dtype=dtype)):
        results = []
        for off in (False, True):
            with native.switched_off() if off else contextlib.nullcontext():
                found = neuron_scan(current, rule, gain=gain, gradient=SpikeGradient(3.0, through))
            leaves = [current, *([fire, sub, bias] if learned else [])]
            with native.switched_off() if off else contextlib.nullcontext():
                results.append(torch.autograd.grad(found.spikes, leaves, g))
        assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))
        assert results[0][0].abs().sum() > 0
