# make demo, make test: everything from a bare Python 3.11+, in .venv. The second time nothing is installed again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# --no-compile saves a minute: Python compiles what is imported, and most of what the packages hold never is.
PIP := $(BIN)/python -m pip install --no-compile --disable-pip-version-check --progress-bar on -c constraints.txt
PYTEST := $(BIN)/python -m pytest --durations=25

.PHONY: demo test test-slow fuzz check docs page bench clean

demo: $(VENV)/.ready
	$(BIN)/python examples/demo.py

# Most tests, on all cores: 3 to 6 minutes on two.
test: $(VENV)/.ready-dev
	$(PYTEST) -m "not slow" -n logical --maxprocesses 8 --dist loadscope

# The tests marked slow (browser, Ray, wheel, killed processes, machine code), two modules at a time: 5 to 10 minutes.
test-slow: $(VENV)/.ready-dev
	$(PYTEST) -m slow -n 2 --dist loadscope

fuzz: $(VENV)/.ready-dev
	PCONV_FUZZ=10000 $(BIN)/python -m pytest tests/images/test_fuzz.py

check: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	tests/page/check_types.sh

# With the live demo in site/demo. Without a network: make docs PAGE_OPTIONS="--runtime FILE.tgz ..."
docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/pconv page -o site/demo $(PAGE_OPTIONS)

# The page without a server (docs/guides/static-page.md), into page-site/.
page: $(VENV)/.ready-dev
	$(BIN)/pconv page -o page-site $(PAGE_OPTIONS)

bench: $(VENV)/.ready-bench
	for each in layer network train_step inference hole_share holes cold_start peers sizes large codecs batch serve; do \
		$(BIN)/python benchmarks/$$each.py --quick || exit 1; echo; \
	done

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pconv needs Python 3.11 or newer; say which with: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.ready: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing pconv (once)"
	$(PIP) -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "Installing PyTorch and what tests and training need (once; some minutes)"
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.ready-docs: $(VENV)/.ready-dev
	$(PIP) -e '.[docs]'
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready-dev
	$(PIP) -e '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output site page-site
