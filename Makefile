# Fettle. `make` alone lists what there is. Stamps of finished steps lie in .state/; deleting that folder starts over.
SHELL := /bin/sh
BIN := .venv/bin
BOOTSTRAP := sh scripts/python.sh scripts/bootstrap.py

.DEFAULT_GOAL := help
.PHONY: help run install dev test check format bench search-defaults bench-tune bench-gpu bench-published bench-upload bench-versions trial-import bench-lab bench-web bench-jobs bench-queue bench-score bench-labels bench-ladder test-faults test-security docs lock

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Install what is missing, then run Fettle until Ctrl-C
	@$(BOOTSTRAP) run
	@exec $(BIN)/fettle up

install: ## Install what is missing and run nothing: for another machine's worker
	@$(BOOTSTRAP) run

dev: ## Like run, with the tools for development installed and web starting again on changes
	@$(BOOTSTRAP) dev
	@exec $(BIN)/fettle up --reload

test: ## Install what the tests need, then check everything and run all tests
	@$(BOOTSTRAP) test
	@$(BIN)/python scripts/verify.py lint format types contracts tests

check: ## The quick part: lint, format, types, import contracts, house rules
	@$(BOOTSTRAP) dev
	@$(BIN)/python scripts/verify.py lint format types contracts house

format: ## Format the code and put imports in order
	@$(BOOTSTRAP) dev
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

test-faults: ## Kill processes and cut connections, and look at what is left
	@$(BOOTSTRAP) dev
	@$(BIN)/python scripts/verify.py faults

test-security: ## The tests that hold closed doors closed
	@$(BOOTSTRAP) dev
	@$(BIN)/python scripts/verify.py security

bench: ## Side by side with peers; FETTLE_BENCH_DATA names the folder of data
	@$(BOOTSTRAP) dev
	@$(BIN)/python scripts/verify.py bench

bench-tune: ## Training speed against TRL and LLaMA-Factory on this processor
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.tune

bench-gpu: ## Training speed and FLOP utilisation on one GPU; says so where there is none
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.gpu

bench-published: ## Published results run again; FETTLE_PUBLISHED_MODELS names the folder of models
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.published

bench-upload: ## A million CSV rows through the import against a bare executemany, on SQLite and PostgreSQL
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.upload

trial-import: ## Every file of FETTLE_BENCH_RAW (or FOLDER=…) imported as a person would; prints what they would see
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m scripts.trial_import $(if $(FOLDER),--folder "$(FOLDER)")

bench-versions: ## The longest write while a version of 100,000 rows is changed and appended to on SQLite
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.versions

bench-lab: ## How fast the Lab answers, against bare model.generate calls
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.lab

bench-web: ## Pages, 200 open streams and metric points with 1,000 jobs and a million points
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.web

bench-jobs: ## One-step jobs through web, broker and worker: what the queue itself costs
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.jobs

bench-queue: ## Claims, heartbeats and reports a second that SQLite and PostgreSQL carry
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.queue

bench-score: ## Scoring and answering rows, against lm-evaluation-harness and padded generate
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.score

bench-labels: ## One zero-shot row with 900 labels, at the median and the 95th percentile
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.many_labels

bench-ladder: ## The whole ladder on four public tasks; tables and plots in docs/examples
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.ladder --tasks trec6 banking77 sms_spam sst2

docs: ## Write the reference pages of settings and methods anew
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m scripts.reference

lock: ## Choose versions anew and write both lock files
	@$(BOOTSTRAP) dev
	@sh scripts/lock.sh

search-defaults: ## Search the tuning methods' defaults anew (the wide grid: hours, wants a GPU)
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m bench.defaults --wide
