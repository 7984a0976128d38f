# Everything that a developer or CI runs. `make run` and `make test` need nothing done before them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2

.PHONY: run install install-dev browser lint format test test-all lock clean

run: install
	$(BIN)/autostack up --example

install: $(VENV)/.installed autostack/static/vendor/.installed

install-dev: $(VENV)/.installed-dev autostack/static/vendor/.installed

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Autostack needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@# Without Debian's python3-venv the folder is left half made, and would pass for a whole one.
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@

autostack/static/vendor/.installed: package.json package-lock.json autostack/static/vendor.py
	npm ci --silent --no-fund --no-audit
	$(PYTHON) autostack/static/vendor.py
	touch $@

# The browser tests drive a Chromium: the system's, installed from apt where we may.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
	  { echo "The browser tests need Chromium: install the package 'chromium'." >&2; exit 1; }

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install-dev browser
	$(BIN)/pytest -m "not slow" -n $(PYTEST_WORKERS) --dist loadgroup

test-all: install-dev browser
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadgroup

# Compile the locks anew: newest versions that pyproject.toml allows, with hashes and without any index's address.
lock: install-dev
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile -q --upgrade pyproject.toml --extra local --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.txt
	$(BIN)/uv pip compile -q --upgrade pyproject.toml --extra local --extra dev -c requirements.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements-dev.txt

clean:
	rm -rf $(VENV) node_modules autostack/static/vendor .mypy_cache .pytest_cache .ruff_cache
