# Everything a developer does, on a machine with git, make and Python 3.11 or later with venv.
#
# The first target that needs it creates .venv and installs exactly what the lock files in requirements/
# list, by hash. This is done once, and again when a lock file changes.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
# A path, not an activated environment, so that other installed packages have no effect.
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --no-input
# To choose an interpreter: make PYTHON=/opt/python3.12/bin/python3 test
PYTHON ?=
ARGS ?=
# Processes that run tests. Tests wait for half of their time, so there are more processes than the two cores of a small
# machine.
PROCESSES ?= 6
# Tests start hundreds of processes; without bytecode on disk each would compile the program again.
unexport PYTHONDONTWRITEBYTECODE
CHECKED := src tests demo bench client/generate.py client/generate_sync.py deploy/release.py docs/site

.PHONY: help
help: ## Show this list
	@echo 'FlowRunner: make TARGET'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(VENV)/.runtime ## Start a server, run a flow on it, and kill it in the middle of another
	@$(RUN) -m demo $(ARGS)

.PHONY: serve
serve: $(VENV)/.runtime ## Start the server; ARGS='--port 9000 --data-dir data' are its options
	@exec $(RUN) -m flowrunner serve $(ARGS)

.PHONY: test
test: $(VENV)/.dev ## Run the tests; ARGS='tests/domain -k retry' goes to pytest
	@$(RUN) -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

# Asserts are allowed; supposed passwords are checked by ruff, with an exception for each place.
ALLOWED_BY_BANDIT := B101,B105,B106

.PHONY: lint
lint: $(VENV)/.dev ## Check format, style, types, imports, and common vulnerabilities
	$(RUN) -m ruff format --check $(CHECKED)
	$(RUN) -m ruff check $(CHECKED)
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/bandit --quiet --recursive --skip $(ALLOWED_BY_BANDIT) src demo
	@[ $$(awk '/^## /{part++} part==1' CHANGELOG.md | wc -l) -le 200 ] || { echo 'The newest part of CHANGELOG.md has more than 200 lines: did a merge bring old ones back?'; exit 1; }

.PHONY: check
check: lint test ## Lint and test: required before a review

.PHONY: security
security: $(VENV)/.dev ## Run every attack in the tests, and print the numbers
	@ANONYMOUS_CALLS=$${ANONYMOUS_CALLS:-100000} AUDIT_KILLS=$${AUDIT_KILLS:-200} $(RUN) -m pytest --scoreboard --continue-on-collection-errors $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Fuzz the API in every role; FUZZ_CASES=100000, a quarter of an hour
	@PYTHONPATH=tests $(RUN) -m security.fuzz

# The Node.js of the development dependencies, whatever the machine has.
NODE := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
UI_INSTALLED := ui/node_modules/.installed

.PHONY: client
client: $(VENV)/.dev ## Write the models and the synchronous half of the Python client; `make ui` does it too
	@$(RUN) ui/openapi.py | $(RUN) client/generate.py
	@$(RUN) client/generate_sync.py

.PHONY: ui
ui: client $(UI_INSTALLED) ## Build the web interface from ui/ into src/flowrunner/web
	@$(RUN) ui/openapi.py | (cd ui && $(NODE) node_modules/.bin/openapi-typescript --default-non-nullable=false --output src/api/schema.ts >/dev/null)
	@cd ui && $(NODE) node_modules/typescript-7/bin/tsc && $(NODE) node_modules/.bin/vite build --logLevel warn

.PHONY: ui-dev
ui-dev: $(UI_INSTALLED) ## Serve ui/ on http://127.0.0.1:5173 as it is edited, for a server on port 8080
	@cd ui && $(NODE) node_modules/.bin/vite

.PHONY: screenshots
screenshots: $(VENV)/.dev ## Take a picture of each screen into docs/images; ARGS='overview timeline'
	@PYTHONPATH=tests $(RUN) -m web.screenshots $(ARGS)

.PHONY: bench-ui
bench-ui: $(VENV)/.dev ## Measure the interface in Chromium against its budgets; ARGS='--rounds 5'
	@PYTHONPATH=tests $(RUN) -m web.bench $(ARGS)

$(UI_INSTALLED): ui/package-lock.json | $(VENV)/.dev
	@cd ui && $(NODE) npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@cp ui/package-lock.json $@

.PHONY: cli-reference
cli-reference: $(VENV)/.dev ## Write docs/cli-reference.md from the help of the commands
	@PYTHONPATH=tests $(RUN) -m docs.cli_reference

.PHONY: site
site: $(VENV)/.dev ## Build the documentation as a site, into build/site
	@$(RUN) docs/site

.PHONY: upgrade-fixture
upgrade-fixture: $(VENV)/.dev ## Record the stored installation of tests/upgrades again; only before the first release
	@PYTHONPATH=tests $(RUN) -m upgrades

.PHONY: sbom
sbom: $(VENV)/.release ## Write the components of the runtime, as CycloneDX, into build/sbom.json
	@mkdir -p build
	@$(RUN) -W ignore -m cyclonedx_py requirements --output-reproducible --pyproject pyproject.toml \
	    --output-file build/sbom.json requirements/runtime.txt
	@echo build/sbom.json

.PHONY: release
release: $(VENV)/.release ## Build the last commit twice, compare, and write archives, SBOM and checksums into dist/
	@$(RUN) deploy/release.py

.PHONY: format
format: $(VENV)/.dev ## Format all files
	$(RUN) -m ruff format $(CHECKED)
	$(RUN) -m ruff check --fix $(CHECKED)

.PHONY: bench
bench: $(VENV)/.dev ## Measure the speed on this machine; ARGS=--quick takes six minutes
	@$(RUN) -m bench $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.dev ## Inject faults under load for CHAOS_SECONDS=300 on each database; CHAOS_SEED
	@PYTHONPATH=tests $(RUN) -m chaos

.PHONY: jobs
jobs: $(VENV)/.dev ## Re-run JOB_EXECUTIONS=5000 failed executions in a job whose processes are killed, on each database
	@JOB_EXECUTIONS=$${JOB_EXECUTIONS:-5000} $(RUN) -m pytest tests/scenarios/test_jobs.py $(ARGS)

.PHONY: deliveries
deliveries: $(VENV)/.dev ## Kill the server while it takes DELIVERIES=1000 requests of webhooks and sends as many messages
	@DELIVERIES=$${DELIVERIES:-1000} $(RUN) -m pytest tests/scenarios/test_killed_deliveries.py --timeout 1800 $(ARGS)

.PHONY: schedules
schedules: $(VENV)/.dev ## Kill processes SCHEDULE_KILLS=40 times while schedules start executions, on each database
	@SCHEDULE_KILLS=$${SCHEDULE_KILLS:-40} $(RUN) -m pytest tests/scenarios/test_schedules.py $(ARGS)

.PHONY: overload
overload: $(VENV)/.dev ## Send a server five times the starts that it can do: its answers, what it completes, what is lost
	@$(RUN) -m bench.overload $(ARGS)

.PHONY: peers
peers: $(VENV)/.dev ## Measure FlowRunner beside others, which are installed outside of this tree: see bench/peers/README.md
	@$(RUN) -m bench.peers $(ARGS)

.PHONY: retention
retention: $(VENV)/.dev ## Start RETENTION_EXECUTIONS=100000 while retention deletes: sizes, memory, delays of starts
	@$(RUN) -m bench.retention --executions $${RETENTION_EXECUTIONS:-100000} $(ARGS)

.PHONY: mutants
mutants: $(VENV)/.dev ## Plant bugs that lose or repeat work, and report which are caught; takes long
	@PYTHONPATH=tests $(RUN) -m mutants $(ARGS)

.PHONY: conformance
conformance: $(VENV)/.dev ## Run every rule and every crash on SQLite, PostgreSQL and Temporal, not a part as in test
	@CONFORMANCE=1 $(RUN) -m pytest --numprocesses 2 --dist loadfile --timeout 1200 tests/language \
	    tests/domain tests/nodes/test_any_parameters.py \
	    tests/engine/test_crashes.py tests/engine/test_crashes_on_postgresql.py \
	    tests/engine/test_crashes_on_temporal.py \
	    tests/storage/test_migrations.py tests/storage/test_postgres_migrations.py $(ARGS)

# One lock for every platform and Python version, without the name of the index.
COMPILE = $(RUN) -m uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header $(ARGS)

.PHONY: lock
lock: $(RUN) ## Lock the dependencies again; ARGS=--upgrade takes newer versions
	$(PIP) install --quiet uv
	$(COMPILE) requirements/dev.in --output-file requirements/dev.txt
	$(COMPILE) requirements/build.in --constraint requirements/dev.txt --output-file requirements/runtime.txt
	$(COMPILE) requirements/release.in --constraint requirements/dev.txt --output-file requirements/release.txt
	$(COMPILE) requirements/mcp.in --constraint requirements/dev.txt --output-file requirements/mcp.txt
	$(COMPILE) requirements/temporal.in --constraint requirements/dev.txt --output-file requirements/temporal.txt
	$(COMPILE) requirements/otel.in --constraint requirements/dev.txt --output-file requirements/otel.txt

.PHONY: clean
clean: ## Delete the environment and the caches of tools
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis tests/editors/node_modules tests/generated_clients/node_modules tests/openid_provider/node_modules ui/node_modules
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +

# Installation

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(RUN)
	@echo 'Installing what FlowRunner needs into $(VENV), once: it takes about a minute' >&2
	@$(PIP) install --quiet --require-hashes --requirement requirements/runtime.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.release: requirements/release.txt | $(RUN)
	@echo 'Installing what builds a release into $(VENV), once' >&2
	@$(PIP) install --quiet --require-hashes --requirement requirements/release.txt
	@touch $@

# A process of pip uses one core, and most of its time unpacks. The lock has all dependencies, so each of two processes
# can install half of them without looking for more.
INSTALL_PART = $(PIP) install --quiet --require-hashes --no-deps --requirement $(VENV)/part

# It contains the dependencies of the runtime and of releases, in the same versions.
$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(RUN)
	@echo 'Installing what the tests need into $(VENV), once: it takes a minute or two' >&2
	@for part in 0 1; do awk -v part=$$part '/^[^ #]/ {n++} n && n % 2 == part' requirements/dev.txt >$(VENV)/part-$$part.txt; done
	@$(INSTALL_PART)-0.txt & first=$$!; $(INSTALL_PART)-1.txt; second=$$?; wait $$first && [ $$second -eq 0 ]
	@rm $(VENV)/part-0.txt $(VENV)/part-1.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.runtime $(VENV)/.release $@

# Some commands of these names exist and do not work, so each is tried. Debian has no ensurepip until
# python3-venv is installed.
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

$(RUN):
	@for python in '$(PYTHON)' python3.13 python3.12 python3.11 python3; do \
	    if [ -n "$$python" ] && "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then \
	        "$$python" -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }; \
	        exit 0; \
	    elif [ -n '$(PYTHON)' ]; then \
	        echo "$$python is not Python 3.11 or later with the modules venv and ensurepip" >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo 'FlowRunner needs Python 3.11 or later with the modules venv and ensurepip.' >&2; \
	echo 'On Debian and Ubuntu: apt install python3-venv. Or name one: make PYTHON=/path/to/python3' >&2; \
	exit 1
