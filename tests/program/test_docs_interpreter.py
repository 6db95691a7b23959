"""An interpreter written from docs/program.md alone must agree with the runtime, spike for spike.

Nothing of ``runtime`` or ``engine`` is used to interpret: only json, base64-free NumPy, and plain loops.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.program.write import write_program
from runtime import read_program, run
from tests.program.programs import random_input, random_program

ROLES = ("leak_v", "leak_i", "bias", "bias_i", "fire_at", "reset_delta", "reset_to", "floor", "start")
LAYER: dict[str, Any] = {
    "fraction_bits": 0, "leak_v": {"kind": "none"}, "leak_i": None, "reset": "none", "reset_timing": "same_step",
    "reset_order": None, "drop_reset_input": False, "current": "new", "max_spikes": 1,
}  # fmt: skip
CONNECTION: dict[str, Any] = {"kind": "linear", "bits": 0, "before": [], "after": [], "groups": 1}


class Stranger:
    """docs/program.md, one sample at a time."""

    def __init__(self, folder: Path) -> None:
        raw, self.payload = (folder / "manifest.json").read_bytes(), (folder / "payload.bin").read_bytes()
        self.manifest = json.loads(raw)
        digests = self.manifest["digests"]
        assert hashlib.sha256(self.payload).hexdigest() == digests["payload"]["sha256"]
        assert hashlib.sha256((folder / "golden.npz").read_bytes()).hexdigest() == digests["golden"]["sha256"]
        blank = {**self.manifest, "digests": {**digests, "manifest": "0" * 64}}
        text = json.dumps(blank, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
        assert hashlib.sha256(text.encode()).hexdigest() == digests["manifest"]
        shared = self.manifest["shared"]
        for k, layer in enumerate(self.manifest["layers"]):
            self.manifest["layers"][k] = LAYER | (shared[layer["like"]] if "like" in layer else {}) | layer
        for k, c in enumerate(self.manifest["connections"]):
            self.manifest["connections"][k] = CONNECTION | (shared[c["like"]] if "like" in c else {}) | c
        self.arrays: dict[tuple[str, int, str], list[int]] = {}
        self.at = 0
        for k, layer in enumerate(self.manifest["layers"]):
            self.lay_out_layer(k, layer)
        for k, c in enumerate(self.manifest["connections"]):
            self.lay_out_connection(k, c)
        assert self.at == len(self.payload)

    def lay_out_layer(self, k: int, layer: dict[str, Any]) -> None:
        """Arrays in the order of the page's table; ``reset_delta`` is u1 where it is not named."""
        types = dict(layer.get("arrays", {}))
        if layer["reset"] == "subtract" or layer["max_spikes"] > 1:
            types.setdefault("reset_delta", "u1")
        for role in ROLES:
            if role in types:
                self.arrays["layer", k, role] = self.unpack(*self.split(types.pop(role)))
        assert not types

    def lay_out_connection(self, k: int, c: dict[str, Any]) -> None:
        """Its ends and shapes in words, then weights, delays and exponents."""
        layers = self.manifest["layers"]
        c["target_shape"] = layers[c["to"]]["shape"]
        c["source"] = layers[c["from"]]["name"] if "from" in c else "@input"
        c["source_shape"] = layers[c["from"]]["shape"] if "from" in c else self.manifest["input"]["shape"]
        c["delayed"] = c.get("delayed", c.get("from", -1) >= c["to"])
        c["target"] = layers[c["to"]]["name"]
        axes = 1 if c["kind"] == "conv1d" else 2
        c |= {"stride": c.get("stride", [1] * axes), "padding": c.get("padding", [0] * axes)}
        c |= {"dilation": c.get("dilation", [1] * axes)}
        types = c.get("arrays", {})
        if c["kind"] != "identity":
            c.setdefault("weights", [int(np.prod(c["target_shape"])), int(np.prod(c["source_shape"]))])
            encoding = types.get("weight", "plus_minus_one" if c["bits"] == 1 else "signed")
            self.arrays["connection", k, "weight"] = self.unpack(encoding, c["bits"], int(np.prod(c["weights"])))
        if "delay" in types:
            self.arrays["connection", k, "delay"] = self.unpack(*self.split(types["delay"]))
        self.arrays["connection", k, "exponent"] = self.unpack(*self.split(types.get("exponent", "u1")))

    def split(self, type_: str) -> tuple[str, int, int]:
        """``s9*64``: signed, 9 bits, 64 entries; ``u12``: unsigned, 12 bits, one entry."""
        width, _, count = type_[1:].partition("*")
        return {"u": "unsigned", "s": "signed"}[type_[0]], int(width), int(count or 1)

    def unpack(self, encoding: str, width: int, count: int) -> list[int]:
        """The next array of the payload."""
        size = -(-count // 5) if encoding == "ternary" else -(-count * width // 8)
        data = self.payload[self.at : self.at + size]
        self.at += size
        if encoding == "ternary":
            return [data[k // 5] // 3 ** (k % 5) % 3 - 1 for k in range(count)]
        string = int.from_bytes(data, "little")
        values = [(string >> (k * width)) & ((1 << width) - 1) for k in range(count)]
        if encoding == "signed":
            return [v - (1 << width) if v >> (width - 1) else v for v in values]
        return [2 * v - 1 for v in values] if encoding == "plus_minus_one" else values

    def full(self, index: int, role: str, default: int = 0) -> Any:
        flat = self.arrays.get(("layer", index, role), [default])
        return self.spread(flat, self.manifest["layers"][index]["shape"])

    def spread(self, flat: list[int], shape: list[int]) -> Any:
        if len(flat) == np.prod(shape):
            return np.array(flat).reshape(shape)
        return np.zeros(shape, int) + np.array(flat).reshape(-1, *[1] * (len(shape) - 1))

    def run(self, x: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        layers, fmt = self.manifest["layers"], self.manifest["input"]
        x = np.clip(x, fmt.get("lo", 0), fmt.get("hi", 1))
        v = {la["name"]: self.full(k, "start") for k, la in enumerate(layers)}
        i = {la["name"]: np.zeros(la["shape"], int) for la in layers}
        n = {la["name"]: np.zeros(la["shape"], int) for la in layers} | {"@input": np.zeros(fmt["shape"], int)}
        spikes: dict[str, list[Any]] = {la["name"]: [] for la in layers}
        membranes = []
        past: list[dict[str, Any]] = []
        self.saturated = dict.fromkeys(v, 0)
        for now in x:
            before, n = n, dict(n) | {"@input": now}
            past.append(n)
            for k, layer in enumerate(layers):
                name = layer["name"]
                acc = self.gather(name, past) << layer["fraction_bits"]
                v[name], i[name], n[name] = self.step(k, layer, v[name], i[name], before[name], acc)
                spikes[name].append(n[name])
            membranes.append(v[self.manifest["output"]])
        readout = self.manifest["readout"]
        counts = {
            "spike_count": sum(spikes[self.manifest["output"]]),
            "membrane_sum": sum(membranes),
            "membrane_max": np.max(membranes, axis=0),
            "membrane_last": membranes[-1],
        }[readout]
        return counts.ravel(), {name: np.array(s) for name, s in spikes.items()}, {"v": v, "i": i}

    def late(self, index: int, c: dict[str, Any], past: list[dict[str, Any]]) -> Any:
        """Values of every source neuron ``delay`` (+ 1 if delayed) steps ago, 0 before the first step."""
        delay = self.spread(self.arrays.get(("connection", index, "delay"), [0]), c["source_shape"]) + c["delayed"]
        t = len(past) - 1
        y = np.zeros(c["source_shape"], int)
        for place in np.ndindex(*y.shape):
            if t >= delay[place]:
                y[place] = past[t - delay[place]][c["source"]][place]
        return y

    def gather(self, target: str, past: list[dict[str, Any]]) -> Any:
        total = 0
        for index, c in enumerate(self.manifest["connections"]):
            if c["target"] != target:
                continue
            y = self.late(index, c, past)
            for part in c["before"]:
                y = self.map(part, y)
            if c["kind"] != "identity":
                w = np.array(self.arrays["connection", index, "weight"]).reshape(c["weights"])
                y = {"linear": lambda w, y, _: w @ y, "conv1d": self.slide, "conv2d": self.correlate}[c["kind"]](
                    w, y, c
                )
            e = np.array(self.arrays["connection", index, "exponent"])
            y = y << e.reshape(-1, *[1] * (y.ndim - 1))
            for part in c["after"]:
                y = self.map(part, y)
            total = total + y
        return total if isinstance(total, np.ndarray) else np.array(0)

    def map(self, part: dict[str, Any], x: Any) -> Any:
        if "flatten" in part:
            return x.reshape(*x.shape[: part["flatten"][0]], -1, *x.shape[part["flatten"][1] + 1 :])
        (kr, kc), (pr, pc) = part["sum_pool"], part.get("padding", (0, 0))
        sr, sc = part.get("stride", (kr, kc))
        x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(pr, pr), (pc, pc)])
        rows, columns = (x.shape[-2] - kr) // sr + 1, (x.shape[-1] - kc) // sc + 1
        y = np.zeros((*x.shape[:-2], rows, columns), int)
        for r in range(rows):
            for c in range(columns):
                y[..., r, c] = x[..., r * sr : r * sr + kr, c * sc : c * sc + kc].sum((-2, -1))
        return y

    def slide(self, w: Any, x: Any, c: dict[str, Any]) -> Any:
        (s,), (p,), (d,) = c["stride"], c["padding"], c["dilation"]
        out, inner, kernel = w.shape
        x = np.pad(x, [(0, 0), (p, p)])
        y = np.zeros((out, (x.shape[1] - d * (kernel - 1) - 1) // s + 1), int)
        for o, q, k, a in np.ndindex(*y.shape, inner, kernel):
            y[o, q] += w[o, k, a] * x[o // (out // c["groups"]) * inner + k, q * s + a * d]
        return y

    def correlate(self, w: Any, x: Any, c: dict[str, Any]) -> Any:
        (sr, sc), (pr, pc), (dr, dc) = c["stride"], c["padding"], c["dilation"]
        out, inner, kr, kc = w.shape
        x = np.pad(x, [(0, 0), (pr, pr), (pc, pc)])
        rows, columns = (x.shape[1] - dr * (kr - 1) - 1) // sr + 1, (x.shape[2] - dc * (kc - 1) - 1) // sc + 1
        y = np.zeros((out, rows, columns), int)
        for o in range(out):
            first = o // (out // c["groups"]) * inner
            for r in range(rows):
                for q in range(columns):
                    a, b = r * sr, q * sc
                    window = x[first : first + inner, a : a + dr * kr : dr, b : b + dc * kc : dc]
                    y[o, r, q] = (w[o] * window[:, :kr, :kc]).sum()
        return y

    def step(self, k: int, layer: dict[str, Any], v: Any, i: Any, late: Any, acc: Any) -> tuple[Any, Any, Any]:
        low, high = -(2 ** (layer["state_bits"] - 1)), 2 ** (layer["state_bits"] - 1) - 1

        def sat(s: Any) -> Any:
            self.saturated[layer["name"]] += int(((s < low) | (s > high)).sum())
            return np.clip(s, low, high)

        fire_at = self.full(k, "fire_at")
        reset_sub, reset_to = fire_at - self.full(k, "reset_delta"), self.full(k, "reset_to")

        def reset(s: Any, n: Any) -> Any:
            if layer["reset"] == "subtract":
                return s - n * reset_sub
            return np.where(n > 0, reset_to, s) if layer["reset"] == "to_value" else s

        if layer["reset_timing"] == "next_step" and layer["reset_order"] == "before_leak":
            v = reset(v, late)
        a = acc
        if layer["leak_i"] is not None:
            old = i
            i = sat(self.leak(layer["leak_i"], self.full(k, "leak_i"), i) + acc + self.full(k, "bias_i"))
            a = i if layer["current"] == "new" else old
        w = self.leak(layer["leak_v"], self.full(k, "leak_v"), v)
        if layer["reset_timing"] == "next_step" and layer["reset_order"] == "after_leak":
            w = reset(w, late)
        v = sat(w + a + self.full(k, "bias"))
        if layer["drop_reset_input"]:
            v = np.where(late > 0, reset_to, v)
        if ("layer", k, "floor") in self.arrays:
            v = np.maximum(v, self.full(k, "floor"))
        n = np.zeros(layer["shape"], int)
        if layer["kind"] not in ("li", "cubali"):
            n = (v >= fire_at).astype(int)
            if layer["max_spikes"] > 1:
                n = n * np.minimum(layer["max_spikes"], 1 + (v - fire_at) // reset_sub)
        if layer["reset_timing"] == "same_step":
            v = reset(v, n)
            if layer["reset"] == "subtract":
                v = sat(v)
        return v, i, n

    def leak(self, leak: dict[str, Any], values: Any, s: Any) -> Any:
        rounding = leak.get("rounding", "floor")

        def divide(x: Any, b: Any) -> Any:
            if rounding == "floor":
                return np.floor_divide(x, 2**b)
            if rounding == "toward_zero":
                return np.sign(x) * (np.abs(x) // 2**b)
            return np.where(b == 0, x, np.floor_divide(2 * x + 2**b, 2 ** (b + 1)))

        if leak["kind"] == "shift":
            return s - divide(s, values)
        return divide(values * s, np.array(leak.get("shift_bits", 0))) if leak["kind"] == "mul_shift" else s


@pytest.mark.parametrize("seed", range(40))
def test_stranger_agrees_spike_for_spike(seed: int, tmp_path: Path) -> None:
    program = random_program(seed)
    x = random_input(program, seed, samples=2, steps=6)
    write_program(program, tmp_path, x, {"engine": "test"})
    stranger = Stranger(tmp_path)
    trace = run(read_program(tmp_path), x)
    saturated = dict.fromkeys(trace.saturated, 0)
    for sample in range(len(x)):
        counts, spikes, states = stranger.run(x[sample])
        saturated = {name: saturated[name] + stranger.saturated[name] for name in saturated}
        np.testing.assert_array_equal(counts, trace.counts[sample])
        for layer in program.layers:
            np.testing.assert_array_equal(spikes[layer.name], trace.spikes[layer.name][sample])
            np.testing.assert_array_equal(states["v"][layer.name], trace.states[layer.name].v[sample])
            current = trace.states[layer.name].i
            if current is not None:
                np.testing.assert_array_equal(states["i"][layer.name], current[sample])
    assert trace.saturated == saturated


def test_stranger_reads_golden_vectors(tmp_path: Path) -> None:
    program = random_program(3)
    x = random_input(program, 3)
    write_program(program, tmp_path, x, {})
    stranger = Stranger(tmp_path)
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as golden:
        counts, spikes, states = stranger.run(golden["input"][0].astype(int))
        np.testing.assert_array_equal(counts, golden["counts"][0])
        for k, layer in enumerate(stranger.manifest["layers"]):
            np.testing.assert_array_equal(spikes[layer["name"]], golden[f"spikes_{k}"][0])
            np.testing.assert_array_equal(states["v"][layer["name"]], golden[f"v_{k}"][0])


def test_bit_order_example_of_the_page() -> None:
    stranger = Stranger.__new__(Stranger)
    stranger.payload, stranger.at = bytes.fromhex("b9000b"), 0
    assert stranger.unpack("signed", 3, 3) == [1, -1, 2]
    assert stranger.unpack("ternary", 2, 3) == [1, -1, 0]


def test_scale_example_of_the_page() -> None:
    """``1036831949+24*2:...``: 0.1 and 0.4, from the page's rule and Python's own base85 alone."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "program.md").read_text()
    text = next(word.strip("`") for word in page.split() if word.startswith("`1036831949+"))
    head, _, data = text.partition(":")
    least, width, count = (int(n) for n in head.replace("*", "+").split("+"))
    string = int.from_bytes(base64.b85decode(data), "little")
    bits = [least + ((string >> (k * width)) & ((1 << width) - 1)) for k in range(count)]
    assert [struct.unpack("<f", struct.pack("<I", n))[0] for n in bits] == [np.float32(0.1), np.float32(0.4)]


def test_the_page_names_every_field_and_role(tmp_path: Path) -> None:
    """A field that the manifest holds and the page does not name would be unknown to a stranger."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "program.md").read_text()

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {name for child in value.values() for name in names(child)}
        return {name for child in value for name in names(child)} if isinstance(value, list) else set()

    found: set[str] = set()
    for seed in range(30):
        program = random_program(seed)
        write_program(program, tmp_path, random_input(program, seed, 1, 2), {})
        manifest = json.loads((tmp_path / "manifest.json").read_text())
        manifest.pop("provenance")
        found |= names(manifest)
    assert {name for name in found if f"`{name}`" not in page and f'"{name}"' not in page} == set()
