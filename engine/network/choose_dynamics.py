"""``dynamics: auto``: which preset makes this file the network that its user trained (DESIGN 4).

All presets run the same few hundred samples. With expected counts a preset's score is the number of samples whose
output counts it reproduces: spikes against spikes, no label is looked at, so that test samples may be used. Without,
it is the number of training samples that it classifies rightly; the test split is never used for that. The best must
be the only best: presets with its score, or whose accuracy a paired sign test cannot tell from its, are a tie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from engine.data.batches import Dataset, Split
from engine.errors import AmbiguousDynamics, EngineError, InvalidDataset
from engine.network.discretise import discretise
from engine.network.graph import Graph
from engine.network.measure import measure
from engine.network.prepare import prepare
from engine.specs.dynamics import PRESETS, AutoDynamics, Dynamics, DynamicsRequest, resolve_dynamics
from engine.specs.report import DynamicsChoice, PresetScore

SIGNIFICANCE = 0.05  # of the sign test that tells two accuracies apart
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Candidate:
    """A preset's outcome: its counts ``[sample, output]``, or why it cannot run this file."""

    preset: str
    dynamics: Dynamics | None = None
    counts: NDArray[np.float64] | None = None
    hits: NDArray[np.bool_] | None = None  # [sample]: counts met, or label met
    problem: str | None = None

    @property
    def score(self) -> int:
        """Samples met; −1 where the preset cannot run."""
        return -1 if self.hits is None else int(self.hits.sum())


def choose_dynamics(
    graph: Graph,
    data: Dataset,
    expected: NDArray[np.int64] | None,
    request: AutoDynamics,
    seed: int,
    progress: Progress = lambda done, total, preset: None,
) -> tuple[Dynamics, DynamicsChoice]:
    """The one preset that fits best, and the ranking of all.

    Args:
        graph: the upload.
        data: its train split is used only where ``expected`` is None.
        expected: output counts of the test split ``[sample, output]``, or None.
        request: overrides that hold for every preset, and how many samples to run.
        seed: draws the samples.
        progress: called with presets done, presets in all, the preset's name.

    Raises:
        InvalidDataset: ``dynamics_needs_counts`` (neither expected counts nor a train split), ``counts_shape``.
        AmbiguousDynamics: ``dynamics_ambiguous`` (a tie) or ``dynamics_unmatched`` (no preset meets one sample).
    """
    split, wanted = _samples(data, expected, request, seed)
    candidates = []
    for index, preset in enumerate(PRESETS):
        progress(index, len(PRESETS), preset)
        candidates.append(_run(graph, preset, request, split, wanted))
    ranked = sorted(candidates, key=lambda one: (-one.score, one.preset))
    choice = _choice(ranked, split, expected is not None)
    best = ranked[0]
    if best.score < 1 or best.dynamics is None:
        detail = f"no preset meets one of {len(split)} samples by {choice.criterion}: {_ranking(ranked)}"
        raise AmbiguousDynamics("dynamics_unmatched", detail, "/dynamics")
    tied = [one.preset for one in ranked[1:] if _is_tied(best, one, expected is not None)]
    if tied:
        same = [one.preset for one in ranked[1:] if one.preset in tied and _alike(one, best)]
        hint = f"; {', '.join([best.preset, *same])} give identical counts on these samples" if same else ""
        remedy = "name the framework's preset" if expected is not None else "give expected counts, or name the preset"
        detail = (
            f"a tie between {', '.join([best.preset, *tied])} by {choice.criterion} on {len(split)} samples{hint}; "
            f"{remedy}. Ranking: {_ranking(ranked)}"
        )
        raise AmbiguousDynamics("dynamics_ambiguous", detail, "/dynamics")
    return best.dynamics, choice


def _samples(
    data: Dataset, expected: NDArray[np.int64] | None, request: AutoDynamics, seed: int
) -> tuple[Split, NDArray[np.int64]]:
    """The samples to run, and what they should give: rows of counts, or labels."""
    split = data.test if expected is not None else data.train
    if split is None:
        detail = (
            "dynamics auto: expected counts of the test split, or a train split to count correct samples on; found a "
            "test split alone. Accuracy on the test split chooses nothing: give expected counts, or name a preset"
        )
        raise InvalidDataset("dynamics_needs_counts", detail, "/dynamics")
    if expected is not None and len(expected) != len(split):
        detail = f"array 'counts': expected {len(split)} rows, one for each test sample, found {len(expected)}"
        raise InvalidDataset("counts_shape", detail, "counts")
    size = min(request.max_samples, len(split))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(split))[:size]).astype(np.int64)
    part = split.take(chosen)
    return part, part.y if expected is None else expected[chosen]


def _run(graph: Graph, preset: str, request: AutoDynamics, split: Split, wanted: NDArray[np.int64]) -> Candidate:
    try:
        dynamics = resolve_dynamics(DynamicsRequest(preset=preset, set=request.set))
        network = discretise(graph, dynamics)
    except (EngineError, ValueError) as error:
        return Candidate(preset, problem=" ".join(str(error).split())[:300])
    counts = measure(prepare(network), split).counts
    if wanted.ndim == 1:
        return Candidate(preset, dynamics, counts, counts.argmax(1) == wanted)
    if wanted.shape != counts.shape:
        detail = f"array 'counts': expected {counts.shape[1]} columns, one for each output, found {wanted.shape[1]}"
        raise InvalidDataset("counts_shape", detail, "counts")
    return Candidate(preset, dynamics, counts, (counts == wanted).all(1))


def _is_tied(best: Candidate, other: Candidate, by_counts: bool) -> bool:
    """Is ``other`` as good as the best: the same score, or an accuracy that the samples cannot tell from the best's."""
    if best.hits is None or other.hits is None:
        return False
    if best.score == other.score or by_counts:
        return best.score == other.score
    won, lost = int((best.hits & ~other.hits).sum()), int((other.hits & ~best.hits).sum())
    return sign_test(won, lost) >= SIGNIFICANCE


def sign_test(won: int, lost: int) -> float:
    """Two-sided exact sign test: how likely so uneven a split is where either side wins with one half.

    Source: the exact McNemar test, McNemar 1947.

    Example:
        >>> sign_test(5, 5), round(sign_test(10, 1), 4)
        (1.0, 0.0117)
    """
    total, least = won + lost, min(won, lost)
    return min(1.0, 2.0 * sum(comb(total, k) for k in range(least + 1)) / 2.0**total)


def _alike(first: Candidate, second: Candidate) -> bool:
    if first.counts is None or second.counts is None:
        return False
    return np.array_equal(first.counts, second.counts)


def _choice(ranked: list[Candidate], split: Split, by_counts: bool) -> DynamicsChoice:
    return DynamicsChoice(
        chosen=ranked[0].preset,
        criterion="expected counts" if by_counts else "train accuracy",
        samples=len(split),
        ranking=tuple(
            PresetScore(
                preset=one.preset,
                met=None if one.hits is None else one.score,
                identical_to=next((other.preset for other in ranked[:index] if _alike(other, one)), None),
                problem=one.problem,
            )
            for index, one in enumerate(ranked)
        ),
    )


def _ranking(ranked: list[Candidate]) -> str:
    return ", ".join(f"{one.preset} {'not applicable' if one.hits is None else one.score}" for one in ranked)
