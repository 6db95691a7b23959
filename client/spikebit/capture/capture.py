"""``capture``: a trained network becomes a NIR file, a profile, and what the framework itself counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

from spikebit.capture.frameworks import adapter_of
from spikebit.capture.steps import steps_of
from spikebit.capture.walk import Walk


@dataclass(frozen=True)
class Captured:
    """The files that were written, and the profile.

    ``counts`` is None where membranes are read out, ``samples`` where no labels were given.
    """

    model: Path
    dynamics: Path
    counts: Path | None
    traces: Path
    samples: Path | None
    profile: dict[str, Any]

    @property
    def command(self) -> str:
        """The command that proves that the service runs this network as its framework does."""
        data = "DATA.npz" if self.samples is None else str(self.samples)
        return (
            f"spikebit evaluate {self.model} {data} --dynamics {self.dynamics} "
            f"{'' if self.counts is None else f'--expect-counts {self.counts} '}--expect-traces {self.traces}"
        )


def capture(
    net: torch.nn.Module,
    samples: Any,
    *,
    framework: str,
    labels: Any = None,
    out: str | Path = "captured",
    traced: int = 4,
    readout: str = "spike_count",
) -> Captured:
    """Write everything that Spikebit wants to know about a network.

    The network is copied, turned to float64 and evaluation, and run by the framework's own layers; ``net`` itself is
    left as it is.

    Args:
        net: a chain of layers (``Sequential``, nested or not), or a module whose ``forward`` takes the input of one
            step, calls layers that keep their own state, and adds; it ends in a layer of neurons, which is read out.
        samples: the test split, ``[sample, time, ...]``: the counts are those of exactly these, in this order.
        framework: ``snntorch``, ``norse``, ``spikingjelly``, ``sinabs`` or ``rockpool``.
        labels: ``[sample]``; where given, ``samples.npz`` is a dataset with this test split.
        out: the folder to write to.
        traced: how many samples of the first layer of neurons (without counts: of all layers) are kept spike by spike.
        readout: ``spike_count``; of a last layer that never spikes ``membrane_sum``, ``membrane_max`` or
            ``membrane_last``. Membranes are no counts: the traces alone are then compared.

    Raises:
        CannotCapture: a layer or an option that a NIR file and one profile cannot say; the message names it.
        ValueError: unknown framework, or samples without a time axis.
    """
    adapter, x = adapter_of(framework), np.asarray(samples)
    if x.ndim < 3 or not len(x):
        raise ValueError(f"expected samples of shape [sample, time, ...], found {x.shape}")
    walk = Walk(adapter, torch.from_numpy(np.moveaxis(x, 1, 0).astype(np.float64)))
    with torch.no_grad():
        for step in steps_of(adapter.copied(net).double().eval()):
            walk.take(step)
        graph, profile = walk.finish(readout)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    nir.write(folder / "model.nir", graph)
    (folder / "dynamics.json").write_text(json.dumps(profile, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    counts = None
    if readout == "spike_count":
        counts = folder / "counts.npz"
        np.savez_compressed(counts, counts=walk.output.sum(0).flatten(1).numpy().astype(np.int64))
    _write_traces(folder / "traces.npz", walk.spikes if counts is None else walk.first, traced)
    if labels is not None:
        np.savez_compressed(folder / "samples.npz", x_test=x, y_test=np.asarray(labels, dtype=np.int64))
    return Captured(
        folder / "model.nir",
        folder / "dynamics.json",
        counts,
        folder / "traces.npz",
        None if labels is None else folder / "samples.npz",
        profile,
    )


def _write_traces(path: Path, spikes: Mapping[str, torch.Tensor], traced: int) -> None:
    """``spikes_k`` of layer k, ``[sample, time, neuron...]``."""
    kept = {
        f"spikes_{place}": np.moveaxis(fired[:, :traced].numpy(), 0, 1).astype(np.uint16)
        for place, fired in enumerate(spikes.values())
    }
    samples = np.arange(len(next(iter(kept.values()))))
    np.savez_compressed(path, allow_pickle=False, samples=samples, layers=np.array(list(spikes)), **kept)
