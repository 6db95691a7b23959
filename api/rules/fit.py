"""Do model and dataset fit: shapes, labels and splits, from what intake found in each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.problems import invalid
from engine.specs.job import Job
from engine.specs.recipes import needs_labels


def check_fit(job: Job, model: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    """Refuse a dataset that this model cannot be run on.

    Args:
        job: its steps say whether training samples are needed.
        model: summary with ``input_shape`` and ``outputs``.
        dataset: summary with ``sample_shape`` (time left out), ``classes`` and ``splits``.

    Raises:
        Problem: 422 ``sample_shape_mismatch``, ``labels_out_of_range`` ``only_test_split``,
            ``unlabelled`` or ``non_integer_input``.
    """
    wanted, found = model.get("input_shape"), dataset.get("sample_shape")
    if wanted and found is not None and list(wanted) != list(found):
        detail = (
            f"the model's input has shape {_shape(wanted)}, the dataset's samples have {_shape(found)} per time step"
        )
        raise invalid("sample_shape_mismatch", detail, "/dataset")
    outputs, classes = model.get("outputs"), _number_of_classes(dataset)
    if isinstance(outputs, int) and classes is not None and classes > outputs:
        detail = f"the model has {outputs} outputs, so labels must be 0 to {outputs - 1}; the largest is {classes - 1}"
        raise invalid("labels_out_of_range", detail, "/dataset")
    splits = dataset.get("splits") or {}
    steps = sorted({step.kind for step in job.steps} - {"evaluate"})
    if splits and not splits.get("train") and steps:
        detail = f"the dataset has a test split alone; only evaluate can use it, found steps {', '.join(steps)}"
        raise invalid("only_test_split", detail, "/dataset")
    needing = sorted({step.kind for step in job.steps if needs_labels(step)})
    if dataset.get("labelled") is False and needing:
        detail = (
            f"steps {', '.join(needing)} need labels of training samples, the dataset has none; ptq takes it, and "
            "finetune with a distillation of 1"
        )
        raise invalid("unlabelled", detail, "/dataset")


def _number_of_classes(dataset: Mapping[str, Any]) -> int | None:
    """Labels are 0 to n − 1; ``max_label`` where intake gives it, else the number of class names."""
    highest = dataset.get("max_label")
    if isinstance(highest, int):
        return highest + 1
    classes = dataset.get("classes")
    if isinstance(classes, int):
        return classes
    return len(classes) if isinstance(classes, list | tuple) else None


def _shape(shape: Any) -> str:
    return "×".join(str(axis) for axis in shape) or "scalar"
