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
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[encoders,transformers,sklearn,prepare,tensorboard,dask,demo]" --group dev
	touch $(STAMP)

demo: $(STAMP)   ## real data, five seeds, a table and a page (two minutes)
	$(BIN)/counterpoise demo

test: lint types layers unit   ## lint, types, import layers and the tests

lint: $(STAMP)   ## ruff, codespell and the check for plain English
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/codespell src tests docs benchmarks examples README.md CHANGELOG.md
	$(BIN)/python tests/helpers/plain_english.py

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP) ## import-linter
	$(BIN)/lint-imports

unit: $(STAMP)   ## the tests
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadgroup

bench: $(STAMP)  ## cost of one training step per method, as ratios to joint
	$(BIN)/python benchmarks/step/run.py

comparison: $(STAMP)   ## every method on real data, tuned alike (an hour for what is missing; needs raw data)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/zoo/train.py
	$(BIN)/python benchmarks/zoo/tables.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/arm/study.py --work comparison-runs/arm
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/arm/tables.py --work comparison-runs/arm
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/arm/right.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/arm/cost.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/recommend/run.py --work comparison-runs/recommend

screenshots: $(STAMP)  ## outputs and pictures of the README, and pictures of pages
	$(BIN)/python benchmarks/demo/quickstart.py
	$(BIN)/python benchmarks/demo/run.py build/pages/demo
	$(BIN)/python benchmarks/screenshots/run.py --work build/pages

mutation: $(STAMP)   ## small faults put into methods and valuation, and which of them no test notices (an hour; FILES=methods/_ogm.py for one file)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 nice -n 15 $(BIN)/python benchmarks/mutation/run.py $(FILES)

docs: $(STAMP)   ## fill the generated blocks of README.md and docs/, and build the site into build/docs
	$(BIN)/python docs/build.py
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs

clean:           ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
