# make demo: install, predict on portraits, train for a minute, write a report.   make test: every check.   make docs: the site, offline.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format docs clean

demo: .venv/installed
	$(BIN)/threeages demo

# A thread for each of two processes: 7.6 minutes on 2 cores where one process with both takes 12.5.
test: .venv/installed check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

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

# The stamp is touched last, so that an installation that was interrupted is done again.
# torch goes first and alone: where its CPU build is offered, nothing then asks for the CUDA one.
.venv/installed: pyproject.toml
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf .venv runs docs/_build .mypy_cache .ruff_cache .pytest_cache
