"""What can go wrong, each with the exit code that the command ends with.

0 done, 1 a gate failed or the expected counts differ, 2 usage, 3 auth or quota, 4 service or job error, 5 timeout,
130 interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GATE_FAILED, USAGE, AUTH, SERVICE, TIMEOUT, INTERRUPTED = 1, 2, 3, 4, 5, 130

# Codes by which the service refuses what was typed on the command line.
_USAGE_CODES = frozenset(
    {
        "unknown_preset",
        "invalid_dynamics",
        "unknown_recipe",
        "invalid_step",
        "contradictory_gates",
        "budget_infeasible",
        "target_violated",
        "dynamics_not_representable",
        "invalid_gates",
        "invalid_plan",
        "validation_failed",
    }
)
_AUTH_STATUS = frozenset({401, 402, 403, 429, 507})
_DEADLINE_CODES = frozenset({"run_deadline", "queue_deadline"})


class SpikebitError(Exception):
    """Anything that the client can explain.

    Args:
        message: what went wrong, what was expected and found.
        code: the stable word of the problem.
        advice: what to do now.
    """

    exit_code = SERVICE

    def __init__(self, message: str, *, code: str, advice: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.advice = advice

    def as_json(self) -> dict[str, Any]:
        """The error as a JSON object."""
        return {"code": self.code, "detail": str(self), "advice": self.advice}


class UsageError(SpikebitError):
    """The command cannot be carried out as typed; nothing was sent."""

    exit_code = USAGE


class Unreachable(SpikebitError):
    """No service answers, or none is known."""


class WaitTimeout(SpikebitError):
    """The given time passed before the end; the work goes on."""

    exit_code = TIMEOUT


class Damaged(SpikebitError):
    """Downloaded bytes do not have the digest that the service names."""


class Problem(SpikebitError):
    """A problem document (RFC 9457), as an answer (with a status) or inside a record (status None).

    Example:
        >>> Problem(401, {"code": "unauthorized", "detail": "no key"}).exit_code
        3
    """

    def __init__(self, status: int | None, document: Mapping[str, Any], *, advice: str | None = None) -> None:
        code = str(document.get("code") or f"http_{status or 'problem'}")
        detail = str(document.get("detail") or document.get("title") or f"the service answered {status}")
        super().__init__(detail, code=code, advice=advice or _ADVICE.get(code))
        self.status = status
        self.pointer = document.get("pointer")
        self.request_id = document.get("request_id")
        errors = document.get("errors")
        self.errors: Sequence[Mapping[str, Any]] = errors if isinstance(errors, list) else ()
        if status in _AUTH_STATUS:
            self.exit_code = AUTH
        elif status is not None and code in _USAGE_CODES:
            self.exit_code = USAGE
        elif code in _DEADLINE_CODES:
            self.exit_code = TIMEOUT

    def as_json(self) -> dict[str, Any]:
        """The error as a JSON object, with the places in the request that it is about."""
        return super().as_json() | {
            "status": self.status,
            "pointer": self.pointer,
            "errors": list(self.errors),
            "request_id": self.request_id,
        }


_ADVICE = {
    "unauthorized": "Set SPIKEBIT_API_KEY, or run the command as the user that started the local service.",
    "inconsistent_subgraph": "Add --repair to let the service mend it, after reading what it would change.",
    "expectation_missed": "Check --dynamics: a wrong preset or time step is the usual cause; see docs/dynamics.md.",
    "only_test_split": "Only `spikebit evaluate` takes a file without x_train and y_train.",
    "needs_snippet": "Add --snippet FILE.py: the lines that the framework then needs are written there.",
    "unlabelled": "Without y_train and y_val: --recipe ptq, or finetune with a distillation of 1. Tests need labels.",
    "model_not_ready": "Wait for the check: spikebit models wait ID.",
    "dataset_not_ready": "Wait for the check: spikebit datasets wait ID.",
    "in_use": "A job still needs it: wait for the job, or cancel it.",
    "job_not_terminal": "Wait for the job, or cancel it first.",
    "service_unavailable": "Try again in a moment; /readyz of the service says which part is down.",
    "unknown_preset": "GET /v1/dynamics and docs/dynamics.md list the presets.",
    "unknown_recipe": "GET /v1/recipes lists the recipes.",
    "target_violated": "GET /v1/targets lists the targets and their limits.",
    "worker_lost": "The service gave up after several attempts: its log says why the worker process ended.",
    "out_of_memory": "Use fewer samples or a smaller batch size, or a worker with more memory.",
}
