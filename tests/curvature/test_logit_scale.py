"""The scale at which the median sample is right by four nats."""

from __future__ import annotations

import pytest
import torch

from engine.curvature.logit_scale import MARGIN, margin_scale


def test_it_undoes_any_unit_of_the_readout() -> None:
    counts = torch.tensor([[9.0, 1.0, 0.0], [3.0, 5.0, 0.0], [2.0, 1.0, 8.0]])
    labels = torch.tensor([0, 1, 2])
    assert margin_scale(counts, labels) == pytest.approx(MARGIN / 6)
    assert margin_scale(1000 * counts, labels) == pytest.approx(MARGIN / 6000)


def test_a_wrong_sample_counts_by_the_size_of_its_margin() -> None:
    assert margin_scale(torch.tensor([[0.0, 8.0]]), torch.tensor([0])) == pytest.approx(0.5)


def test_outputs_that_do_not_differ_are_left_as_they_are() -> None:
    assert margin_scale(torch.ones(4, 3), torch.tensor([0, 1, 2, 0])) == 1.0
