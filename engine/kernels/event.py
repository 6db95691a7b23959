"""The event kernel of native/event.c, loaded: structures, functions, and why it is absent where it is."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from engine.kernels.build import CannotBuild, build, levels, library_path

Address = ctypes.c_void_p


class EventsStruct(ctypes.Structure):
    """``Events`` of event.c."""

    _fields_ = tuple((name, Address) for name in ("begin", "end", "index", "value"))


class LinkStruct(ctypes.Structure):
    """``Link`` of event.c."""

    _fields_ = (
        ("events", EventsStruct),
        *((name, Address) for name in ("tap_begin", "tap_weight", "tap_target", "weights", "shift", "dense")),
        ("width", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("wide_weights", "rows", "narrow", "late", "same_shift")),
    )


class LeakStruct(ctypes.Structure):
    """``Leak`` of event.c."""

    _fields_ = (*((name, ctypes.c_int32) for name in ("kind", "rounding", "bits")), ("values", Address))


class LayerStruct(ctypes.Structure):
    """``Layer`` of event.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "neurons", "padded")),
        ("links", Address),
        ("link_count", ctypes.c_int64),
        ("leak_v", LeakStruct),
        ("leak_i", LeakStruct),
        *(
            (name, ctypes.c_int32)
            for name in (
                "has_current", "current_old", "fires", "reset", "late", "before_leak", "drops", "max_spikes",
                "readout", "reads", "low", "high", "positive", "repeats",
            )
        ),
        *(
            (name, Address)
            for name in (
                "bias", "bias_i", "fire_at", "reset_sub", "reset_to", "floor", "start", "begin", "end", "index",
                "value", "final_v", "final_i", "final_n", "read", "lost",
            )
        ),
    )  # fmt: skip


Function = Callable[..., int]


@dataclass(frozen=True)
class EventLibrary:
    """``layer`` runs one layer's samples.

    ``extract`` turns frames of a dtype (by NumPy's name) into events, ``scatter`` events into dense bytes.
    """

    level: str
    layer: Function
    extract: dict[str, Function]
    scatter: Function


def event_library(level: str | None = None) -> tuple[EventLibrary | None, str]:
    """The library (None: not there) and what to say of it.

    Args:
        level: of :data:`engine.kernels.build.LEVELS`; None: what torch uses on this processor.

    Example:
        >>> event_library()[1].partition(" ")[0] in ("native", "absent:")
        True
    """
    found = level or torch.backends.cpu.get_cpu_capability()
    return _load(found if found in levels() else "DEFAULT")


@cache
def _load(level: str) -> tuple[EventLibrary | None, str]:
    try:
        path = library_path(level, "event")
        return _bind(ctypes.CDLL(str(path if path.exists() else build(level, "event"))), level), f"native ({level})"
    except (CannotBuild, OSError, AttributeError) as error:
        return None, f"absent: {error}"


def _bind(dll: ctypes.CDLL, level: str) -> EventLibrary:
    sizes = (ctypes.c_int64 * 2)()
    dll.spikebit_event_sizes.restype = None
    dll.spikebit_event_sizes(sizes)
    expected = [ctypes.sizeof(LinkStruct), ctypes.sizeof(LayerStruct)]
    if list(sizes) != expected:
        raise OSError(f"structures of {list(sizes)} bytes, expected {expected}")
    dll.spikebit_event_layer.argtypes = [Address, ctypes.c_int64, ctypes.c_int64]
    dll.spikebit_event_layer.restype = ctypes.c_int
    extract: dict[str, Function] = {}
    for name, dtype in (("float", "float32"), ("uint8", "uint8"), ("int64", "int64")):
        function = getattr(dll, f"spikebit_event_extract_{name}")
        function.argtypes = [Address, ctypes.c_int64, ctypes.c_int64, ctypes.c_int32, ctypes.c_int32, *[Address] * 5]
        function.restype = ctypes.c_int64
        extract[dtype] = function
    dll.spikebit_event_scatter.argtypes = [Address, ctypes.c_int64, ctypes.c_int64, Address]
    dll.spikebit_event_scatter.restype = None
    return EventLibrary(level, dll.spikebit_event_layer, extract, dll.spikebit_event_scatter)
