# Everything runs inside .venv with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types layers unit bench comparison screenshots docs mutation clean help

help:            ## this list
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[demo,video,hdf5]" --group dev
	touch $(STAMP)

demo: $(STAMP)   ## real data, three seeds, a table and a page (about four minutes)
	$(BIN)/counterpoise demo

test: lint types layers unit   ## lint, types, import layers and the tests

lint: $(STAMP)   ## ruff and codespell
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/codespell src tests docs benchmarks examples README.md CHANGELOG.md

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP) ## import-linter
	$(BIN)/lint-imports

unit: $(STAMP)   ## the tests
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n auto

bench: $(STAMP)  ## cost of one training step per method, as ratios to joint
	$(BIN)/python benchmarks/step/run.py

comparison: $(STAMP)   ## ARM against its rivals (two hours; needs raw data)
	$(BIN)/python benchmarks/arm/run.py --work comparison-runs && $(BIN)/python benchmarks/arm/run.py --work comparison-runs --tables

screenshots: $(STAMP)  ## the demo's output and picture for the README
	$(BIN)/python benchmarks/demo/run.py

mutation: $(STAMP)   ## small faults put into methods and valuation, and which of them no test notices (an hour; FILES=methods/_ogm.py for one file)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 nice -n 15 $(BIN)/python benchmarks/mutation/run.py $(FILES)

docs: $(STAMP)   ## fill the generated blocks of README.md and docs/
	$(BIN)/python docs/build.py

clean:           ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
