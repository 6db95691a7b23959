"""The networks that benchmarks run on: graph, data, dynamics; nothing else lists them.

Two kinds: files of the repository with data that is built where it is needed (``examples/digits``, ``examples/zoo``),
and graphs and recordings of third parties that lie beside a development checkout (``../shared/data``; rows about them
are reported as absent elsewhere).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.run import Inputs
    from engine.specs.dynamics import Dynamics

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
ABSENT = "../shared/data is absent"


@dataclass(frozen=True)
class Case:
    """A network with its data.

    Args:
        name: of rows.
        model: the NIR file.
        data: a frames file, or a function that writes one to a path.
        preset: dynamics preset.
        fields: dynamics fields that differ from the preset.
    """

    name: str
    model: Path
    data: Path | Callable[[Path], Path]
    preset: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def present(self) -> bool:
        """Whether the files are on this machine."""
        return self.model.exists() and (not isinstance(self.data, Path) or self.data.exists())

    @property
    def dynamics(self) -> Dynamics:
        """The profile, every field resolved."""
        from engine.specs.dynamics import DynamicsRequest, resolve_dynamics

        return resolve_dynamics(DynamicsRequest(preset=self.preset, set=dict(self.fields)))

    def prepare(self, folder: Path) -> Inputs:
        """Canonical model and dataset below ``folder``, as the engine takes them; made once, then found there."""
        from engine.data.frames import canonicalise_frames
        from engine.network.canonical import write_canonical
        from engine.network.nir_reader import read_nir
        from engine.run import Inputs

        done = folder / "ready"
        if not done.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_canonical(read_nir(self.model), folder / "model")
            frames = self.data if isinstance(self.data, Path) else self.data(folder / "frames.npz")
            canonicalise_frames(frames, folder / "data.npz")
            done.touch()
        return Inputs(folder / "model", folder / "data.npz")


def _digits(path: Path) -> Path:
    from examples.digits.data import build

    return build(path)


def _zoo_data(name: str, path: Path) -> Path:
    from examples.zoo.data import build

    return build(name, path)


def _zoo(name: str, preset: str, data: str, **fields: Any) -> Case:
    return Case(name, ROOT / "examples" / "zoo" / f"{name}.nir", partial(_zoo_data, data), preset, fields)


# The four that the rows of plans and quality name, then the zoo.
NAMED = (
    Case("digits", ROOT / "examples" / "digits" / "digits.nir", _digits, "nir-paper"),
    Case(
        "braille_subtract",
        SHARED / "models" / "braille_noDelay_noBias_subtract.nir",
        SHARED / "datasets" / "braille7.npz",
        "nir-paper",
    ),
    Case(
        "braille_zero",
        SHARED / "models" / "braille_noDelay_bias_zero.nir",
        SHARED / "datasets" / "braille7.npz",
        "nir-paper",
        {"reset": "to_value"},
    ),
    Case(
        "cnn_sinabs",
        SHARED / "models" / "cnn_sinabs.nir",
        SHARED / "datasets" / "nmnist_small_frames10ms.npz",
        "sinabs",
        {"membrane_floor": "none"},
    ),
)
ZOO = (
    _zoo("latency_snntorch", "snntorch-leaky", "latency"),
    _zoo("syllables_snntorch", "snntorch-synaptic-zero", "syllables"),
    _zoo("rates_norse", "norse", "rates"),
    _zoo("motion_spikingjelly", "spikingjelly", "motion"),
    _zoo("deep_spikingjelly", "spikingjelly", "syllables"),
    _zoo("motion_sinabs", "sinabs", "motion"),
)
NETWORKS = (*NAMED, *ZOO)
