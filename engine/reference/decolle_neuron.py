"""The simplified neuron of Lui & Neftci's published code, two state variables a neuron; an oracle for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def simplified_neuron(weight: Array, bias: Array, alpha: float, spikes: Array) -> Array:
    """Spikes of the simplified neuron.

    Source: luithw/decolle-quantization (arXiv:2104.14117), as equations; per input P, per neuron R and U::

        P_t = α·P_{t−1} + S_in,   R_t = α·R_{t−1} + α·U_{t−1}·S_{t−1} − α·b  (R_0 = 0),
        U_t = W·P_t + b − R_t,    S_t = [U_t > 0]

    which is one leaky state with a reset to zero, ``U_t = α·U_{t−1}·(1 − S_{t−1}) + W·S_in + b``.

    Args:
        weight: ``[out, in]``.
        bias: ``[out]``.
        alpha: decay per step.
        spikes: input ``[time, in]``.

    Returns:
        Output spikes ``[time, out]``, 0 or 1.

    Example:
        >>> simplified_neuron(np.array([[1.0]]), np.array([-0.5]), 0.5, np.array([[1.0], [0.0]])).tolist()
        [[1.0], [0.0]]
    """
    p, r = np.zeros(weight.shape[1]), np.zeros(weight.shape[0])
    u, s = np.zeros(weight.shape[0]), np.zeros(weight.shape[0])
    out = np.zeros((len(spikes), weight.shape[0]))
    for t, frame in enumerate(spikes):
        p = alpha * p + frame
        if t > 0:
            r = alpha * r + alpha * u * s - alpha * bias
        u = weight @ p + bias - r
        s = (u > 0).astype(np.float64)
        out[t] = s
    return out
