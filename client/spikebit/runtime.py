"""The NumPy reference runner of integer programs, under the client's name: ``from spikebit import runtime``.

Every attribute is looked up in the top-level package ``runtime`` when it is first used, so that importing the
client costs nothing and there is one copy of the runner.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """An attribute or submodule of ``runtime``."""
    if name.startswith("__"):
        raise AttributeError(name)
    package = importlib.import_module("runtime")
    if hasattr(package, name):
        return getattr(package, name)
    try:
        return importlib.import_module(f"runtime.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"runtime.{name}":
            raise
        raise AttributeError(f"module 'runtime' has no attribute {name!r}") from None
