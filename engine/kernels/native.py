"""The loaded native library: which one, why not, and running its functions on several threads.

The one place that loads native code of ours. Results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch

from engine.kernels.build import CannotBuild, build, levels, library_path

_LOG = logging.getLogger(__name__)
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_threads = 0
_enabled = True


class LeakStruct(ctypes.Structure):
    """``Leak`` of native/scan.h."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("rounding", ctypes.c_int32),
        ("factor", ctypes.c_void_p),
        ("slope", ctypes.c_void_p),
    )


class RuleStruct(ctypes.Structure):
    """``Rule`` of native/scan.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "columns", "neurons", "period", "width")),
        ("leak_v", LeakStruct),
        ("leak_i", LeakStruct),
        *(
            (name, ctypes.c_int32)
            for name in (
                "has_current", "current_old", "resets", "same_step", "order", "drops", "fires", "compare_gt",
                "max_spikes", "limited", "through", "narrow",
            )
        ),
        ("mode", ctypes.c_uint32),
        ("low", ctypes.c_double),
        ("high", ctypes.c_double),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "gain", "bias", "bias_i", "fire_at", "reset_sub", "reset_to", "floor", "start", "steep", "scale",
                "recurrent",
            )
        ),
    )  # fmt: skip


class ForwardStruct(ctypes.Structure):
    """``Forward`` of native/scan.h."""

    _fields_ = tuple(
        (name, ctypes.c_void_p)
        for name in ("current", "spikes", "u", "raw", "membrane", "final_v", "final_i", "inside")
    )


class EventsStruct(ctypes.Structure):
    """``Events`` of native/sparse.h."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("begin", "count", "columns", "values"))


class TapsStruct(ctypes.Structure):
    """``Taps`` of native/sparse.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("channels", "places")),
        *((name, ctypes.c_void_p) for name in ("begin", "row", "place")),
    )


class BackwardStruct(ctypes.Structure):
    """``Backward`` of native/scan.h."""

    _fields_ = tuple(
        (name, ctypes.c_void_p)
        for name in (
            "u", "raw", "g_spikes", "g_membrane", "inside", "g_current", "g_acc",
            "g_bias", "g_bias_i", "g_fire", "g_sub",
        )
    )  # fmt: skip


class LayerStruct(ctypes.Structure):
    """``Layer`` of native/linear.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "batch", "neurons")),
        *((name, ctypes.c_int32) for name in ("varies", "old_current")),
        ("mode", ctypes.c_uint32),
        *((name, ctypes.c_void_p) for name in ("carry", "slope", "gate", "spike", "end", "leak")),
    )


class PushStruct(ctypes.Structure):
    """``Push`` of native/linear.h."""

    _fields_ = (
        ("input", ctypes.c_void_p),
        ("input_time", ctypes.c_int64),
        ("input_sample", ctypes.c_int64),
        ("input_first", ctypes.c_int64),
        ("fill", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("u", "n", "bend", "cross", "curvature", "read", "contracted")),
    )


class PullStruct(ctypes.Structure):
    """``Pull`` of native/linear.h."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("n", "v", "n_time", "n_sample", "u", "input"))


class FillStruct(ctypes.Structure):
    """``Fill`` of native/fill.h."""

    _fields_ = (("into", ctypes.c_void_p), ("context", ctypes.c_void_p), ("group", ctypes.c_int64))


class SignFillStruct(ctypes.Structure):
    """``SignFill`` of native/fill.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("events", "bits")),
        *((name, ctypes.c_int64) for name in ("steps", "batch", "wide", "out")),
        ("kind", ctypes.c_int32),
        ("mode", ctypes.c_uint32),
    )


class KernelFillStruct(ctypes.Structure):
    """``KernelFill`` of native/fill.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("events", "taps", "kernels")),
        *((name, ctypes.c_int64) for name in ("steps", "batch", "elements", "channels", "out", "groups")),
        ("kind", ctypes.c_int32),
        ("mode", ctypes.c_uint32),
    )


class ProductFillStruct(ctypes.Structure):
    """``ProductFill`` of native/fill.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("source", "panels", "offsets")),
        *((name, ctypes.c_int64) for name in ("steps", "batch", "wide", "taps", "deep", "places", "out")),
        ("mode", ctypes.c_uint32),
    )


Kernel = Callable[..., int]


@dataclass(frozen=True)
class Library:
    """The kernels of one library, by (direction, dtype)."""

    level: str
    kernels: dict[tuple[str, torch.dtype], Kernel]
    float_mode: Callable[[], int]
    find_events: Kernel
    multiply_rows: Kernel
    add_outer: Kernel
    convolve_rows: Kernel
    add_taps: Kernel
    square_gradients: Kernel
    fill_signs: Kernel
    fill_kernels: Kernel
    fill_products: Kernel
    product_rows: int  # that a dense product takes at a time; 0: this level has none


def library() -> Library | None:
    """The library, or None: then :func:`status` says why."""
    return _load()[0] if _enabled else None


def status() -> str:
    """``native (AVX512)``, or ``torch (`` and why ``)``.

    Example:
        >>> status().partition(" ")[0] in ("native", "torch")
        True
    """
    found, reason = _load()
    if not _enabled:
        return "torch (the native scan was switched off)"
    return f"torch ({reason})" if found is None else f"native ({found.level})"


@contextmanager
def switched_off() -> Iterator[None]:
    """The torch scan runs inside the block, whatever is built."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def run_split(kernel: Kernel, rule: RuleStruct, io: ctypes.Structure, cut: int, work: int) -> None:
    """Run a kernel over all columns, on as many threads as torch uses where the work is worth it.

    Args:
        kernel: of a :class:`Library`.
        rule: the rule.
        io: the arrays.
        cut: columns may be divided at multiples of this.
        work: values that are walked through.

    Raises:
        MemoryError: the kernel found no memory for its buffers.
    """
    where = ctypes.byref(rule), ctypes.byref(io)
    if any(in_parts(lambda first, last: kernel(*where, first, last), int(rule.columns), cut, work)):
        raise MemoryError("no memory for the buffers of a neuron scan")


def in_parts(call: Callable[[int, int], int | None], total: int, cut: int, work: int) -> list[int | None]:
    """``call(first, last)`` for parts of ``total`` that end at multiples of ``cut``, on torch's number of threads.

    Args:
        call: releases the interpreter's lock, as functions of ctypes do.
        total: what is divided.
        cut: see above.
        work: values that are walked through in all.
    """
    parts = max(1, min(torch.get_num_threads(), total // max(cut, 1), work // LEAST_WORK))
    edges = [total * k // parts // cut * cut for k in range(parts)] + [total]
    spans = list(itertools.pairwise(edges))
    waiting = [_threads(parts - 1).submit(call, *span) for span in spans[1:]]
    return [call(*spans[0]), *(future.result() for future in waiting)]


LEAST_WORK = 1 << 17  # values per thread; below, handing over costs more than it brings


def _threads(count: int) -> ThreadPoolExecutor:
    global _pool, _pool_threads
    with _lock:
        if _pool is None or _pool_threads < count:
            _pool, _pool_threads = ThreadPoolExecutor(max(count, 1), "scan"), count
        return _pool


def _forget_threads() -> None:
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)  # threads do not survive a fork


@cache
def _load() -> tuple[Library | None, str]:
    """The library for the level that torch uses; built now, once, where nobody did."""
    level = torch.backends.cpu.get_cpu_capability()
    level = level if level in levels() else "DEFAULT"
    try:
        path = library_path(level)
        return _bind(ctypes.CDLL(str(path if path.exists() else build(level))), level), ""
    except (CannotBuild, OSError, AttributeError) as error:
        _LOG.warning("the native scan is not used, the slower torch scan is: %s", error)
        return None, str(error)


def _bind(dll: ctypes.CDLL, level: str) -> Library:
    """Declare the functions' types; a library whose structures differ is refused."""
    _check_sizes(dll.spikebit_sizes, RuleStruct, ForwardStruct, BackwardStruct)
    fills = (FillStruct, SignFillStruct, KernelFillStruct, ProductFillStruct)
    _check_sizes(dll.spikebit_linear_sizes, LayerStruct, PushStruct, PullStruct, *fills)
    kernels: dict[tuple[str, torch.dtype], Kernel] = {}
    for direction in ("forward", "backward", "push", "pull"):
        for name, dtype in (("float", torch.float32), ("double", torch.float64)):
            function = getattr(dll, f"spikebit_{direction}_{name}")
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
            function.restype = ctypes.c_int
            kernels[direction, dtype] = function
    dll.spikebit_float_mode.restype = ctypes.c_uint32
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    dll.spikebit_find_events.argtypes = [ctypes.c_int32, pointer, whole, whole, whole, *[pointer] * 5]
    dll.spikebit_find_events.restype = whole
    for function in (
        dll.spikebit_multiply_rows, dll.spikebit_add_outer, dll.spikebit_convolve_rows, dll.spikebit_add_taps,
    ):  # fmt: skip
        function.restype = None
    dll.spikebit_multiply_rows.argtypes = [ctypes.c_int32, *[pointer] * 4, *[whole] * 3]
    dll.spikebit_add_outer.argtypes = [ctypes.c_int32, *[pointer] * 3, *[whole] * 4]
    dll.spikebit_convolve_rows.argtypes = [ctypes.c_int32, *[pointer] * 5, *[whole] * 2]
    dll.spikebit_add_taps.argtypes = [ctypes.c_int32, *[pointer] * 4, *[whole] * 2]
    dll.spikebit_square_gradients.argtypes = [*[pointer] * 3, whole, whole]
    dll.spikebit_square_gradients.restype = ctypes.c_int
    for function in (dll.spikebit_fill_signs, dll.spikebit_fill_kernels, dll.spikebit_fill_products):
        function.argtypes = [pointer, whole, whole, pointer]
        function.restype = ctypes.c_int
    dll.spikebit_product_rows.restype = ctypes.c_int32
    return Library(
        level,
        kernels,
        dll.spikebit_float_mode,
        dll.spikebit_find_events,
        dll.spikebit_multiply_rows,
        dll.spikebit_add_outer,
        dll.spikebit_convolve_rows,
        dll.spikebit_add_taps,
        dll.spikebit_square_gradients,
        dll.spikebit_fill_signs,
        dll.spikebit_fill_kernels,
        dll.spikebit_fill_products,
        int(dll.spikebit_product_rows()),
    )


def _check_sizes(told: Callable[..., None], *kinds: type[ctypes.Structure]) -> None:
    sizes = (ctypes.c_int64 * len(kinds))()
    told.restype = None  # type: ignore[attr-defined]
    told(sizes)
    expected = [ctypes.sizeof(kind) for kind in kinds]
    if list(sizes) != expected:
        raise OSError(f"structures of {list(sizes)} bytes, expected {expected}")
