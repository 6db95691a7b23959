"""``capture``: a trained network becomes a NIR file, a profile, and what the framework itself counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

from spikebit.capture.errors import CannotCapture
from spikebit.capture.frameworks import Adapter, adapter_of
from spikebit.capture.steps import Step, steps_of
from spikebit.capture.walk import Walk

_BATCH = 64  # samples at once: of each, a walk keeps what every layer puts out in every step


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
        CannotCapture: a layer or an option that a NIR file and one profile cannot say; the message names it. Or the
            network, called as its framework does, puts out other counts than the layers that were found.
        ValueError: unknown framework, or samples without a time axis.
    """
    adapter, x = adapter_of(framework), np.asarray(samples)
    if x.ndim < 3 or not len(x):
        raise ValueError(f"expected samples of shape [sample, time, ...], found {x.shape}")
    with torch.no_grad():
        own = adapter.copied(net).double().eval()
        steps = steps_of(own)
        walk = _walk(adapter, steps, x[: max(_BATCH, traced)])
        graph, profile = walk.finish(readout)
        _prove(adapter, own, walk)
        sums = [walk.output.sum(0), *_more_sums(adapter, own, steps, x[max(_BATCH, traced) :])]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    nir.write(folder / "model.nir", graph)
    (folder / "dynamics.json").write_text(json.dumps(profile, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    counts = None
    if readout == "spike_count":
        counts = folder / "counts.npz"
        np.savez_compressed(counts, counts=torch.cat(sums).flatten(1).numpy().astype(np.int64))
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


def _more_sums(adapter: Adapter, own: torch.nn.Module, steps: Sequence[Step], x: Any) -> Iterator[torch.Tensor]:
    """Outputs summed over time of further samples, proved batch by batch."""
    for start in range(0, len(x), _BATCH):
        more = _walk(adapter, steps, x[start : start + _BATCH])
        _prove(adapter, own, more)
        yield more.output.sum(0)


def _walk(adapter: Adapter, steps: Sequence[Step], x: Any) -> Walk:
    walk = Walk(adapter, torch.from_numpy(np.moveaxis(x, 1, 0).astype(np.float64)), [step.name for step in steps])
    for step in steps:
        walk.take(step)
    return walk


def _prove(adapter: Adapter, net: torch.nn.Module, walk: Walk) -> None:
    """The network, called as its framework does, puts out what its layers did one after the other.

    Raises:
        CannotCapture: it cannot be called, or does something else.
    """
    try:
        found = adapter.whole(net, walk.input)
    except Exception as error:
        detail = f"the network itself cannot be called, one time step after the other: {str(error)[:300]}"
        raise CannotCapture(detail) from error
    if found is None:
        return
    if not isinstance(found, torch.Tensor) or found.shape != walk.output.shape:
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise CannotCapture(f"the network itself: expected output of shape {tuple(walk.output.shape)}, found {shape}")
    same = torch.isclose(found.double().sum(0), walk.output.sum(0), rtol=1e-9, atol=1e-9).flatten(1).all(1)
    if not same.all():
        raise CannotCapture(
            f"the network itself puts out something else than its layers one after the other, in {int((~same).sum())} "
            f"of {len(same)} samples: its forward, a hook or a layer that stands twice does what cannot be captured"
        )


def _write_traces(path: Path, spikes: Mapping[str, torch.Tensor], traced: int) -> None:
    """``spikes_k`` of layer k, ``[sample, time, neuron...]``."""
    kept = {
        f"spikes_{place}": np.moveaxis(fired[:, :traced].numpy(), 0, 1).astype(np.uint16)
        for place, fired in enumerate(spikes.values())
    }
    samples = np.arange(len(next(iter(kept.values()))))
    np.savez_compressed(path, allow_pickle=False, samples=samples, layers=np.array(list(spikes)), **kept)
