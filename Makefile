# Everything a newcomer needs: `make study` and `make test`. Needs Python 3.11 or later, make and a package index.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: study test test-slow lint types bench clean

study: .venv/installed
	$(BIN)/python -m study.run --space mtl

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

bench: .venv/installed .venv-librosa/installed
	$(BIN)/python -m tests.benchmarks

# librosa, the peer of `sermtl prepare`, has an environment of its own: nothing here depends on it
.venv-librosa/installed:
	$(PYTHON) -m venv .venv-librosa
	.venv-librosa/bin/pip install --quiet librosa
	touch $@

# torch goes first and alone: its range is then settled before anything else can ask for a newer one.
.venv/installed: pyproject.toml
	@echo "installing into .venv: some minutes, the first time"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "torch>=2.11,<2.14"
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .venv-librosa build *.egg-info .pytest_cache .mypy_cache .ruff_cache
