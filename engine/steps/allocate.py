"""``allocate``: bits per layer, by the exact solver or from the user's plan."""

from __future__ import annotations

from dataclasses import replace

from engine.allocate.allocate import allocate
from engine.program.sizes import payload_bytes
from engine.specs.plan import Plan
from engine.specs.planned import SensitivitySection
from engine.specs.steps import AllocateStep
from engine.steps.context import ArtifactFile, Context, Work


def allocate_step(spec: AllocateStep, work: Work, context: Context) -> Work:
    """Choose the plan and write ``plan.json``."""
    context.events.progress("allocate", 0, 1)
    sensitivity = next((s for s in reversed(work.sections) if isinstance(s, SensitivitySection)), None)

    def bytes_of(plan: Plan) -> int:
        return payload_bytes(work.network, plan)

    section = allocate(work.network, sensitivity, spec, bytes_of)
    (context.out / "plan.json").write_text(section.plan.model_dump_json(indent=2) + "\n")
    context.events.progress("allocate", 1, 1)
    return replace(
        work,
        plan=section.plan,
        sections=(*work.sections, section),
        artifacts=(*work.artifacts, ArtifactFile("plan", "plan.json", "application/json")),
    )
