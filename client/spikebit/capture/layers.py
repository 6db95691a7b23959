"""Layers without a state that every framework shares: torch's own, as NIR nodes.

Shapes have neither a time nor a batch axis; a batch is ``[rows, *shape]``.
"""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import torch

from spikebit.capture.errors import CannotCapture

Shape = tuple[int, ...]
ADVICE = {
    "BatchNorm": "fold it into the layer before",
    "MaxPool": "NIR has no maximum; train with an average pool",
}


def array(value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A tensor or number as float64."""
    return np.asarray(value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value, dtype=np.float64)


def stateless_node(name: str, module: torch.nn.Module, given: Shape) -> nir.NIRNode | None:
    """The NIR node of a layer; None for one that does nothing when a trained network runs.

    Args:
        name: the layer's name, for messages.
        module: a torch layer.
        given: the shape that enters.

    Raises:
        CannotCapture: another layer, or an option that NIR cannot say.
    """
    if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d | torch.nn.Identity):
        return None
    if isinstance(module, torch.nn.Linear):
        weight = array(module.weight)
        return nir.Linear(weight) if module.bias is None else nir.Affine(weight, array(module.bias))
    if isinstance(module, torch.nn.Conv2d):
        return _conv2d(name, module, given)
    if isinstance(module, torch.nn.AvgPool2d):
        plain = not module.ceil_mode and module.divisor_override is None
        if not plain or (not module.count_include_pad and module.padding not in (0, (0, 0))):
            raise CannotCapture(f"layer {name}: AvgPool2d with ceil_mode, divisor_override or uncounted padding")
        stride = module.kernel_size if module.stride is None else module.stride
        return nir.AvgPool2d(_pair(module.kernel_size), _pair(stride), _pair(module.padding))
    if isinstance(module, torch.nn.LPPool2d) and module.norm_type == 1 and not module.ceil_mode:
        stride = module.kernel_size if module.stride is None else module.stride
        return nir.SumPool2d(_pair(module.kernel_size), _pair(stride), np.array([0, 0]))
    if isinstance(module, torch.nn.Flatten):
        start = module.start_dim - 1 if module.start_dim > 0 else module.start_dim
        end = module.end_dim - 1 if module.end_dim > 0 else module.end_dim
        return nir.Flatten(input_type={"input": np.array(given)}, start_dim=start, end_dim=end)
    kind = type(module).__name__
    advice = next((text for part, text in ADVICE.items() if part in kind), "it has no counterpart in NIR")
    raise CannotCapture(f"layer {name} ({kind}): {advice}")


def _conv2d(name: str, module: torch.nn.Conv2d, given: Shape) -> nir.NIRNode:
    if module.padding_mode != "zeros":
        raise CannotCapture(f"layer {name}: Conv2d pads with {module.padding_mode!r}, NIR only with zeros")
    bias = np.zeros(module.out_channels) if module.bias is None else array(module.bias)
    return nir.Conv2d(
        input_shape=(given[-2], given[-1]),
        weight=array(module.weight),
        stride=module.stride,
        padding=module.padding,
        dilation=module.dilation,
        groups=module.groups,
        bias=bias,
    )


def _pair(value: Any) -> np.ndarray[Any, Any]:
    return np.array([value, value] if isinstance(value, int) else list(value))
