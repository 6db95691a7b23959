"""Which sample belongs to which split: as the file says, or held out by a seeded, stratified rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.data.batches import stratified_validation
from engine.data.events import OPEN, SPLITS, TEST, TRAIN, VAL
from engine.errors import InvalidDataset
from engine.specs.data import SplitRule

POINTER = "/transform/split"


def assign_splits(labels: NDArray[np.int64], split: NDArray[np.uint8], rule: SplitRule | None) -> NDArray[np.uint8]:
    """The split of every sample, none left open.

    Args:
        labels: ``[sample]``.
        split: ``[sample]``, as the file says.
        rule: what to hold out where the file does not say.

    Returns:
        ``[sample]`` of ``TRAIN``, ``VAL``, ``TEST``.

    Raises:
        InvalidDataset: ``missing_split``, ``transform_not_applicable``, ``too_few_samples``.

    Example:
        >>> labels = np.arange(20) % 2
        >>> found = assign_splits(labels, np.full(20, OPEN, np.uint8), SplitRule(test_fraction=0.2))
        >>> np.bincount(found).tolist()
        [16, 0, 4]
    """
    assigned = np.where(split == OPEN, TRAIN, split).astype(np.uint8)
    rule = rule or SplitRule()
    for code, fraction, field in ((TEST, rule.test_fraction, "test"), (VAL, rule.validation_fraction, "validation")):
        if fraction is None:
            continue
        if (assigned == code).any():
            detail = f"expected a file without a {field} split to hold one out, found {int((assigned == code).sum())} "
            raise InvalidDataset(
                "transform_not_applicable", f"{detail}{field} samples in it", f"{POINTER}/{field}_fraction"
            )
        rest = np.flatnonzero(assigned == TRAIN)
        if len(rest):
            assigned[rest[stratified_validation(labels[rest], fraction, rule.seed)[1]]] = code
    if not (assigned == TEST).any():
        found = ", ".join(f"{int((split == code).sum())} {name}" for code, name in enumerate(SPLITS))
        detail = f"expected test samples, found {found} and {int((split == OPEN).sum())} without a split; "
        raise InvalidDataset("missing_split", f"{detail}hold some out with split.test_fraction", POINTER)
    if (assigned == VAL).any() and not (assigned == TRAIN).any():
        raise InvalidDataset("missing_split", "expected training samples beside those of validation", POINTER)
    return assigned
