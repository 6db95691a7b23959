"""From a network in its framework to what Spikebit is given: ``spikebit.capture(net, samples, framework="snntorch")``.

The only part of the client that imports torch, nir and frameworks (extra ``spikebit[capture]``); nothing else imports
it. The package itself can be called, so that ``import spikebit; spikebit.capture(...)`` needs no second import.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from spikebit.capture.capture import Captured, capture
from spikebit.capture.errors import CannotCapture

__all__ = ["CannotCapture", "Captured", "capture"]


class _CallableModule(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Captured:
        return capture(*args, **options)


sys.modules[__name__].__class__ = _CallableModule
