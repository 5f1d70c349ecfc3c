# `make demo` and `make test` do all set-up by themselves; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
export UV_LINK_MODE ?= hardlink

PLATFORM := .venvs/platform/bin
CODE := recsys_assets recsys_assets_tests feature_repo triton_repo scripts tools
DOCTESTED := recsys_assets/lib recsys_assets/serving tools $(wildcard recsys_assets/*.py)
CATALOGUE ?=
# of tools/cluster, which needs no set-up
CLUSTER := $(or $(wildcard $(PLATFORM)/python),python3) -m tools.cluster
NAME ?= recsys

# text files are UTF-8, whatever the machine's language
export PYTHONUTF8 := 1
# without cached bytecode each of the many processes compiles its libraries again: 20 s of 25 when tests are collected
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(PLATFORM)/python -m pytest -n 2

.PHONY: help setup peers demo demo-ads stop static check test test-clock cluster cluster-down cluster-test bench lint map locks clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

setup:  ## the three environments from their locks (seconds when nothing changed); TORCH=cpu: the small build of torch
	@bash scripts/setup.sh

peers:  ## the environment of the peers, other recommenders that `recsys bench peers` compares with
	@bash scripts/setup.sh peers

demo:  ## the main job: data, full graph, services, promoted release, recommendations (CATALOGUE=products.yaml)
	@begin=$$SECONDS
	bash scripts/setup.sh
	$(PLATFORM)/recsys demo --setup-seconds $$((SECONDS - begin)) $(if $(CATALOGUE),--catalogue "$(CATALOGUE)")

demo-ads:  ## the ads ranker: train, serve, traffic that drifts, detection, retrain, promotion; in five minutes
	@bash scripts/setup.sh
	$(PLATFORM)/recsys demo-ads

stop:  ## end every local service
	@if [ -x $(PLATFORM)/recsys ]; then $(PLATFORM)/recsys down; else echo "nothing is set up, nothing runs"; fi

static: lint  ## lint, types and doctests
	@$(PLATFORM)/mypy --no-error-summary & types=$$!
	$(PLATFORM)/python -m pytest -q -p no:xdist --doctest-modules $(DOCTESTED)
	wait $$types

check: static  ## before each commit, two minutes: lint, types, doctests and every test that starts no server and trains nothing
	@$(PYTEST) -q -m "not services and not training and not e2e and not slow"
	echo "check: all well"

test: setup  ## every test: units, definitions and walls, real servers and trainings, and one walk from end to end
	@$(PYTEST)

test-clock: setup  ## the tests that know time, at other dates, in other zones and languages (needs a C compiler)
	@$(PLATFORM)/python -m recsys_assets_tests.clock.run

cluster:  ## a Kubernetes of two nodes on this machine, as root, without a container engine (NAME=recsys)
	@$(CLUSTER) up --name "$(NAME)"

cluster-down:  ## end the cluster and remove everything of it (NAME=recsys)
	@$(CLUSTER) down --name "$(NAME)"

cluster-test: setup  ## the charts with the project's own images on a cluster, as root: a line per scenario (WALK=file: one)
	@$(PLATFORM)/python -m pytest -q -p no:xdist $(or $(WALK),recsys_assets_tests/cluster)

bench: setup  ## data (SCALE=seed), training and the served release, each beside its comparison: tables, and JSON under RECSYS_HOME/bench
	@$(PLATFORM)/recsys bench data --scale "$(or $(SCALE),seed)"
	$(PLATFORM)/recsys bench training
	$(PLATFORM)/recsys bench serving

lint: setup  ## ruff: format and rules
	@$(PLATFORM)/ruff format --check -q $(CODE)
	$(PLATFORM)/ruff check -q $(CODE)

map: setup  ## the folders and their imports, floor by floor; AT=ref: of a commit; WRITE=docs/architecture.md: into the document
	@$(PLATFORM)/python scripts/map.py $(if $(AT),--at "$(AT)") $(if $(WRITE),--write "$(WRITE)")

locks:  ## resolve requirements/*.in again, without any index address
	@bash scripts/lock.sh

clean: stop  ## stop, and delete everything generated
	rm -rf .recsys
