# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Empty: pip's own index. Set it to one of PyTorch's wheel indexes to pick a CPU or CUDA build (README, "torch").
TORCH_INDEX_URL ?=
# Lava runs on Python 3.10 alone.
PYTHON310 ?= python3.10
DEVICE ?= cpu
NAME ?=
STAMP := $(VENV)/.installed
# What an editable install holds as a copy or compiled: `runtime` inside the client, the native kernels.
BUILT := $(VENV)/.built
NIR_RELEASES := 0.0.1 0.0.2 0.0.3 0.0.4 0.0.5 0.0.6 0.1.0 0.2.0 1.0.0 1.0.1 1.0.3 1.0.4 1.0.5 1.0.6 1.0.7 1.0.8
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup demo test test-slow test-frameworks lint format serve bench chaos compose-test lock frameworks frameworks-lava fixtures example-digits example-spectrum example-zoo clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BUILT) ## Make .venv with locked dependencies, torch and both packages

$(STAMP): requirements/lock.txt requirements/constraints.txt pyproject.toml client/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Spikebit needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version`. Use: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements/lock.txt
	$(BIN)/python -m pip install -q $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) -c requirements/constraints.txt torch
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $(STAMP)

$(BUILT): $(STAMP) $(wildcard runtime/*.py engine/kernels/native/*)
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --force-reinstall -e client
	$(BIN)/python -m engine.kernels.build
	@touch $(BUILT)

demo: setup ## The main job on real data, through the real service; last line: RESULT {json}
	@$(BIN)/python -m examples.demo

test: setup ## All tests that run on this machine; what is missing is skipped with a reason
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not frameworks" --device $(DEVICE) --cov --cov-report=term:skip-covered

test-slow: setup ## The slow suites too
	$(BIN)/python -m pytest -m slow --device $(DEVICE)

test-frameworks: setup frameworks ## The tutorials in the frameworks' own venvs, and what the engine makes of what they write
	$(BIN)/python -m pytest -m frameworks

lint: setup ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

serve: setup ## API, workers and a private Redis on loopback; prints READY {url}; Ctrl-C ends all of it
	@exec $(BIN)/python -m serve

bench: setup ## One benchmark: make bench NAME=quality (api, ...); writes benchmarks/results/NAME.json
	@$(BIN)/python -m benchmarks $(NAME)

chaos: setup ## Kill everything at random under real jobs, judge the history: SLICE_S=1200 bounds one call, call it again to go on
	@$(BIN)/python -m benchmarks.chaos

compose-test: setup .venv-compose/.installed ## Build and run docker-compose.yml with podman, kill a worker, take it down; skipped where podman is missing
	@$(BIN)/python -m benchmarks.compose

.venv-compose/.installed: requirements/compose.txt
	$(PYTHON) -m venv .venv-compose
	.venv-compose/bin/python -m pip install -q -r $<
	@touch $@

frameworks: .venv-frameworks/.installed .venv-sinabs/.installed ## Two venvs with the SNN frameworks: peers of the benchmarks, makers of fixtures

.venv-frameworks/.installed: requirements/frameworks.txt
	$(PYTHON) -m venv .venv-frameworks
	.venv-frameworks/bin/python -m pip install -q $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) --no-deps -r $<
	@touch $@

.venv-sinabs/.installed: requirements/frameworks-sinabs.txt
	$(PYTHON) -m venv .venv-sinabs
	.venv-sinabs/bin/python -m pip install -q $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) --no-deps -r $<
	@touch $@

frameworks-lava: .venv-lava/.installed ## A venv with lava-nc and lava-dl, for the test of the Lava export

.venv-lava/.installed: requirements/frameworks-lava.txt
	$(PYTHON310) -m venv .venv-lava
	.venv-lava/bin/python -m pip install -q --no-deps -r $<
	@touch $@

fixtures: frameworks ## Make tests/fixtures/networks again, by the frameworks' own code
	rm -f tests/fixtures/networks/*
	for net in snntorch norse spikingjelly; do .venv-frameworks/bin/python -W ignore -m tests.fixtures.make.$${net}_nets || exit 1; done
	for net in sinabs rockpool; do .venv-sinabs/bin/python -W ignore -m tests.fixtures.make.$${net}_nets || exit 1; done
	for v in $(NIR_RELEASES); do \
	  .venv-frameworks/bin/python -m pip install -q --no-deps --target out/nir/$$v nir==$$v && PYTHONPATH=out/nir/$$v \
	  .venv-frameworks/bin/python -W ignore tests/fixtures/make/nir_versions.py $$v || exit 1; done

lock: setup ## Rewrite requirements/lock.txt from lock.in
	$(BIN)/python -m pip install -q pip-tools
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --allow-unsafe \
	  -o requirements/lock.txt requirements/lock.in

example-digits: setup ## Train examples/digits/digits.nir again
	$(BIN)/python -m examples.digits.train

example-spectrum: setup ## Spectrum sensing: loihi-qat programs against the float network and an energy detector
	$(BIN)/python -m examples.spectrum.compare

example-zoo: setup frameworks ## Train the networks of examples/zoo again, each in its own framework
	@for name in latency motion rates syllables; do $(BIN)/python -m examples.zoo.data $$name out/zoo/$$name.npz; done
	.venv-frameworks/bin/python -m examples.zoo.latency_snntorch out/zoo/latency.npz
	.venv-frameworks/bin/python -m examples.zoo.syllables_snntorch out/zoo/syllables.npz
	.venv-frameworks/bin/python -m examples.zoo.rates_norse out/zoo/rates.npz
	.venv-frameworks/bin/python -m examples.zoo.motion_spikingjelly out/zoo/motion.npz
	.venv-frameworks/bin/python -m examples.zoo.deep_spikingjelly out/zoo/syllables.npz
	.venv-sinabs/bin/python -m examples.zoo.motion_sinabs out/zoo/motion.npz

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .venv-frameworks .venv-sinabs .venv-lava .venv-compose out .pytest_cache .mypy_cache .ruff_cache .hypothesis
