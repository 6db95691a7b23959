"""Checkpoints: what earlier steps found and where the current one is, in one file that torch reads without pickles.

The next attempt skips the finished steps and continues the unfinished one with the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from engine.errors import EngineError
from engine.specs.plan import Plan
from engine.specs.report import Section
from engine.steps.context import ArtifactFile, Context, Measured, Work

FORMAT = 2  # 2: the optimiser keeps scales in a group of their own
_SECTIONS: TypeAdapter[tuple[Section, ...]] = TypeAdapter(tuple[Section, ...])


def save_checkpoint(context: Context, work: Work, state: Mapping[str, Any]) -> None:
    """Write the checkpoint and hand it over; returns once it is safe."""
    path = context.out / "checkpoint.pt"
    document = {
        "format": FORMAT,
        "step": work.index,
        "sections": _SECTIONS.dump_json(work.sections).decode(),
        "plan": None if work.plan is None else work.plan.model_dump_json(),
        "measured": {
            name: {
                "counts": torch.as_tensor(m.counts),
                "right": torch.as_tensor(m.right),
                "rates": {layer: torch.as_tensor(r) for layer, r in m.rates.items()},
            }
            for name, m in work.measured.items()
        },
        "artifacts": [[a.role, a.path, a.media_type] for a in work.artifacts],
        "files": {a.path: (context.out / a.path).read_bytes() for a in work.artifacts},
        "state": dict(state),
    }
    torch.save(document, path)
    context.events.checkpoint(path)


def load_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint.

    Raises:
        EngineError: ``bad_checkpoint``: written by another version.
    """
    document: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if document.get("format") != FORMAT:
        raise EngineError("bad_checkpoint", f"checkpoint format {document.get('format')}: expected {FORMAT}")
    return document


def restore(document: Mapping[str, Any], work: Work, out: Path) -> Work:
    """Work as it was before the step that the checkpoint interrupts; files of finished steps are written again."""
    for name, data in document["files"].items():
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    measured = {
        name: Measured(
            m["counts"].numpy(), m["right"].numpy(), {layer: rates.numpy() for layer, rates in m["rates"].items()}
        )
        for name, m in document["measured"].items()
    }
    plan = document["plan"]
    return replace(
        work,
        plan=None if plan is None else Plan.model_validate(json.loads(plan)),
        measured=measured,
        sections=_SECTIONS.validate_json(document["sections"]),
        artifacts=tuple(ArtifactFile(*entry) for entry in document["artifacts"]),
        index=document["step"],
    )
