"""Typed splits of a dataset, the validation split, and batches with the engine's axes.

Axes: stored x is ``[sample, time, ...]`` in its compact type, batches are ``[time, batch, ...]``. A split's x is an
array, or :class:`engine.data.rows.Rows` where the dataset is larger than what is held in memory; both index alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.data.rows import Rows
from engine.errors import InvalidDataset

VALIDATION_FRACTION = 0.15  # DESIGN 4: where the file has no validation arrays
Labels = NDArray[np.int64]
UNLABELLED = -1  # the label of a sample that came without one


@dataclass(frozen=True)
class Origin:
    """Where a dataset of events comes from: format, SHA-256 of the upload, and the transform as JSON."""

    format: str
    source: str
    transform: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Split:
    """Samples ``x`` ``[sample, time, ...]`` and their labels ``y`` ``[sample]``."""

    x: NDArray[Any] | Rows
    y: Labels

    def __len__(self) -> int:
        return len(self.y)

    @property
    def labelled(self) -> bool:
        """Whether the samples came with labels."""
        return bool((self.y != UNLABELLED).all())

    def take(self, index: NDArray[np.int64]) -> Split:
        """The samples at ``index``, in that order; what is on disk stays there."""
        return Split(self.x.take(index) if isinstance(self.x, Rows) else self.x[index], self.y[index])

    def clamped(self, low: int, high: int) -> Split:
        """The samples with values clamped, as a program's input format says."""
        x = self.x.clamped(low, high) if isinstance(self.x, Rows) else np.clip(self.x, low, high)
        return Split(x, self.y)

    def value_range(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return self.x.value_range() if isinstance(self.x, Rows) else (float(self.x.min()), float(self.x.max()))

    def batches(self, size: int, order: NDArray[np.int64] | None = None) -> Iterator[tuple[NDArray[Any], Labels]]:
        """Batches ``([time, batch, ...], [batch])``; the last may be smaller.

        Args:
            size: samples in a batch.
            order: sample numbers; None: as stored.

        Raises:
            ValueError: ``size`` is below 1.

        Example:
            >>> split = Split(np.zeros((3, 5, 2), np.uint8), np.zeros(3, np.int64))
            >>> [x.shape for x, y in split.batches(2)]
            [(5, 2, 2), (5, 1, 2)]
        """
        if size < 1:
            raise ValueError(f"expected a batch of at least one sample, got {size}")
        order = np.arange(len(self)) if order is None else order
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield np.ascontiguousarray(np.moveaxis(self.x[chosen], 0, 1)), self.y[chosen]  # [time, batch, ...]


@dataclass(frozen=True, eq=False)
class Dataset:
    """All splits of a canonical dataset; ``train`` is None where the file holds the test split alone."""

    test: Split
    train: Split | None
    val: Split | None
    classes: tuple[str, ...]
    origin: Origin | None = None
    own_labels: bool = False  # training and validation labels are the float network's predictions

    @property
    def streamed(self) -> bool:
        """Whether samples stay on disk until a batch needs them."""
        return isinstance(self.test.x, Rows)

    @property
    def steps(self) -> int:
        """Time steps of a sample."""
        return int(self.test.x.shape[1])

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one time step of a sample."""
        return tuple(self.test.x.shape[2:])

    @property
    def labelled(self) -> bool:
        """Whether training and validation samples came with labels."""
        return all(split.labelled for split in (self.train, self.val) if split is not None)

    @property
    def whole_numbers(self) -> bool:
        """Whether every value is a whole number: the canonical form keeps these in an integer type."""
        return bool(self.test.x.dtype.kind in "iu")

    def with_validation(self, seed: int, fraction: float = VALIDATION_FRACTION) -> Dataset:
        """The dataset with a validation split; where the file has none, a stratified part of train.

        Raises:
            InvalidDataset: ``only_test_split`` or ``too_few_samples``.
        """
        if self.train is None:
            detail = "expected the arrays x_train and y_train for this job, found the test split alone"
            raise InvalidDataset("only_test_split", detail, "x_train")
        if self.val is not None:
            return self
        kept, held = stratified_validation(self.train.y, fraction, seed)
        return replace(self, train=self.train.take(kept), val=self.train.take(held))

    @property
    def validation_source(self) -> Literal["given", "stratified from train", "none"]:
        """Where validation samples come from, as the report says it."""
        if self.val is not None:
            return "given"
        return "none" if self.train is None else "stratified from train"


def stratified_validation(y: Labels, fraction: float = VALIDATION_FRACTION, seed: int = 0) -> tuple[Labels, Labels]:
    """Sample numbers to train on and to validate on, each class in the same proportion.

    Every class gives ``round(fraction·n)`` samples, at least one where it has two or more, drawn by the seed alone.

    Args:
        y: labels ``[sample]``.
        fraction: share of each class that is held out, between 0 and 1.
        seed: of the generator (PCG64).

    Returns:
        (kept, held), each sorted.

    Raises:
        ValueError: the fraction is not between 0 and 1.
        InvalidDataset: ``too_few_samples``, where nothing could be held out.

    Example:
        >>> kept, held = stratified_validation(np.array([0] * 20 + [1] * 20), 0.15, seed=1)
        >>> len(kept), len(held)
        (34, 6)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"expected a fraction between 0 and 1, got {fraction}")
    generator = np.random.default_rng(seed)
    held: list[int] = []
    for label in np.unique(y):
        members = generator.permutation(np.flatnonzero(y == label))
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held.extend(int(i) for i in members[:count])
    if not held:
        detail = f"expected two training samples of one class or more to hold some out, found {len(y)}"
        raise InvalidDataset("too_few_samples", detail, "y_train")
    mask = np.zeros(len(y), bool)
    mask[held] = True
    return np.flatnonzero(~mask).astype(np.int64), np.flatnonzero(mask).astype(np.int64)
