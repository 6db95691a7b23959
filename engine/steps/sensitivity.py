"""``sensitivity``: curvature trace per weight layer on training samples."""

from __future__ import annotations

from dataclasses import replace

from engine.curvature.analyse import analyse
from engine.errors import InvalidDataset
from engine.specs.steps import SensitivityStep
from engine.steps.context import Context, Work


def sensitivity_step(spec: SensitivityStep, work: Work, context: Context) -> Work:
    """Analyse the float network; never sees the test split.

    Raises:
        InvalidDataset: there is no training split.
    """
    train = work.data.train
    if train is None:
        raise InvalidDataset("only_test_split", "sensitivity needs training samples, the file has the test split alone")
    section = analyse(
        work.network, train.x, train.y, spec, seed=context.job.seed, events=context.events, device=str(context.device)
    )
    return replace(work, sections=(*work.sections, section))
