# Everything works in a virtual environment in .venv, from the pinned versions in requirements*.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests start hundreds of processes: none of them compiles what another has compiled, whatever is set outside.
export PYTHONDONTWRITEBYTECODE :=
RANDOM_TEXT = head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n'

.PHONY: help setup dev up demo demo-exchange generate picture check test prove engines simulate mutants bench secrets lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.installed ## install tenure and tenure-reader into .venv

$(VENV)/.installed: requirements.lock pyproject.toml reader/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Tenure needs Python 3.11 or later; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable ./reader --editable .
	@touch $@

dev: $(VENV)/.dev

$(VENV)/.dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

up: setup ## run everything on this machine until Ctrl-C
	$(BIN)/tenure up

demo: setup ## run the whole story on an embedded Valkey
	$(BIN)/tenure demo

demo-exchange: dev ## the whole circle: token, key, package index, upload client
	$(BIN)/python -m examples.circle

generate: setup ## write what documents, schemas and the list of users say, from their tables
	$(BIN)/python docs/generate.py

picture: dev ## take the README's picture of the console anew, in a browser test
	$(BIN)/pytest -q tests/console/test_browser.py -k every_page
	cp .artifacts/screenshots/policy-light.png docs/images/policy.png

check: dev ## ruff, mypy, import-linter, generated documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

# What takes long, or measures latencies, which mean nothing beside other tests.
PROOFS := tests/resilience tests/console/test_browser.py tests/console/test_search.py tests/deploy/test_alerts.py \
	tests/exchange/test_circle.py tests/reader/test_engines.py tests/reader/test_failover.py tests/reader/test_package.py \
	tests/reader/test_upheaval.py tests/store/test_moves.py tests/store/test_node_epochs.py tests/store/test_order.py \
	tests/store/test_partitioning.py tests/store/test_slots.py tests/store/test_topology.py tests/store/test_upgrade.py \
	tests/simulation/test_variants.py tests/verify/test_truth.py

test: dev ## the suite, without what takes minutes
	$(BIN)/pytest -n 3 $(PROOFS:%=--ignore=%)

prove: dev ## what takes minutes, one after another: killed processes, attacks, floods, a browser
	$(BIN)/pytest $(PROOFS)

# What uses a store, without how a command starts. Behind Sentinels it is one server again: what differs there is who is asked, and what is waited for.
ON_ENGINES := tests/store tests/dead_letters tests/handlers tests/web tests/cli tests/console tests/verify tests/reader
BEHIND_SENTINELS := tests/store tests/web tests/reader

engines: dev ## the tests that use a store, on a cluster and behind Sentinels
	$(BIN)/pytest -n 3 --engine cluster $(ON_ENGINES) $(PROOFS:%=--ignore=%) --ignore=tests/cli/test_frame.py
	$(BIN)/pytest -n 3 --engine sentinels $(BEHIND_SENTINELS) $(PROOFS:%=--ignore=%)

SEEDS ?= 1000
FROM ?= 0

simulate: dev ## the product in a simulated world: SEEDS=how many, FROM=the first; COVERAGE=1: what they reach
	$(BIN)/python -m tests.simulation $(SEEDS) $(FROM) $(if $(COVERAGE),--coverage)

mutants: dev ## break the pure core in every small way, and count what its tests notice: JOBS=processes PARTS=lifecycle
	JOBS=$(JOBS) $(BIN)/python -m tests.mutants $(PARTS)

bench: setup ## measure, beside other task queues
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(BIN)/python -m bench

secrets: ## make the secrets that compose.yaml reads, where they are missing, and the users of the store from them
	@mkdir -p secrets && chmod 700 secrets
	@for user in web worker scheduler operator exchange; do test -e secrets/redis-url-$$user || { umask 022; \
		echo "redis://$$user:$$($(RANDOM_TEXT))@valkey:6379/0" >secrets/redis-url-$$user; }; done
	@test -e secrets/health-password || { umask 022; echo "$$($(RANDOM_TEXT))" >secrets/health-password; }
	@umask 022; cp deploy/acl/users.acl secrets/users.acl.part; chmod u+w secrets/users.acl.part; \
		for user in web worker scheduler operator exchange health; do \
		case $$user in health) password=$$(cat secrets/health-password);; \
			*) password=$$(sed 's,^redis://[^:]*:\(.*\)@[^@]*$$,\1,' secrets/redis-url-$$user);; esac; \
		digest=$$(printf %s "$$password" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -d' ' -f1); \
		sed "s,#SHA256-OF-$$user ,#$$digest ," secrets/users.acl.part >secrets/users.acl.new; mv secrets/users.acl.new secrets/users.acl.part; \
		done; \
		test ! -e secrets/users-own.acl || cat secrets/users-own.acl >>secrets/users.acl.part; \
		mv secrets/users.acl.part secrets/users.acl
	@for name in github-private-key issuers; do test -e secrets/$$name || (umask 022; : >secrets/$$name); done
	@for name in webhook-secrets registry-tokens exchange-tokens operator-tokens reader-tokens grafana-password; do \
		test -e secrets/$$name || { umask 022; echo "$$($(RANDOM_TEXT))" >secrets/$$name; }; done

lock: ## pin all versions anew (needs uv)
	uv pip compile --quiet --no-emit-package tenure-reader --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file requirements.lock pyproject.toml requirements-build.in
	uv pip compile --quiet --no-emit-package tenure-reader --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --constraint requirements.lock --group dev --output-file requirements-dev.lock
	uv pip compile --quiet --no-emit-package tenure-reader --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --constraint requirements.lock --group bench --output-file requirements-bench.lock

clean:
	rm -rf $(VENV) .tenure .mypy_cache .ruff_cache .pytest_cache .hypothesis
