"""What `integerize` and `export` make, and what a program costs. Sections of :mod:`engine.specs.report`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.specs.base import Spec
from engine.specs.evaluated import Basis, ProgramCost


class ProgramLayer(Spec):
    """Sizes of one weight layer in the program."""

    layer: str
    bits: int
    weights: int
    bytes: int
    multiplications: bool = Field(description="Does any edge into it carry more than 0 and 1")
    accumulator_bound: int


class ProgramSection(Spec):
    """Result of ``integerize``."""

    kind: Literal["integerize"] = "integerize"
    program_digest: str
    program_bytes: int
    float_bytes: int
    reduction: float
    mean_weight_bits: float
    state_bytes: int
    layers: tuple[ProgramLayer, ...]
    mismatched_spikes: int = Field(description="Torch simulation against the runtime, every layer and step, test split")
    compared_spikes: int = Field(description="Neuron-steps compared")
    clamped_inputs: int
    saturations: dict[str, int] = Field(
        default_factory=dict, description="Layers whose membrane or current left its range on the test split: how often"
    )
    multiplications: tuple[str, ...] = Field(description="Every multiplication that the program needs, in words")
    golden_samples: int
    cost: ProgramCost | None = None
    seconds: float
    basis: Basis = "measured"


class ExportedFile(Spec):
    """One file that an export wrote."""

    format: str
    path: str
    bytes: int


class ExportSection(Spec):
    """Result of ``export``."""

    kind: Literal["export"] = "export"
    files: tuple[ExportedFile, ...]
    facts: dict[str, dict[str, str]] = Field(default_factory=dict, description="Format → what to know of it → value")
    seconds: float
    basis: Basis = "measured"
