# make demo: install, predict on portraits, train for a minute, write a report.
# make test: every check and test.   make quick: the fast ones.
# make docs: the documentation, offline.   make dist: wheel and sdist, checked.   make kill: what kill -9 breaks.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test quick check format docs dist kill clean

demo: .venv/installed
	$(BIN)/threeages demo

# A thread for each of two processes is faster than one process with both.
test: .venv/installed check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=30

# No type check and no import contract, which take half a minute of their own.
quick: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not browser and not realdata" -x -q

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Every warning is an error; the pages' generated parts must be fresh.
docs: .venv/installed
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m sphinx -W --keep-going -q -E -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

# Every long command is killed at seeded moments, resumed and compared; about 40 minutes. make kill RUNS=5 is a try.
kill: .venv/installed
	$(BIN)/python benchmarks/kills.py --runs $(or $(RUNS),20)

# Both are built from the sources here, and a fresh environment must answer a portrait with the wheel alone.
dist: .venv/installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tools/check_wheel.py dist/*.whl
	@echo "Built and checked:"; ls -l $(CURDIR)/dist/*

# The stamp is touched last, so that an installation that was interrupted is done again.
# torch goes first and alone: where its CPU build is offered, nothing then asks for the CUDA one.
.venv/installed: pyproject.toml
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf .venv dist runs docs/_build .mypy_cache .ruff_cache .pytest_cache
