# `make tables` (and figures, and the page) and `make test` build the environment when it is missing, and then run.
PYTHON ?= python3
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
ENV := .venv
BIN := $(ENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: tables watch test bench bench-gpu lint lock clean
# On a terminal, a display of progress takes the place of some lines for each job; all of them are in .snakemake/log.
tables: $(ENV)/installed
	snakemake $$(test -t 2 && echo --logger rich) --cores $(CORES) all
	@echo "Open results/laptop/report.html"

# What runs, waits, has failed or is done: of the experiment that was started last, or make watch OF=results/paper
watch: $(ENV)/installed
	@python -m sadpm.watch $(OF)

# Two processes, because one of them mostly waits for SLURM.
test: $(ENV)/installed
	pytest -n 2 --no-loadscope-reorder

# What is done here beside the usual ways to do it, and beside what the device can do: results/bench/bench.md
bench: $(ENV)/installed
	python benchmarks/bench.py

bench-gpu: $(ENV)/installed
	python benchmarks/bench.py --device cuda --seconds 10 --minutes 60 --output results/bench-gpu

lint: $(ENV)/installed
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check workflow Snakefile
	snakemake --lint

# After a change in pyproject.toml. What is locked keeps its version where it can; UPGRADE=--upgrade takes the newest.
lock: $(ENV)/installed
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header --no-annotate \
		$(UPGRADE) pyproject.toml --output-file requirements.lock
	{ sed '/- pip:/q' environment.yml; sed 's/^/      - /' requirements.lock; } > environment.new
	mv environment.new environment.yml

# uv, and compiled bytecode: the jobs of the workflow start three times as fast as with pip's defaults.
$(ENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

clean:
	rm -rf results/laptop .snakemake
