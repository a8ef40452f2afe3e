# Every target sets up its own environment in .venv on first use.
PYTHON ?= python3
BIN := .venv/bin
# Tests side by side, each process with a TensorFlow of its own; a file's tests share what they compile.
SHARED := --numprocesses=auto --maxprocesses=4 --dist=loadfile

.PHONY: demo test test-slow test-faults test-matrix coverage dist lint docs notebook bench bench-all compare clean

demo: .venv/demo
	$(BIN)/python run.py --content=examples/chelsea.jpg --style=examples/mosaic.jpg \
	    --preset=balanced --weights=bundled --image_size=384 --output_dir=output/demo --overwrite
	@echo "Look at output/demo/result.png"

test: .venv/test
	$(BIN)/python -m pytest -m "not slow and not faults" $(SHARED)

TESTS ?= tests
test-slow: .venv/test
	$(BIN)/python -m pytest -m slow $(TESTS)

test-faults: .venv/test
	$(BIN)/python -m pytest -m faults

# Each supported Python and TensorFlow, in environments of their own: an hour. The same command again goes on.
test-matrix: .venv/release
	$(BIN)/python tests/matrix.py

# Branches, of the fast tests; what subprocesses do is not counted.
coverage: .venv/test
	$(BIN)/python -m pytest -m "not slow and not faults" $(SHARED) --cov=neural_style_tf --cov-branch --cov-report=term

# Source distribution and wheel in dist/, looked into and tried in a clean environment.
dist: .venv/release
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/try_wheel.py dist

lint: .venv/dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

docs: .venv/docs
	$(BIN)/python docs/build_api.py

# examples/tutorial.ipynb from examples/tutorial.py; cells that did not change keep their identifiers.
notebook: .venv/notebook
	$(BIN)/jupytext --to ipynb --update examples/tutorial.py

bench: .venv/test
	$(BIN)/python benchmarks/step.py

# Every benchmark at one commit: hours. The same command again goes on.
bench-all: .venv/test .venv/dev
	$(BIN)/python benchmarks/run_all.py

# A page that shows two settings blindly: make compare A="--preset=balanced" B="--preset=gatys"
A ?= --preset=balanced
B ?= --preset=gatys
compare: .venv/demo
	$(BIN)/python benchmarks/compare.py --a="$(A)" --b="$(B)"

.venv/%: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	@touch $@

clean:
	rm -rf .venv build dist
