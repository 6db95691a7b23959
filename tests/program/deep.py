"""Deep programs of the usual shapes, as a job leaves them: to see what a folder weighs as layers are added."""

from __future__ import annotations

import numpy as np

from engine.program.program import INPUT, Connection, Flatten, InputFormat, IntegerProgram, Layer, Leak, SumPool

KINDS = ("dense", "conv", "recurrent", "channels", "mixed")
WIDTH = 24  # neurons of a layer, channels of a convolution


def deep_program(kind: str, depth: int) -> IntegerProgram:
    """``depth`` neuron layers.

    Args:
        kind: ``dense`` and ``conv`` (a pool after every second): one scale a layer; ``recurrent``: CubaLIF with a
            feedback connection each; ``channels``: dense, a scale a neuron; ``mixed``: widths, leaks, resets differ.
        depth: 1 or more; the last layer is dense.
    """
    rng = np.random.default_rng(depth)
    layers: list[Layer] = []
    connections: list[Connection] = []
    shape: tuple[int, ...] = (WIDTH, 16, 16) if kind == "conv" else (WIDTH,)
    first, source = shape, INPUT
    for k in range(depth):
        name, last = f"lif{k}", k == depth - 1
        bits = int(rng.integers(1, 17)) if kind == "mixed" else 4
        if kind == "conv" and not last:
            made = _conv(rng, k, source, shape)
        else:
            weight = _weights(rng, bits, (WIDTH, int(np.prod(shape))))
            before = (Flatten(0, 2),) if len(shape) == 3 else ()
            made = Connection(f"fc{k}", source, name, "linear", shape, (WIDTH,), bits, weight, before=before)
        connections.append(made)
        shape, source = made.target_shape, name
        layers.append(_layer(rng, kind, name, shape))
        if kind == "recurrent":
            back = _weights(rng, 4, (WIDTH, WIDTH))
            connections.append(Connection(f"rec{k}", name, name, "linear", shape, shape, 4, back, delayed=True))
    return IntegerProgram(InputFormat(first), tuple(layers), tuple(connections), layers[-1].name)


def _conv(rng: np.random.Generator, k: int, source: str, shape: tuple[int, ...]) -> Connection:
    pools = k % 2 == 1 and shape[1] > 1
    after = (SumPool((2, 2), (2, 2), (0, 0)),) if pools else ()
    target = (WIDTH, shape[1] // 2, shape[2] // 2) if pools else (WIDTH, *shape[1:])
    return Connection(
        f"conv{k}", source, f"lif{k}", "conv2d", shape, target, 4, _weights(rng, 4, (WIDTH, shape[0], 3, 3)),
        after=after, padding=(1, 1),
    )  # fmt: skip


def _weights(rng: np.random.Generator, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    if bits == 1:
        return 2 * rng.integers(0, 2, shape) - 1
    return rng.integers(-(1 << (bits - 1)) + 1, 1 << (bits - 1), shape)


def _layer(rng: np.random.Generator, kind: str, name: str, shape: tuple[int, ...]) -> Layer:
    mixed, current = kind == "mixed", kind == "recurrent"
    per_channel = (shape[0], *[1] * (len(shape) - 1))
    fire_at = rng.integers(100, 2000, per_channel if kind in ("channels", "mixed") else ())
    scale = rng.lognormal(-3, 0.5, per_channel if kind in ("channels", "mixed") else ())
    shift_bits = int(rng.integers(4, 13)) if mixed else 12
    leak = Leak("mul_shift", np.int64((1 << shift_bits) - 1), shift_bits, "floor")
    subtracts = not mixed or rng.random() < 0.5
    return Layer(
        name, "cubalif" if current else "lif", shape, int(rng.integers(14, 33)) if mixed else 16,
        int(rng.integers(0, 5)) if mixed else 3, scale.astype(np.float32) if scale.ndim else np.float32(scale), leak,
        Leak("mul_shift", np.int64(3900), 12, "floor") if current else None,
        bias=rng.integers(-200, 200, per_channel) if not current else None,
        bias_i=rng.integers(-200, 200, per_channel) if current else None,
        fire_at=fire_at, reset="subtract" if subtracts else "to_value", reset_sub=fire_at if subtracts else None,
        reset_to=None if subtracts else 0,
    )  # fmt: skip
