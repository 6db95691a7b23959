"""Registries, specs, pages and tests name the same things: what is added in one place is missed in the others.

``SPIKEBIT_UPDATE_GOLDEN=1`` rewrites the generated pages.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from benchmarks.frame import BENCHMARKS
from engine.curvature.registry import ESTIMATORS
from engine.data.readers.recordings import DECODERS
from engine.data.readers.registry import READERS
from engine.exports.registry import EXPORTS
from engine.quantizers.registry import QUANTIZERS
from engine.specs.data import Format, Transform
from engine.specs.dynamics import PRESETS, Dynamics
from engine.specs.pages import plan_page, recipes_page, steps_page
from engine.specs.plan import WeightPlan
from engine.specs.recipes import RECIPES
from engine.specs.report import Section
from engine.specs.steps import STEPS, ExportStep, SensitivityStep, Step
from engine.steps.registry import HANDLERS
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = {"steps.md": steps_page, "recipes.md": recipes_page, "plan.md": plan_page}


def members(union: object) -> set[str]:
    """The kinds of a discriminated union."""
    return {spec.model_fields["kind"].default for spec in get_args(get_args(union)[0])}


def sources(folder: str) -> str:
    return "\n".join(path.read_text() for path in (ROOT / "tests" / folder).rglob("*.py"))


def tabled(page: str) -> set[str]:
    """The names in the first column of a page's tables."""
    return set(re.findall(r"^\| `([^`]+)`", page, flags=re.MULTILINE))


def test_every_step_has_a_spec_a_handler_and_a_section() -> None:
    assert set(STEPS) == set(HANDLERS) == members(Step) == members(Section)
    for kind, spec in STEPS.items():
        assert spec.model_fields["kind"].default == kind
        assert spec().model_dump()["kind"] == kind, "a step has a default for every field"
        assert (spec.__doc__ or "").strip()


def test_every_step_is_used_by_a_recipe_and_a_test() -> None:
    used = {step.kind for recipe in RECIPES.values() for step in recipe.steps}
    assert used == set(STEPS)
    tests = sources("steps")
    for kind, spec in STEPS.items():
        assert spec.__name__ in tests or f'"{kind}"' in tests, f"no test in tests/steps names {kind}"


def test_every_recipe_is_tested_and_in_the_readers_reach() -> None:
    tests = sources(".")
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert f'"{name}"' in tests
        assert recipe.source


def test_every_method_has_its_page() -> None:
    plain = {
        "evaluate",
        "sensitivity",
        "microcontroller",
        "hessian-mixed",
        "sweep",
    }  # docs/evaluate.md, curvature.md, steps.md
    pages = {path.stem for path in (DOCS / "recipes").glob("*.md")}
    assert set(RECIPES) - plain <= pages <= set(RECIPES)
    for name in pages:
        page = (DOCS / "recipes" / f"{name}.md").read_text()
        assert page.startswith(f"# `{name}`")
        assert all(f"**{part}.**" in page for part in ("The paper", "What ours does", "Left out", "Measured"))


@pytest.mark.parametrize(("name", "page"), PAGES.items())
def test_generated_pages_are_the_committed_ones(name: str, page: Callable[[], str]) -> None:
    path = DOCS / name
    if os.environ.get("SPIKEBIT_UPDATE_GOLDEN"):
        path.write_text(page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page(), "run the test with SPIKEBIT_UPDATE_GOLDEN=1 and look at the diff"


def test_every_quantizer_and_estimator_can_be_asked_for_and_is_tested() -> None:
    assert WeightPlan.model_fields["quantizer"].default in QUANTIZERS
    told = (DOCS / "plan.md").read_text()
    assert set(ESTIMATORS) == set(choices(SensitivityStep.model_fields["quantity"].annotation))
    for name, quantizer in QUANTIZERS.items():
        assert quantizer.name == name
        assert f"`{name}`" in told
        assert type(quantizer).__name__ in sources("quantizers")
    for estimator in ESTIMATORS.values():
        assert estimator.__name__ in sources("curvature")


def choices(annotation: object) -> Iterator[str]:
    """The strings of a ``Literal``."""
    for choice in get_args(annotation):
        assert isinstance(choice, str)
        yield choice


def test_every_preset_and_dynamics_field_has_its_row() -> None:
    rows = tabled((DOCS / "dynamics.md").read_text())
    assert set(PRESETS) | set(Dynamics.model_fields) == rows
    assert {page.stem for page in (DOCS / "dynamics").glob("*.md")} == set(PRESETS)
    for preset in PRESETS:
        page = (DOCS / "dynamics" / f"{preset}.md").read_text()
        assert page.startswith(f"# `{preset}`")
        assert "## One step" in page
        assert "## Verified" in page
    tests = sources("network")
    assert all(f'"{preset}"' in tests or "PRESETS" in tests for preset in PRESETS)


def test_every_export_can_be_asked_for_and_has_its_page_and_test() -> None:
    assert set(EXPORTS) == set(choices(get_args(ExportStep.model_fields["formats"].annotation)[0]))
    for name in EXPORTS:
        assert (DOCS / "exports" / f"{name}.md").is_file()
        assert f'"{name}"' in sources("exports") + sources("steps") or f"test_{name}" in {
            path.stem for path in (ROOT / "tests" / "exports").glob("test_*.py")
        }


def test_every_format_of_data_has_a_reader_a_page_and_tests() -> None:
    page, tests = (DOCS / "data.md").read_text(), sources("data") + sources("hostile")
    assert {"frames", *READERS} == set(choices(Format))
    for name in choices(Format):
        assert f"| `{name}` |" in page
        assert f'"{name}"' in tests
    for suffix in DECODERS:
        assert f"`{suffix}`" in page
        assert suffix in tests
    assert set(Transform.model_fields) <= tabled(page)


def test_every_benchmark_has_rows_and_is_told() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in BENCHMARKS:
        module = importlib.import_module(BENCHMARKS[name])
        names = [row.name for row in module.ROWS]
        assert names
        assert len(names) == len(set(names))
        assert f"NAME={name}" in readme


def raised_codes() -> Iterator[tuple[str, Path]]:
    """The literal codes of every refusal in the engine, the API and the worker's intake."""
    for package in ("engine", "api", "jobs", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call):
                    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
                    refusal = name.startswith(("Invalid", "Ambiguous"))
                    place = {"Problem": 1, "invalid": 0}.get(name, 0 if refusal else -1)
                    if name == "Problem" and package != "api":
                        place = 0
                    if 0 <= place < len(call.args) and isinstance(call.args[place], ast.Constant):
                        yield str(getattr(call.args[place], "value", "")), path.relative_to(ROOT)


def test_every_problem_code_is_in_the_http_page() -> None:
    page = (DOCS / "http.md").read_text()
    told = set(re.findall(r"`([a-z0-9_]+)`", page))
    missing = sorted({f"{code} ({path})" for code, path in raised_codes() if code not in told})
    assert not missing, "docs/http.md lacks: " + ", ".join(missing)
