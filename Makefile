# Two commands for a fresh machine: `make demo` and `make test`. Each makes the environment it needs.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test bench tables matrix kills load clean

demo: $(READY)
	$(BIN)/python examples/char_lm/demo.py

# -P: the working folder is not searched; an installation may have left an `optreg.egg-info` there.
test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/lint-imports --config .ci/run_time_imports.toml
	$(BIN)/python -P -m pytest -n 2 --dist worksteal --cov --cov-fail-under=95 $(PYTEST_ARGS)

# Peers are installed without what they depend on: some would bring another torch. Those that fail are left out.
PEERS := lion-pytorch pytorch_optimizer torch-optimi timm bitsandbytes heavyball

bench: $(READY)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps $(PEERS)
	$(BIN)/python benchmarks/core.py
	$(BIN)/python benchmarks/steps.py

# Made anew when it is missing or broken, brought up to date when what it depends on has changed.
$(READY): pyproject.toml constraints.txt
	$(BIN)/python -c 'import sys' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

tables: $(READY)
	$(BIN)/python tests/conformance/tables.py

# The core of the suite on other Pythons and torches: each cell downloads a torch of its own, up to several GB.
matrix:
	$(PYTHON) tests/matrix.py $(CELLS)

# A training that is killed 50 times and resumed each time ends in the same bits: minutes.
kills: $(READY)
	$(BIN)/python tests/kills.py

# Twenty reports beside four busy loops equal the one of a run that was left alone: a quarter of an hour.
load: $(READY)
	$(BIN)/python tests/load.py

clean:
	rm -rf .venv out build
