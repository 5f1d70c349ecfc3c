# `make demo` and `make test` do all set-up by themselves; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
export UV_LINK_MODE ?= hardlink

PLATFORM := .venvs/platform/bin
CATALOGUE ?=

.PHONY: help setup demo stop test bench lint locks clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

setup:  ## the three environments from their locks (seconds when nothing changed)
	@bash scripts/setup.sh

demo:  ## the main job: data, full graph, services, promoted release, recommendations (CATALOGUE=products.yaml)
	@begin=$$SECONDS
	bash scripts/setup.sh
	$(PLATFORM)/recsys demo --setup-seconds $$((SECONDS - begin)) $(if $(CATALOGUE),--catalogue "$(CATALOGUE)")

stop:  ## end every local service
	@if [ -x $(PLATFORM)/recsys ]; then $(PLATFORM)/recsys down; else echo "nothing is set up, nothing runs"; fi

test: setup  ## unit tests, definitions and walls, and one end-to-end test on the real parts
	@$(PLATFORM)/python -m pytest

bench: setup  ## data (SCALE=seed), training and the served release, each beside its comparison: tables, and JSON under RECSYS_HOME/bench
	@$(PLATFORM)/recsys bench data --scale "$(or $(SCALE),seed)"
	$(PLATFORM)/recsys bench training
	$(PLATFORM)/recsys bench serving

lint: setup  ## ruff
	@$(PLATFORM)/ruff check recsys_assets recsys_assets_tests feature_repo triton_repo

locks:  ## resolve requirements/*.in again, without any index address
	@bash scripts/lock.sh

clean: stop  ## stop, and delete everything generated
	rm -rf .recsys
