# Every command, each one line into a script or module. deploy/local/python.sh makes .venv first where needed.

run := @deploy/local/python.sh
dist := -n auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo up down status logs check docs test test-data test-slow test-strangers test-checkpoints \
        strangers faults soak bench bench-quick bench-against bench-recommend bench-transcribe bench-caption bench-generate clean

help:       ## this list
	@awk -F ':  *## ' '/^[a-z-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' Makefile

demo:       ## install, start the stack, run one job of each kind and show how to do it by hand
	$(run) base -m deploy.local demo

up:         ## start the stack (Redis, S3, API, both pools, keeper) and write .backlot/env
	$(run) base,torch -m deploy.local up

down:       ## stop the stack; jobs and files stay in .backlot
	$(run) base -m deploy.local down

status:     ## what runs, and where it listens
	$(run) base -m deploy.local status

logs:       ## follow all logs
	$(run) base -m deploy.local logs

check:      ## lint, format and types: ruff and mypy
	$(run) base,torch,dev -m ruff check .
	$(run) base,torch,dev -m ruff format --check .
	$(run) base,torch,dev -m mypy

docs:       ## write the generated parts of docs/ (settings, error codes, models)
	$(run) base -m deploy.docs

test:       ## the core: all tests that no further suite has
	$(run) base,torch,dev -m pytest -m "not data and not slow and not strangers and not checkpoints" $(dist)

test-data:  ## the tests that need the data sets in BACKLOT_DATA, but the slow ones; skipped where there are none
	$(run) base,torch,dev -m pytest -m "data and not slow" $(dist)

test-slow:  ## the tests that take longer than a minute
	$(run) base,torch,dev -m pytest -m "slow" $(dist)

test-strangers:    ## the tests of hostile and clumsy tenants (tests/strangers)
	$(run) base,torch,dev -m pytest -m "strangers and not data and not slow" $(dist)

test-checkpoints:  ## the tests that load tiny random checkpoints of the hub's form
	$(run) base,torch,dev -m pytest -m "checkpoints and not data and not slow and not strangers" $(dist)

strangers:  ## hostile and clumsy tenants beside an honest one, and what that one sees (tests/strangers/RESULTS.md)
	$(run) base,torch,dev -m pytest tests/strangers --table tests/strangers/RESULTS.md

faults:     ## kill, stop and cut what Backlot runs on, and account for every job (docs/faults.md); about half an hour
	$(run) base,torch,dev -m tests.faults

soak:       ## the random soak alone: make soak SEED=7 JOBS=10000 FAULTS=500
	$(run) base,torch,dev -m tests.faults soak $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS)) \
	    $(if $(FAULTS),--faults $(FAULTS)) --out .backlot/SOAK.md

bench:      ## measure the service on this machine
	$(run) base,torch,dev -m tests.bench

bench-quick:       ## run all of the bench with small numbers: it proves that the bench runs, and judges nothing
	$(run) base,torch,dev -m tests.bench --quick

bench-against:     ## compare the work tree with a revision, in three minutes: make bench-against REV=main
	$(run) base,torch,dev -m tests.bench.against $(REV)

bench-recommend:   ## measure recommend's models on MovieLens-100K (BACKLOT_DATA)
	$(run) base,torch,dev -m tests.bench.recommend

bench-transcribe:  ## measure transcribe's models on AN4, LibriSpeech and spoken digits (BACKLOT_DATA)
	$(run) base,torch,dev -m tests.bench.transcribe

bench-caption:     ## measure caption's models on scenes, and their recipes on UCM-Captions (BACKLOT_DATA)
	$(run) base,torch,dev -m tests.bench.caption

bench-generate:    ## measure generate's models on prose, and their recipes on tiny Shakespeare (BACKLOT_DATA)
	$(run) base,torch,dev -m tests.bench.generate

clean:      ## stop the stack and delete .venv, all its jobs and files (.backlot), and caches
	@deploy/local/clean.sh
