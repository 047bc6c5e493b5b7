# `make` shows what there is. Needs Python 3.11 or newer and make; Postgres comes with the lock file.
# On Debian and Ubuntu the standard library's venv is the package python3-venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := tests/acceptance/clients
# Two workers: each starts servers of its own, and a module's tests stay together on one of them.
WORKERS ?= 2
ARGS ?=
# Where this is set, each of the suite's thousand processes would compile all that it imports: 3 s of processor time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format types contracts package bench-quick bench-overhead bench-stream bench-tenants bench-failures bench-chaos bench-neighbour bench-arrivals bench-pgbouncer bench-overload bench-scrape bench-observe bench-moves bench-moves-rollback bench-moves-crashes bench-moves-cost bench-moves-estimate bench-incidents clients clients-everywhere compose-check watch-check watch-picture dashboards dashboards-check check api-check lock clean
.DELETE_ON_ERROR:

help: ## Show this list
	@echo "make TARGET [ARGS='more for the command']"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r target text; do printf '  %-20s %s\n' "$$target" "$$text"; done

# The environment is made anew when the lock file changes; the project is linked into it again when
# its own metadata change. Byte code is written when Python first needs it: that halves the time here.
$(VENV)/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tiergate needs Python 3.11 or newer; name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || { echo "Install your system's package python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) from requirements.lock (about half a minute)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

install: $(VENV)/.installed ## Make .venv from requirements.lock

demo: install ## Three Postgres clusters, tenants on three tiers and the gateway; Ctrl-C stops it all
	@exec $(BIN)/tiergate demo $(ARGS)

test: install ## The whole suite, on embedded Postgres (ARGS='-k name', WORKERS=0 for one process)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: install ## ruff: every rule, and the format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "Run: make format" >&2; exit 1; }

format: install ## Let ruff put the code in order
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

types: install ## mypy, strict
	@$(BIN)/mypy

contracts: install ## import-linter: who may import whom
	@$(BIN)/lint-imports

package: install ## Build wheel and source archive into dist/, and try the wheel in an empty environment
	@BIN=$(BIN) .ci/package

bench-quick: install ## Requests/s of a warm point read, beside the same service by hand (about a minute)
	@$(BIN)/python -m bench.quick $(ARGS)

bench-overhead: install ## Processor time of the database server that isolation costs (about a minute)
	@$(BIN)/python -m bench.overhead $(ARGS)

bench-stream: install ## A million rows streamed: memory, pace, and a reader that stops (about a minute)
	@$(BIN)/python -m bench.stream $(ARGS)

bench-tenants: install ## 10,520 tenants on 40 server connections, beside ten tenants (five minutes; ARGS=--quick)
	@$(BIN)/python -m bench.tenants $(ARGS)

bench-failures: install ## Databases and the registry killed, stalled, restarted under load (about three minutes)
	@$(BIN)/python -m bench.failures $(ARGS)

bench-overload: install ## Twice and five times what a gateway can do: answers, refusals, health (half a minute)
	@$(BIN)/python -m bench.overload $(ARGS)

bench-chaos: install ## Mixed chaos under load, and what it leaves behind (two minutes; ARGS='--minutes 60')
	@$(BIN)/python -m bench.chaos $(ARGS)

bench-neighbour: install ## What a quiet tenant notices of a noisy one, and would if served by arrival (three minutes)
	@$(BIN)/python -m bench.neighbour $(ARGS)

bench-arrivals: install ## 2,000 callers within a second, and no connection open (a minute)
	@$(BIN)/python -m bench.arrivals $(ARGS)

bench-pgbouncer: install ## Throughput through PgBouncer, beside directly (a minute; needs pgbouncer)
	@$(BIN)/python -m bench.pgbouncer $(ARGS)

bench-scrape: install ## What a scrape costs with 10, 1,000 and 10,000 tenants (a minute)
	@$(BIN)/python -m bench.scrape $(ARGS)

bench-observe: install ## What it costs a request that it is told of (half a minute)
	@$(BIN)/python -m bench.observe $(ARGS)

bench-moves: install ## A tenant that moves in every direction while it writes (three minutes; ARGS='--moves 200')
	@$(BIN)/python -m bench.moves $(ARGS)

bench-moves-rollback: install ## A tenant that goes back after a minute of writes (two minutes; ARGS='--minutes 60')
	@$(BIN)/python -m bench.moves_rollback $(ARGS)

bench-moves-crashes: install ## Everything killed, stopped and cut off at every step of a move (twenty minutes)
	@$(BIN)/python -m bench.moves_crashes $(ARGS)

bench-moves-cost: install ## What others notice of a large tenant's move, beside one by hand (two minutes)
	@$(BIN)/python -m bench.moves_cost $(ARGS)

bench-moves-estimate: install ## What a dry run says of a move, beside what the move is (two minutes)
	@$(BIN)/python -m bench.moves_estimate $(ARGS)

bench-incidents: install ## Which alert fires for which incident, after how long (a quarter of an hour; needs prometheus)
	@$(BIN)/python -m bench.incidents $(ARGS)

# Exactly what the lock file says; the scripts of packages are not run. Then Prisma writes its client.
clients: $(CLIENTS)/node_modules/.installed ## Install the client libraries for the acceptance tests (needs Node 20)

$(CLIENTS)/node_modules/.installed: $(CLIENTS)/package-lock.json $(CLIENTS)/schema.prisma
	cd $(CLIENTS) && npm ci --ignore-scripts --no-audit --no-fund && npm run --silent generate
	@touch $@

clients-everywhere: clients ## The client suites directly, and through PgBouncer with and without prepared statements
	@for through in "" pgbouncer pgbouncer-unprepared; do \
		echo "Through: $${through:-nothing}" && \
		env $${through:+TIERGATE_TEST_THROUGH=$$through} $(BIN)/python -m pytest -q \
			tests/acceptance/test_clients.py tests/acceptance/test_python_clients.py $(ARGS) || exit 1; \
	done

compose-check: install ## Validate docker-compose.yml and the Dockerfiles, without Docker
	@$(BIN)/docker-compose --file docker-compose.yml config --quiet
	@$(BIN)/hadolint deploy/Dockerfile deploy/pgbouncer/Dockerfile
	@echo "docker-compose.yml and the Dockerfiles are valid"

watch-check: ## Check rules and alerts, and run their cases (needs promtool, which comes with Prometheus)
	@command -v promtool >/dev/null || { echo "Skipped: there is no promtool here (apt-get install prometheus)"; exit 0; }; \
		cd deploy/prometheus && promtool check config prometheus.yml && promtool test rules tests/*.yml

watch-picture: install ## A picture of Prometheus's graph page with a demo's tiers (two minutes; needs prometheus, chromium)
	@$(BIN)/python -m bench.picture $(ARGS)

dashboards: install ## Write Grafana's dashboards from deploy/grafana/questions.yml
	@$(BIN)/python deploy/grafana/dashboards.py

# The schema is Grafana's own. JSON is read as a literal, so that TypeScript finds what does not belong there.
dashboards-check: ## Hold the dashboards against Grafana's schema (needs Node 20)
	@cd deploy/grafana && npm ci --silent --ignore-scripts --no-audit --no-fund && mkdir -p node_modules/.typed && \
		for file in dashboards/*.json; do \
			{ printf 'import type { Dashboard } from "@grafana/schema";\nexport const dashboard: Dashboard = '; cat $$file; } \
				>node_modules/.typed/$$(basename $$file .json).ts; \
		done && node_modules/.bin/tsc --noEmit --strict --skipLibCheck --module nodenext --target es2022 \
			node_modules/.typed/*.ts && echo "The dashboards are as Grafana's schema wants them"

check: lint types contracts compose-check watch-check ## All checks that run no tests

api-check: ## Schemathesis against a running gateway (ST=path/to/st, TIERGATE_ADMIN_URL, TIERGATE_ADMIN_KEY; a demo's, since it acts)
	@$(ST) --config-file tests/schemathesis.toml run "$$TIERGATE_ADMIN_URL/openapi.json" \
		--header "Authorization: Bearer $$TIERGATE_ADMIN_KEY" --continue-on-failure $(ARGS)
ST ?= st

lock: ## Resolve the dependencies anew (needs uv: make lock UV=path/to/uv)
	$(UV) lock
	$(UV) export -q --all-extras --no-header --no-emit-index-url --no-emit-project -o requirements.lock
	$(UV) export -q --no-dev --extra otel --no-header --no-emit-index-url --no-emit-project -o deploy/requirements.lock
UV ?= uv

clean: ## Remove what make has made: .venv, dist/, caches, client libraries (the demo's data stay)
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf $(CLIENTS)/node_modules $(CLIENTS)/generated
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
