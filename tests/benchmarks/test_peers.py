"""The coordinator of contestants in processes of their own, and the workloads that they share."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.peers import Peer, PeerFailed, Timing, interleave
from benchmarks.workloads import WORKLOADS, first_weights, load_weights, samples, save_weights

ECHO = "tests.benchmarks.echo_peer"


def test_contestants_are_asked_in_turn_and_the_warm_up_is_left_out():
    with Peer("one", ECHO) as one, Peer("two", ECHO) as two:
        answers = interleave([one, two], "work", rounds=3, warm_up=2, amount=10)
    assert [answer["calls"] for answer in answers["one"]] == [3, 4, 5]
    assert {answer["sum"] for answer in answers["two"]} == {45}
    assert 0 <= Timing.of(answers["one"]).min_s <= Timing.of(answers["one"]).median_s


def test_an_error_and_an_end_are_told_with_the_last_words():
    with Peer("one", ECHO) as one:
        with pytest.raises(PeerFailed, match="one: TypeError"):
            one.ask("work", wrong=1)
        assert one.ask("work", amount=3)["sum"] == 3
        with pytest.raises(PeerFailed, match=r"(?s)one ended: .*last words"):
            one.ask("leave")


@pytest.mark.parametrize("name", WORKLOADS)
def test_samples_are_class_structured_and_as_dense_as_declared(name):
    workload = WORKLOADS[name]
    x, labels = samples(workload, seed=3)
    assert x.shape == (workload.steps, workload.batch, *workload.input_shape)
    assert abs(x.mean() - workload.density) < 0.3 * workload.density
    other, _ = samples(workload, seed=3)
    assert np.array_equal(x, other)
    rates = x.reshape(workload.steps, workload.batch, -1).mean(0)  # [batch, inputs]
    same = labels[:, None] == labels[None, :]
    np.fill_diagonal(same, False)
    likeness = np.corrcoef(rates)
    assert likeness[same].mean() > likeness[labels[:, None] != labels[None, :]].mean() + 0.1


def test_weights_survive_their_file(tmp_path):
    weights = first_weights(WORKLOADS["B"])
    save_weights(tmp_path / "w.npz", weights)
    found = load_weights(tmp_path / "w.npz")
    assert found.keys() == weights.keys() == WORKLOADS["B"].layers.keys()
    assert all(np.array_equal(found[name], weights[name]) for name in found)
