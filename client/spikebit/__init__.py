"""Client of the Spikebit service; import :mod:`spikebit.client` or :mod:`spikebit.runtime` for what you need.

``spikebit.capture(net, samples, framework=...)`` needs the extra ``spikebit[capture]`` and is imported when it is used.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name != "capture":
        raise AttributeError(f"module 'spikebit' has no attribute {name!r}")
    import importlib

    return importlib.import_module("spikebit.capture")
