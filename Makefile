# make demo · make test · make bench · make check
# Needs Python 3.11 or newer and a package registry; everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test bench check

demo: .venv/.light  ## complete three photographs, without PyTorch
	$(BIN)/python scripts/demo.py demo

test: .venv/.full  ## install what the tests need and run them all
	$(BIN)/python -m pytest

check: .venv/.full  ## style and types
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/mypy

bench: .venv/.full  ## speed and memory, as ratios in one run
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python benchmarks/scale.py --measure

.venv/.pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@touch $@

.venv/.light: .venv/.pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[serve]"
	@touch $@

.venv/.full: .venv/.pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,report,serve,ray,s3,heic]" --group dev
	@touch $@
