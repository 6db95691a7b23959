"""Step kind → handler. The catalogue test compares it with the specs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.steps.allocate import allocate_step
from engine.steps.context import Context, Work
from engine.steps.evaluate import evaluate_step
from engine.steps.export import export_step
from engine.steps.finetune import finetune_step
from engine.steps.integerize import integerize_step
from engine.steps.ptq import ptq_step
from engine.steps.sensitivity import sensitivity_step
from engine.steps.sweep import sweep_step

Handler = Callable[[Any, Work, Context], Work]

HANDLERS: dict[str, Handler] = {
    "evaluate": evaluate_step,
    "sensitivity": sensitivity_step,
    "allocate": allocate_step,
    "ptq": ptq_step,
    "finetune": finetune_step,
    "sweep": sweep_step,
    "integerize": integerize_step,
    "export": export_step,
}
