"""Every bad file of these suites in one list, for the benchmark that runs the real child on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.specs.data import TimeBins, Transform
from tests.data.event_files import write_zip
from tests.data.test_written_recordings import BAD
from tests.hostile.corpus import DATASETS, MODELS
from tests.hostile.recordings import CASES, TRANSFORMS
from tests.hostile.test_every_node import GOOD, billions, millions, write

POSITIVE = ("tau", "tau_syn", "tau_mem", "v_threshold", "threshold")
_MODEL = {"kind": "model", "dynamics": {"preset": "nir-paper"}}


@dataclass(frozen=True)
class BadFile:
    """How it is made, what the child is asked, and the codes that refuse it."""

    name: str
    build: Callable[[Path], object]
    asked: dict[str, Any]
    codes: tuple[str, ...]


def bad_files() -> Iterator[BadFile]:
    """Models, each node type damaged in each way, frames, events of every format, recordings of every format."""
    for name, (build, code, _) in MODELS.items():
        yield BadFile(f"model: {name}", build, _MODEL, (code,))
    for name, build in (("10^9 neurons declared", billions), ("2^24 neurons declared", millions)):
        yield BadFile(f"model: {name}", build, _MODEL, ("too_large",))
    yield from _nodes()
    for name, (build, code, _) in DATASETS.items():
        yield BadFile(f"frames: {name}", build, {"kind": "dataset"}, (code,))
    for kind, cases in CASES.items():
        asked = {"kind": "dataset", "format": kind, "transform": TRANSFORMS[kind].model_dump(mode="json")}
        for name, (build, code, _) in cases.items():
            yield BadFile(f"{kind}: {name}", build, asked, (code,))
    transform = Transform(binning=TimeBins(bin_s=0.1, steps=20)).model_dump(mode="json")
    asked = {"kind": "dataset", "format": "recordings", "transform": transform}
    for suffix, recordings in BAD.items():
        for name, (data, code, _) in recordings.items():
            build = partial(write_zip, members={f"test/0/a{suffix}": data})
            yield BadFile(f"{suffix}: {name}", build, asked, (code,))


def _nodes() -> Iterator[BadFile]:
    for kind, (values, before, after) in GOOD.items():
        wrong = (*before[:-1], 1, 1) if kind == "Flatten" else (5, *before[1:])
        yield _node(kind, "wrong shape", values, wrong, after, "shape_conflict")
        for field, value in values.items():
            if field in ("start_dim", "end_dim"):
                continue
            if field != "bias" or kind == "Affine":
                rest = {key: other for key, other in values.items() if key != field}
                yield _node(kind, f"no {field}", rest, before, after, "missing_parameter")
            broken = np.array(value, dtype=np.float64)
            broken.flat[0] = np.nan
            codes = ("non_finite_weights", "invalid_parameter")
            yield _node(kind, f"{field} NaN", values | {field: broken}, before, after, *codes)
            if field in POSITIVE:
                for number in (0.0, -1.0):
                    changed = values | {field: np.array([1.0, number])}
                    yield _node(kind, f"{field} {number:g}", changed, before, after, "invalid_parameter")


def _node(
    kind: str, name: str, values: dict[str, Any], before: tuple[int, ...], after: tuple[int, ...], *codes: str
) -> BadFile:
    build = partial(write, kind=kind, values=values, before=before, after=after)
    return BadFile(f"{kind}: {name}", build, _MODEL, codes)
