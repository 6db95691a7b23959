"""Random integer programs over all semantics, for the property tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.program.program import INPUT, Connection, Flatten, InputFormat, IntegerProgram, Layer, Leak, SumPool

ROUNDINGS = ("floor", "toward_zero", "half_up")
Rng = np.random.Generator


def random_program(seed: int) -> IntegerProgram:
    """A dense, recurrent, convolutional or mixed program; everything about it drawn from ``seed``."""
    rng = np.random.default_rng(seed)
    lo, hi = [(0, 1), (0, 1), (-2, 3), (0, 15), (1, 2)][rng.integers(5)]
    kind = rng.random()
    if kind < 0.45:
        return _dense(rng, lo, hi)
    return _image(rng, lo, hi) if kind < 0.8 else _line(rng, lo, hi)


def random_input(program: IntegerProgram, seed: int, samples: int = 3, steps: int = 7) -> np.ndarray[Any, Any]:
    """Input values, some outside the declared range."""
    rng = np.random.default_rng(seed)
    return rng.integers(program.input.lo - 1, program.input.hi + 2, (samples, steps, *program.input.shape))


def _dense(rng: Rng, lo: int, hi: int) -> IntegerProgram:
    inputs, one, two, out = (int(n) for n in rng.integers(1, 7, 4))
    readout = str(rng.choice(["spike_count", "spike_count", "membrane_sum", "membrane_max", "membrane_last"]))
    layers = [_layer(rng, "one", (one,)), _layer(rng, "two", (two,))]
    layers.append(_layer(rng, "out", (out,), reads=readout != "spike_count"))
    connections = [
        _linear(rng, "a", INPUT, "one", inputs, one),
        _linear(rng, "b", "one", "two", one, two),
        _linear(rng, "c", "two", "out", two, out),
    ]
    if rng.random() < 0.5:
        connections.append(_linear(rng, "self", "one", "one", one, one, delayed=True, delay=_delay(rng, (one,))))
    if rng.random() < 0.4:
        connections.append(_linear(rng, "back", "two", "one", two, one, delayed=True, delay=_delay(rng, (two,))))
    if rng.random() < 0.3:
        connections.append(
            _linear(rng, "skip", "one", "out", one, out, delayed=bool(rng.random() < 0.5), delay=_delay(rng, (one,)))
        )
    if rng.random() < 0.3:
        connections.append(
            Connection("id", "two", "two", "identity", (two,), (two,), exponent=_exponent(rng, two), delayed=True)
        )
    if rng.random() < 0.3:
        connections.append(
            _linear(
                rng, "late", INPUT, "two", inputs, two, delayed=bool(rng.random() < 0.5), delay=_delay(rng, (inputs,))
            )
        )
    return IntegerProgram(InputFormat((inputs,), lo, hi), tuple(layers), tuple(connections), "out", readout)


def _image(rng: Rng, lo: int, hi: int) -> IntegerProgram:
    groups = int(rng.integers(1, 3))
    channels, high, wide = groups, int(rng.integers(5, 8)), int(rng.integers(5, 8))
    stride, padding = (int(rng.integers(1, 3)), 1), (int(rng.integers(0, 2)), int(rng.integers(0, 2)))
    dilation = (1, int(rng.integers(1, 3)))
    kernel = _weights(rng, (2 * groups, channels // groups, 3, 2))
    rows = (high + 2 * padding[0] - 3) // stride[0] + 1
    columns = (wide + 2 * padding[1] - dilation[1] - 1) // stride[1] + 1
    after = (SumPool((2, 2), (1, 2), (1, 1)),) if rng.random() < 0.4 else ()
    shape = (2 * groups, rows, columns)
    if after:
        shape = (2 * groups, rows + 2 - 2 + 1, (columns + 2 - 2) // 2 + 1)
    conv = Connection(
        "conv", INPUT, "maps", "conv2d", (channels, high, wide), shape, kernel[0], kernel[1],
        _exponent(rng, 2 * groups), after=after, stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    pool = SumPool((2, 2), (2, 2), (1, 0))
    pooled = (shape[0], shape[1] // 2 + 1, shape[2] // 2)
    if min(pooled) < 1:
        pool, pooled = SumPool((1, 1), (1, 1), (0, 0)), shape
    size = int(np.prod(pooled))
    out = int(rng.integers(1, 5))
    fc = _linear(rng, "fc", "maps", "out", size, out, source_shape=shape, before=(pool, Flatten(0, 2)))
    connections = [conv, fc]
    layers = [_layer(rng, "maps", shape), _layer(rng, "out", (out,))]
    if rng.random() < 0.5:
        layers.insert(1, _layer(rng, "pooled", pooled))
        exponent = _exponent(rng, pooled[0])
        connections.append(
            Connection("pool", "maps", "pooled", "identity", shape, pooled, exponent=exponent, before=(pool,))
        )
        connections.append(
            _linear(rng, "fc2", "pooled", "out", size, out, source_shape=pooled, before=(Flatten(0, 2),))
        )
    if rng.random() < 0.4:
        wide_back = _weights(rng, (shape[0], shape[0], 3, 3))
        connections.append(
            Connection(
                "loop", "maps", "maps", "conv2d", shape, shape, wide_back[0], wide_back[1], delayed=True, padding=(1, 1)
            )
        )
    return IntegerProgram(InputFormat((channels, high, wide), lo, hi), tuple(layers), tuple(connections), "out")


def _line(rng: Rng, lo: int, hi: int) -> IntegerProgram:
    """Channels along one axis: two one-dimensional convolutions, with delays, and a layer that may have a current."""
    groups, length = int(rng.integers(1, 3)), int(rng.integers(5, 10))
    stride, padding, dilation = int(rng.integers(1, 3)), int(rng.integers(0, 3)), int(rng.integers(1, 3))
    places = (length + 2 * padding - 2 * dilation - 1) // stride + 1
    bits, kernel = _weights(rng, (2 * groups, 1, 3))
    shape, first = (2 * groups, places), (groups, length)
    one = Connection(
        "conv", INPUT, "maps", "conv1d", first, shape, bits, kernel, _exponent(rng, 2 * groups), stride=(stride,),
        padding=(padding,), dilation=(dilation,), groups=groups, delay=_delay(rng, first),
    )  # fmt: skip
    bits, kernel = _weights(rng, (shape[0], shape[0], 3))
    loop = Connection(
        "loop", "maps", "maps", "conv1d", shape, shape, bits, kernel, delayed=True, stride=(1,), padding=(1,),
        dilation=(1,), delay=_delay(rng, shape),
    )  # fmt: skip
    out = int(rng.integers(1, 4))
    readout = str(rng.choice(["spike_count", "membrane_max"]))
    fc = _linear(rng, "fc", "maps", "out", shape[0] * places, out, source_shape=shape, before=(Flatten(0, 1),))
    layers = (_layer(rng, "maps", shape), _layer(rng, "out", (out,), reads=readout != "spike_count"))
    connections = (one, fc, loop) if rng.random() < 0.5 else (one, fc)
    return IntegerProgram(InputFormat(first, lo, hi, np.float32(0.25)), layers, connections, "out", readout)


def _delay(rng: Rng, shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
    """None, the same for all, or one per source neuron; longer than a short run at times."""
    if rng.random() < 0.5:
        return None
    return rng.integers(0, 9 if rng.random() < 0.2 else 4, shape if rng.random() < 0.6 else ())


def _layer(rng: Rng, name: str, shape: tuple[int, ...], reads: bool = False) -> Layer:
    kind = str(rng.choice(["if", "lif", "cubalif"]))
    bits = int(rng.choice([2, 3, 32])) if rng.random() < 0.15 else int(rng.integers(5, 17))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    fraction = int(rng.integers(0, 5))
    if reads and rng.random() < 0.5:
        current = _leak(rng, shape) if rng.random() < 0.5 else None
        kind = "li" if current is None else "cubali"
        return Layer(name, kind, shape, bits, fraction, np.float32(0.25), _leak(rng, shape), current)

    def level(lo: int, hi: int) -> np.ndarray[Any, Any]:
        form = [(), (shape[0], *[1] * (len(shape) - 1)), shape][rng.integers(3)]
        return rng.integers(max(lo, low), min(hi, high) + 1, form)

    reset = str(rng.choice(["subtract", "to_value", "none"]))
    late = bool(rng.random() < 0.5)
    drop = late and reset != "none" and bool(rng.random() < 0.5)
    many = int(rng.choice([2, 7, 300])) if reset != "to_value" and rng.random() < 0.4 else 1
    sub = level(1, 40 << fraction)
    fire_at = np.minimum(sub + rng.integers(0, 2, np.shape(sub)), high)
    return Layer(
        name=name,
        kind=kind,
        shape=shape,
        state_bits=bits,
        fraction_bits=fraction,
        scale=np.float32(0.5) if reads else rng.random(shape).astype(np.float32),
        leak_v=_leak(rng, shape),
        leak_i=_leak(rng, shape) if kind == "cubalif" else None,
        bias=level(-20, 20) if rng.random() < 0.5 else None,
        bias_i=level(-20, 20) if kind == "cubalif" and rng.random() < 0.5 else None,
        fire_at=fire_at,
        reset=reset,
        reset_sub=sub if reset == "subtract" or many > 1 else None,
        reset_to=level(-30, 30) if reset == "to_value" or drop else None,
        reset_timing="next_step" if late else "same_step",
        reset_order=str(rng.choice(["before_leak", "after_leak"])) if late else None,
        drop_reset_input=drop,
        current=str(rng.choice(["new", "old"])),
        floor=level(-60, 0) if rng.random() < 0.4 else None,
        start=level(-60, 60) if rng.random() < 0.3 else None,
        max_spikes=many,
    )


def _leak(rng: Rng, shape: tuple[int, ...]) -> Leak:
    kind = str(rng.choice(["none", "shift", "mul_shift"]))
    form = [(), shape][rng.integers(2)]
    rounding = str(rng.choice(ROUNDINGS))
    if kind == "none":
        return Leak()
    if kind == "shift":
        return Leak("shift", rng.integers(0, 8, form), 0, rounding)
    bits = int(rng.integers(0, 13))
    return Leak("mul_shift", rng.integers(-(1 << bits) // 4, (1 << bits) + 1, form), bits, rounding)


def _weights(rng: Rng, shape: tuple[int, ...]) -> tuple[int, np.ndarray[Any, Any]]:
    bits = int(rng.choice([1, 2, 3, 4, 5, 6, 8, 12, 16]))
    if bits == 1:
        return bits, 2 * rng.integers(0, 2, shape) - 1
    return bits, rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)


def _exponent(rng: Rng, count: int) -> np.ndarray[Any, Any]:
    return rng.integers(0, 4, () if rng.random() < 0.5 else (count,))


def _linear(rng: Rng, name: str, source: str, target: str, inner: int, out: int, **more: Any) -> Connection:
    bits, weight = _weights(rng, (out, inner))
    shape = more.pop("source_shape", (inner,))
    return Connection(name, source, target, "linear", shape, (out,), bits, weight, _exponent(rng, out), **more)


def adversarial_program(kind: str) -> IntegerProgram:
    """Largest weights, thresholds at the edge of the state, a leak that rests on its rounding, no decay to zero."""
    top, bits = 127, 12
    high = (1 << (bits - 1)) - 1
    leak = Leak("mul_shift", np.array([4095, 4096, 1, 0]), 12, "floor")  # −1·4095 >> 12 is −1: never decays
    current = Leak("shift", np.array([0, 1, 11, 31]), 0, "floor") if kind == "cubalif" else None
    one = Layer(
        "one", kind, (4,), bits, 2, np.float32(1), leak, current, bias=-high - 1, fire_at=high, reset="subtract",
        reset_sub=np.array([high, high - 1, high, high - 1]), reset_timing="next_step", reset_order="after_leak",
        floor=np.array([-high - 1, -1, 0, high]), start=-high - 1,
    )  # fmt: skip
    two = Layer(
        "two",
        kind,
        (4,),
        bits,
        0,
        np.float32(1),
        leak,
        current,
        fire_at=1,
        reset="subtract",
        reset_sub=1,
        max_spikes=65535,
    )
    weight = np.full((4, 64), top)
    connections = (
        Connection("in", INPUT, "one", "linear", (64,), (4,), 8, weight, np.array([15, 0, 1, 7])),
        Connection("loop", "one", "one", "linear", (4,), (4,), 8, np.full((4, 4), -top), 15, delayed=True),
        Connection("up", "one", "two", "linear", (4,), (4,), 16, np.full((4, 4), 32767), 15),
    )
    return IntegerProgram(InputFormat((64,), 0, 255), (one, two), connections, "two")
