"""Which of several finished programs: what others dominate, and the smallest that a bound on accuracy lets through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One program as the choice sees it: size, right validation samples, synaptic operations a sample."""

    bytes: int
    correct: int
    operations: float


def dominated(outcomes: Sequence[Outcome]) -> tuple[bool, ...]:
    """Whether another one is as good in size, accuracy and operations and better in one of them.

    Equal outcomes do not dominate each other.

    Example:
        >>> dominated([Outcome(100, 9, 5.0), Outcome(90, 9, 5.0), Outcome(80, 8, 5.0)])
        (True, False, False)
    """
    return tuple(any(_better(other, one) for other in outcomes) for one in outcomes)


def _better(other: Outcome, one: Outcome) -> bool:
    a = (other.bytes, -other.correct, other.operations)
    b = (one.bytes, -one.correct, one.operations)
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def smallest_within(outcomes: Sequence[Outcome], float_correct: int, samples: int, points: float) -> tuple[int, bool]:
    """The smallest program that loses at most ``points`` on validation, else the one that loses least.

    Args:
        outcomes: at least one.
        float_correct: validation samples that the float network has right.
        samples: validation samples.
        points: bound on ``100·(float − program)``.

    Returns:
        (position, whether it keeps the bound). Ties: higher accuracy, fewer operations, then the first.

    Raises:
        ValueError: there are no outcomes.

    Example:
        >>> smallest_within([Outcome(100, 99, 1.0), Outcome(50, 98, 1.0)], 99, 100, 0.5)
        (0, True)
    """
    if not outcomes:
        raise ValueError("expected at least one finished program, got none")

    def drop(one: Outcome) -> float:
        return 100.0 * (float_correct - one.correct) / samples

    keeping = [k for k, one in enumerate(outcomes) if drop(one) <= points + 1e-9]
    if keeping:
        return min(keeping, key=lambda k: (outcomes[k].bytes, -outcomes[k].correct, outcomes[k].operations)), True
    best = min(range(len(outcomes)), key=lambda k: (-outcomes[k].correct, outcomes[k].bytes, outcomes[k].operations))
    return best, False
