"""Which multiplications (and divisions) a program needs: by what, and where (docs/program.md, Multiplications)."""

from __future__ import annotations

import numpy as np

from runtime.program import Leak, Program


def multiplications(program: Program) -> dict[str, list[int]]:
    """Indices of connections (``weight``) and layers (all others) that need one; what nobody needs is absent.

    ``weight``: weights beyond ±1 on values beyond ±1; ``leak_v``, ``leak_i``: a leak ``mul_shift``; ``reset_sub``:
    several spikes a step, a division by it (and, by subtraction, a product).
    """
    layers = list(enumerate(program.layers))
    found = {
        "weight": [
            index
            for index, c in enumerate(program.connections)
            if c.weight is not None and max(map(abs, c.values)) > 1 and int(np.abs(c.weight).max()) > 1
        ],
        "leak_v": [index for index, layer in layers if _multiplies(layer.leak_v)],
        "leak_i": [index for index, layer in layers if _multiplies(layer.leak_i)],
        "reset_sub": [index for index, layer in layers if layer.max_spikes > 1],
    }
    return {name: where for name, where in found.items() if where}


def _multiplies(leak: Leak | None) -> bool:
    return leak is not None and leak.kind == "mul_shift"
