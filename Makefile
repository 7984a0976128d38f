# Everything that a developer or CI runs. `make run` and `make test` need nothing done before them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One more than the usual two cores: tests wait for servers and browsers a good part of their time.
PYTEST_WORKERS ?= 3
# A file at a time, in their order (tests/conftest.py): tests/e2e share one running product a process while they follow
# each other, then come the longest, and the short files of tests/unit last, so that no process is left alone with one.
PYTEST_DISTRIBUTION := -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: run install install-dev compiled browser peers lint format test test-all screenshots lock clean

run: install
	$(BIN)/autostack up --example

install: $(VENV)/.installed autostack/static/vendor/.installed compiled

install-dev: $(VENV)/.installed-dev autostack/static/vendor/.installed compiled

# A Python that may keep no compiled code (PYTHONDONTWRITEBYTECODE, as in many containers) would compile ours in every
# process, for a third of an agent's start. Of what is compiled already this takes a tenth of a second.
compiled: $(VENV)/.installed
	@$(BIN)/python -m compileall -q -x /static/ autostack

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

# Real servers and attackers that the proxy is tested with: from apt, too.
peers:
	@PATH="$$PATH:/usr/sbin"; command -v nginx >/dev/null && command -v slowhttptest >/dev/null && command -v caddy >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light slowhttptest caddy >/dev/null; } || \
	  { echo "The proxy's tests need nginx, slowhttptest and caddy: install the packages 'nginx-light', 'slowhttptest' and 'caddy'." >&2; exit 1; }

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cfn-lint deploy/aws.yaml

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# `test` is what each change waits for; `test-all` has whole products that are killed, and each kind of build, too.
# Lighthouse is of 185 MB, and for slow tests only.
tests/lighthouse/node_modules/.installed: tests/lighthouse/package.json tests/lighthouse/package-lock.json
	npm ci --prefix tests/lighthouse --silent --no-fund --no-audit
	touch $@

test: install-dev browser peers
	$(BIN)/pytest -m "not slow" $(PYTEST_DISTRIBUTION)

test-all: install-dev browser peers tests/lighthouse/node_modules/.installed
	$(BIN)/pytest $(PYTEST_DISTRIBUTION)

# Every page of a running product, on a desk and on a phone, light and dark, into docs/screenshots/<width>-<theme>/.
screenshots: install-dev browser
	$(BIN)/python -m tests.screenshots

# Compile the locks anew: newest versions that pyproject.toml allows, with hashes and without any index's address.
lock: install-dev
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile -q --upgrade pyproject.toml --extra local --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.txt
	$(BIN)/uv pip compile -q --upgrade pyproject.toml --extra local --extra dev -c requirements.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements-dev.txt
	$(BIN)/uv pip compile -q --upgrade deploy/builder.in -c requirements.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o deploy/builder-requirements.txt

clean:
	rm -rf $(VENV) node_modules tests/lighthouse/node_modules autostack/static/vendor .mypy_cache .pytest_cache .ruff_cache
