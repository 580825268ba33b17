# `make demo` and `make test` set up .venv by themselves; nothing else is needed first.
SHELL := /bin/bash
.DEFAULT_GOAL := help

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Idle OpenMP threads that spin slow down every other job on the machine several times.
export GOMP_SPINCOUNT := 0
export OMP_NUM_THREADS := 1
export HF_HUB_OFFLINE ?= 1
export WANDB_SILENT := true

.PHONY: help install demo test check lock clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

install:  ## Make .venv from the locked requirements
	@envs/bootstrap.sh

demo: install  ## Run the demo: real data, real models, tables, figures, claims, report
	snakemake --profile workflow/profiles/local
	snakemake --profile workflow/profiles/local --report results/report.html > logs/report.log 2>&1
	@echo; cat results/tables/demo_summary.md; echo; cat results/tables/demo_bayesian_lora_metrics.md; echo; bayesgrid claims
	@echo; echo "figures  results/figures/*.png"; echo "report   results/report.html"

test: install  ## Run all tests but those marked slow
	pytest -n 2 --dist loadfile -m "not slow"

check: install  ## Lint, types, import floors, formatting
	ruff check . && ruff format --check src tests benchmarks && mypy && lint-imports && snakefmt --check Snakefile workflow
	snakemake --lint

lock: install  ## Resolve envs/requirements.in again
	envs/lock.sh

clean:  ## Delete results, logs and workflow records, never the state of runs
	rm -rf results/runs results/tables results/figures results/notebooks results/partial results/claims.* results/report.html logs .snakemake
