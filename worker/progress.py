"""How far a job is: the step among its steps, the share of the stage, and when the stage will be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class StepProgress:
    """Adds to each progress of the engine which step it belongs to and how long the stage will still take.

    The engine's stages are named for their step, with a part behind a colon (``finetune:quantized``). The time left is
    that of the stage at its own mean speed since it began here; a resumed stage does not count what it did before.

    Args:
        kinds: the kinds of the job's steps, in order.
        now: seconds of a steady clock.

    Example:
        >>> times = iter([0.0, 10.0])
        >>> steps = StepProgress(["evaluate", "finetune"], lambda: next(times))
        >>> _ = steps.place("finetune:quantized", 0, 40)
        >>> steps.place("finetune:quantized", 10, 40)
        {'step': 2, 'steps': 2, 'step_kind': 'finetune', 'eta_s': 30.0}
    """

    kinds: Sequence[str]
    now: Callable[[], float] = time.monotonic
    _index: int = 0
    _stage: str = ""
    _began: float = 0.0
    _first: int = 0

    def begin_step(self, index: int) -> None:
        """The engine has said that it begins this step (0 is the first)."""
        if 0 <= index < len(self.kinds):
            self._index = index

    def place(self, stage: str, done: int, total: int) -> dict[str, Any]:
        """Where this progress stands: ``step`` of ``steps``, its kind, and ``eta_s`` (None: not to be told yet)."""
        now = self.now()
        if stage != self._stage:
            self._find(stage)
            self._stage, self._began, self._first = stage, now, done
        moved = done - self._first
        left = max(0, total - done)
        eta_s = None if moved <= 0 or total <= 0 else round((now - self._began) * left / moved, 1)
        kind = self.kinds[self._index] if self.kinds else ""
        return {"step": self._index + 1, "steps": len(self.kinds), "step_kind": kind, "eta_s": eta_s}

    def _find(self, stage: str) -> None:
        """A stage of another kind than the present step's belongs to the next step of that kind."""
        kind = stage.partition(":")[0]
        if kind in self.kinds[self._index : self._index + 1]:
            return
        for index in range(self._index + 1, len(self.kinds)):
            if self.kinds[index] == kind:
                self._index = index
                return
