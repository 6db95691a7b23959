"""The reference pages of steps and recipes, written from the specs so that page and code cannot part."""

from __future__ import annotations

import json
import re
from typing import Any

from engine.specs.base import Spec
from engine.specs.plan import MulShiftLeak, NeuronPlan, NoLeak, ShiftLeak, WeightPlan
from engine.specs.recipes import RECIPES
from engine.specs.steps import STEPS

WRITTEN = "This page is written from `engine/specs/` by `tests/test_catalogue.py` (`SPIKEBIT_UPDATE_GOLDEN=1`)."


def steps_page() -> str:
    """``docs/steps.md``: every kind of step with its fields, their values and defaults."""
    lines = [
        "# Steps",
        "",
        "A job is a list of steps; a [recipe](recipes.md) is a named one. A field is set in a job's `steps`, or in its",
        "`options` below the step's kind. `GET /v1/steps` returns the same as JSON schemas.",
        "",
        WRITTEN,
    ]
    for kind, spec in STEPS.items():
        lines += ["", f"## `{kind}`", "", _title(spec), *_fields(spec)]
    return "\n".join(lines) + "\n"


def _title(spec: type[Spec]) -> str:
    """The first line of the docstring, in Markdown and without the parenthesis that points into the design."""
    line = (spec.__doc__ or "").splitlines()[0].replace("``", "`")
    return re.sub(r" \([^()]*DESIGN[^()]*\)", "", line)


def recipes_page() -> str:
    """``docs/recipes.md``: every recipe with its source, its steps and where they leave the defaults."""
    lines = [
        "# Recipes",
        "",
        "A recipe is a named list of [steps](steps.md) with defaults: `--recipe NAME`, or `recipe` in a job request.",
        "`GET /v1/recipes` returns them in full.",
        "",
        WRITTEN,
    ]
    for recipe in RECIPES.values():
        lines += ["", f"## `{recipe.name}`", "", f"{recipe.title}.", ""]
        if recipe.source != "-":
            lines += [f"Source: {recipe.source}.", ""]
        for number, step in enumerate(recipe.steps, start=1):
            given = step.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
            fields = "".join(f", `{name}` = {json.dumps(value)}" for name, value in given.items())
            lines.append(f"{number}. [`{step.kind}`](steps.md#{step.kind}){fields}")
    return "\n".join(lines) + "\n"


def plan_page() -> str:
    """``docs/plan.md``: the file that ``allocate`` writes, ``--plan`` takes and ``finetune`` obeys."""
    example = {"weights": {"fc1": {"bits": 4}, "fc2": {"bits": 3}}, "neurons": {"lif1": {"fraction_bits": 6}}}
    lines = [
        "# Plan",
        "",
        "Bits per layer, as `allocate` writes them to `plan.json`. Edit it and submit it again (`--plan FILE`, or",
        "`plan` in a job request). `weights` names every weight layer of the network, `neurons` those neuron layers",
        "that should differ from the `neuron` field of [`allocate`](steps.md#allocate). Only `bits` must be written.",
        "`input_bits` (2 to 16, default 8) is the width of analogue inputs (fractions); whole numbers stay.",
        "",
        "```json",
        json.dumps(example),
        "```",
        "",
        "Quantizers: `lsq`, learned step sizes (Esser et al. 2020, arXiv:1902.08153) from MSE-optimal ones;",
        "`power_of_two`, the same with steps that are powers of two; `fixed_point`, no scale, rounded at random in",
        "training (Lui & Neftci 2021, arXiv:2104.14117); `ewgs`, LSQ's levels (ternary at 2 bits), an input range",
        "trained apart, and the gradient of Schaefer et al. 2023, arXiv:2302.04174; `soft_sigmoid`, a staircase that",
        "hardens over training (Shymyrbay et al. 2023, arXiv:2305.19295). They differ in scales and training: integers",
        "mean the same for all.",
        "",
        WRITTEN,
    ]
    parts: tuple[tuple[str, type[Spec]], ...] = (
        ("weights.LAYER", WeightPlan),
        ("neurons.LAYER", NeuronPlan),
        ("neurons.LAYER.leak: none", NoLeak),
        ("neurons.LAYER.leak: shift", ShiftLeak),
        ("neurons.LAYER.leak: mul_shift", MulShiftLeak),
    )
    for title, spec in parts:
        lines += ["", f"## `{title}`", "", _title(spec), *_fields(spec)]
    return "\n".join(lines) + "\n"


def _fields(spec: type[Spec]) -> list[str]:
    """A table of a spec's fields; what has no default must be written."""
    schema = spec.model_json_schema()
    shared = schema.get("$defs", {})
    rows = [_row(name, field, spec, shared) for name, field in schema["properties"].items() if name != "kind"]
    if not rows:
        return []
    return ["", "| field | values | default | meaning |", "| --- | --- | --- | --- |", *rows]


def _row(name: str, field: dict[str, Any], spec: type[Spec], shared: dict[str, Any]) -> str:
    default = spec.model_fields[name].get_default()
    plain = default.model_dump(mode="json") if isinstance(default, Spec) else default
    said = "required" if spec.model_fields[name].is_required() else f"`{json.dumps(plain, ensure_ascii=False)}`"
    return f"| `{name}` | {_values(field, shared)} | {said} | {field.get('description', '')} |"


def _values(field: dict[str, Any], shared: dict[str, Any]) -> str:
    """What may be written, from a JSON schema."""
    options = field.get("anyOf") or field.get("oneOf")
    if options:
        return ", or ".join(_values(option, shared) for option in options)
    if "$ref" in field:
        return _values(shared[field["$ref"].rsplit("/", 1)[-1]], shared)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = str(field.get("type", "any"))
    if kind == "object":
        parts = field.get("properties", {})
        inner = [f"`{part['const']}`" if "const" in part else f"`{name}`" for name, part in parts.items()]
        return " with ".join([inner[0], ", ".join(inner[1:])]) if len(inner) > 1 else "".join(inner) or "object"
    bounds = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    limits = ", ".join(f"{sign} {field[word]:g}" for word, sign in bounds if word in field)
    plain = {"array": "list", "integer": "integer", "number": "number", "boolean": "true, false"}.get(kind, kind)
    return f"{plain} {limits}".rstrip()
