# `make` lists the targets. Each of them makes .venv and installs what is missing first.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test faults mutations soak slow fuzz bench reproduce audit check format clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 10

install: $(INSTALLED)  ## make .venv and install raysq into it

demo: $(INSTALLED)  ## train MLE, critic and ERAC on the generated demo task into runs/demo
	$(BIN)/python workflows/erac.py --task demo --output-dir runs/demo

test: $(INSTALLED)  ## run the tests
	$(BIN)/python -m pytest -m "not slow and not faults and not benchmark" -n 2 --dist loadfile --no-loadscope-reorder

faults: $(INSTALLED)  ## kill, stop and starve real processes and see that nothing is lost
	$(BIN)/python -m pytest -m "faults and not slow" -n 2 --dist loadfile --no-loadscope-reorder

mutations: $(INSTALLED)  ## take every protection away in turn: its test must fail
	$(BIN)/python -m tests.integration.faults.mutations

soak: $(INSTALLED)  ## an hour of ERAC with a fault every minute, into runs/soak
	$(BIN)/python -m tests.integration.faults.soak --place runs/soak

slow: $(INSTALLED)  ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

fuzz: $(INSTALLED)  ## give every reader 10,000 bad inputs
	$(BIN)/python -m tests.fuzz.run

bench: $(INSTALLED)  ## time the kernels against their plain twins and the stored ratios
	$(BIN)/python -m pytest -m benchmark --benchmark-columns=median,iqr,rounds --benchmark-sort=name

reproduce: $(INSTALLED)  ## train the demo twice from nothing and compare digests; SHORT=1: a minute's version
	$(BIN)/python -m tests.integration.reproduce $(if $(SHORT),--short)

# pip-audit lives in an environment of its own, so that it adds nothing to what it looks at.
audit: $(INSTALLED)  ## look the installed packages up in PyPI's advisory database, which needs the network
	test -x build/audit/bin/pip-audit || { $(BIN)/python -m venv build/audit && \
		build/audit/bin/python -m pip install --quiet pip-audit; }
	build/audit/bin/pip-audit --progress-spinner off --path \
		"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || \
		{ echo "error: advisories as listed above; where the database did not answer, nothing was looked up" >&2; \
		exit 1; }

check: $(INSTALLED)  ## lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED)  ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove caches and build folders; .venv, data and runs stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find raysq workflows tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an installation that broke off is repeated.
$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.11 or newer; name one: make PYTHON=/path/to/python" >&2; exit 2; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
