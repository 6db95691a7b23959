"""What quantizers do in training steps alone: random and soft levels, scaled gradients, scales that are not free."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.quantizers.ewgs import DELTA, Ewgs
from engine.quantizers.fixed_point import FixedPoint
from engine.quantizers.form import Phase, level_range
from engine.quantizers.lsq import Lsq
from engine.quantizers.power_of_two import PowerOfTwo, nearest_power
from engine.quantizers.registry import QUANTIZERS
from engine.quantizers.soft_sigmoid import SoftSigmoid, soft_levels


def phase(progress: float = 0.0, seed: int = 0) -> Phase:
    return Phase(progress, torch.Generator().manual_seed(seed))


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", sorted(QUANTIZERS))
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_training_stays_within_the_levels_and_has_gradients(name: str, bits: int) -> None:
    method, weight = QUANTIZERS[name], randn(6, 5).requires_grad_()
    levels = method.training_levels(weight, method.parameters(weight, bits, "channel"), bits, phase(0.5))
    low, high = level_range(bits)
    assert low <= float(levels.detach().min()) <= float(levels.detach().max()) <= high
    levels.square().sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert bool(torch.isfinite(weight.grad).all())
    assert float(weight.grad.abs().sum()) > 0


def test_random_rounding_is_right_on_average_and_by_the_generator() -> None:
    weight, scale = torch.full((20_000,), 0.3, dtype=torch.float64), torch.tensor(0.125, dtype=torch.float64)
    levels = FixedPoint().training_levels(weight, scale, 4, phase(seed=3))
    assert set(levels.tolist()) == {2.0, 3.0}  # 0.3 / 0.125 = 2.4
    error = (0.4 * 0.6 / len(weight)) ** 0.5
    assert abs(float(levels.mean()) - 2.4) < 4 * error
    assert torch.equal(levels, FixedPoint().training_levels(weight, scale, 4, phase(seed=3)))
    assert not torch.equal(levels, FixedPoint().training_levels(weight, scale, 4, phase(seed=4)))


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_fixed_point_is_the_papers_grid(bits: int) -> None:
    weight = torch.linspace(-1.5, 1.5, 301, dtype=torch.float64).reshape(7, 43)
    scale = FixedPoint().parameters(weight, bits, "layer")
    assert scale.item() == 2.0 ** -(bits - 1)
    top = 2 ** (bits - 1) - 1
    expected = np.clip(np.rint(weight.numpy() * 2 ** (bits - 1)), -top, top) / 2 ** (bits - 1)
    np.testing.assert_array_equal(FixedPoint().fake_quantize(weight, scale, bits).numpy(), expected)
    trained = scale.clone().requires_grad_()
    assert not FixedPoint().constrain(trained).requires_grad


def test_the_ewgs_gradient_is_the_papers() -> None:
    weight, upstream = randn(5, 7).requires_grad_(), randn(5, 7, seed=1)
    scale = Ewgs().parameters(weight, 2, "layer")
    levels = Ewgs().training_levels(weight, scale, 2, phase())
    assert set(levels.unique().tolist()) <= {-1.0, 0.0, 1.0}
    (levels * upstream).sum().backward()
    ratio = (weight / scale).detach()
    x = ratio.clamp(-1, 1)
    expected = upstream * (1 + DELTA * upstream.sign() * (x - x.round())) / scale * (ratio.abs() <= 1)
    torch.testing.assert_close(weight.grad, expected)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_soft_levels_harden_and_have_their_true_gradient(bits: int) -> None:
    weight, one = torch.linspace(-4, 4, 161, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    hard = Lsq().levels(weight, one, bits)
    centres = [0.0] if bits == 1 else [step + 0.5 for step in range(*level_range(bits))]
    away = torch.stack([(weight - centre).abs() for centre in centres]).amin(0) > 0.1
    errors = [float((soft_levels(weight, bits, slope) - hard)[away].abs().max()) for slope in (4.0, 20.0, 100.0, 1e4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 1e-3
    assert errors[3] < 1e-12
    inputs = randn(3, 4).requires_grad_(), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, s: SoftSigmoid().training_levels(w, s, bits, phase(0.3)), inputs)
    final = SoftSigmoid().to_integers(randn(50, 9), one * 0.5, bits)
    assert len(final.unique()) <= (2 if bits == 1 else 2**bits - 1)


@settings(deadline=None)
@given(st.floats(1e-6, 1e6))
def test_scales_are_powers_of_two(scale: float) -> None:
    value = torch.tensor(scale, dtype=torch.float64)
    near, above = nearest_power(value).item(), nearest_power(value, up=True).item()
    assert np.log2(near) == round(np.log2(near))
    assert near / scale <= 2**0.5 * (1 + 1e-9)
    assert scale / near <= 2**0.5 * (1 + 1e-9)
    assert scale * (1 - 1e-8) <= above < 2 * scale
    assert PowerOfTwo().parameters(value.reshape(1, 1), 3, "layer").item() == nearest_power(value / 3).item()


def test_the_power_keeps_its_gradient() -> None:
    scale = torch.tensor([0.3, 5.0], dtype=torch.float64, requires_grad=True)
    nearest_power(scale).sum().backward()  # type: ignore[no-untyped-call]
    assert scale.grad is not None
    assert scale.grad.tolist() == [1.0, 1.0]
