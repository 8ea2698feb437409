# One front door. Everything below works on a fresh Debian or Ubuntu machine with python3, make and root (or sudo).
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E)
INVENTORY ?= inventory
export PYTHONDONTWRITEBYTECODE = 1
export PYTHONUNBUFFERED = 1
BIN := .venv/bin

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

packages:
	@$(SUDO) $(PYTHON) -m lab.prerequisites packages

venv:  ## make .venv from requirements.lock; all that a controller needs
	@$(PYTHON) -m lab.prerequisites environment

demo: packages venv  ## two real hosts on this machine, deployed, verified, asked a question; again: converges
	@$(SUDO) $(BIN)/python -m lab.demo up

demo-down:  ## remove the demo's hosts, network and mirrors; the cache stays
	@$(SUDO) $(PYTHON) -m lab.demo down

pictures: demo  ## the README's pictures, made from the lab; ten minutes, needs quiet (PICTURES="verify-report")
	@$(SUDO) $(PYTHON) -m lab.prerequisites pictures
	@$(SUDO) $(BIN)/python -m lab.pictures $(PICTURES)

test: packages venv check  ## every test but those of test-long and test-faults; those that boot hosts are skipped, with a reason, where the machine cannot
	@$(SUDO) $(BIN)/python -m tests

test-long: packages venv  ## the tests that take minutes each: driver, Docker, bundle, soak, lab, reports of verify; writes docs/long-tests.md
	@$(SUDO) $(BIN)/python -m tests.long

test-quick: venv check  ## every test that boots no host and starts no vLLM
	@$(BIN)/python -m pytest -m "not lab and not engines"

check: venv  ## format, lint, types
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary audit.py deploy.py drift.py preflight.py rollback.py config.py bundle roles lab tests bench files/adapter/src

SOAK ?= --minutes 30 --adapter-restart
soak: demo  ## half an hour of load on the demo's host, with restarts; every request accounted for (SOAK="--minutes 3")
	@$(SUDO) $(BIN)/python -m tests.soak --host demo-phase2 $(SOAK)

test-faults: packages venv  ## break real hosts in every way we know, and write docs/faults.md; an hour (FAULTS="-k disk")
	@$(SUDO) $(BIN)/python -m pytest -v tests/faults $(FAULTS)

outage: packages venv  ## what clients see of each kind of change, on a lab host; a quarter of an hour, into docs/outage.md (OUTAGE="--only to-1")
	@$(SUDO) env LLM_LAB_TEST_SUFFIX=outage $(BIN)/python -m tests.outage $(OUTAGE)

docs: venv  ## make docs/settings.md from the code
	@$(BIN)/python -m roles.settings_page > docs/settings.md

verify: venv  ## the sentences in tests/verify against every host of INVENTORY=…; reports in reports/verify (VERIFY="--quick")
	@$(BIN)/python -m tests.verify --inventory $(INVENTORY) $(VERIFY)

bench:  ## measure the adapter beside other proxies on this machine; a quarter of an hour, needs quiet (BENCH="--quick")
	@$(PYTHON) -m bench $(BENCH)

bench-host: venv  ## what HOST=… gives its clients: first text, tokens and requests a second, beside the guide's claims (BENCH_HOST="--help")
	@$(BIN)/python -m bench.host $(if $(HOST),--host $(HOST)) $(BENCH_HOST)

fuzz: venv  ## ten minutes of bad clients, bad upstreams and bad JSON for the adapter (FUZZ="--minutes 1 --target sse")
	@$(BIN)/python -m tests.fuzz $(FUZZ)

.PHONY: bench bench-host docs help packages venv demo demo-down pictures test test-long test-quick test-faults check verify soak outage fuzz
