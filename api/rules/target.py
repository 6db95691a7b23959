"""Does the model fit the target that the job names, from the facts that intake found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.problems import invalid
from engine.specs.job import Job
from engine.specs.target_check import network_violations
from engine.specs.targets import TARGETS, NetworkFacts, told


def check_target(job: Job, model: Mapping[str, Any]) -> None:
    """Refuse a network that the target cannot hold, before anything is queued.

    Raises:
        Problem: 422 ``target_violated`` with every limit that is not kept and the nearest change that would fit.
    """
    facts = model.get("target_facts")
    if facts is None or not any(step.kind == "integerize" for step in job.steps):
        return
    found = network_violations(TARGETS[job.target], NetworkFacts.model_validate(facts), job.memory, job.state_bits)
    if found:
        raise invalid("target_violated", f"the network does not fit target {job.target!r}: {told(found)}", "/target")
