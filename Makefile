# `make quickstart` and `make test` each do all the set-up they need and then the work.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help quickstart test check browser bench constraints clean

help:
	@echo "make quickstart   install, then train, compress, audit and gate a small model"
	@echo "make test         install with what tests need, then run them"
	@echo "make check        format, lint, types, import fences, tests, doctests, wheel"
	@echo "make bench        measure speed and memory side by side; prints JSON"
	@echo "make clean        remove the virtual environment and .assay"

$(VENV)/.run: pyproject.toml infra/constraints.txt infra/install
	$(PYTHON) -m venv $(VENV)
	infra/install $(VENV)
	@touch $@

# llama.cpp is built from source, without its parts for images.
$(VENV)/.dev: $(VENV)/.run
	CMAKE_ARGS="-DLLAVA_BUILD=OFF $$CMAKE_ARGS" infra/install $(VENV) "[dev,gguf]"
	@touch $@

quickstart: $(VENV)/.run
	$(BIN)/assay run infra/runs/quickstart.yaml

test: $(VENV)/.dev browser
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(VENV)/.dev browser
	PATH="$(abspath $(BIN)):$$PATH" infra/check

browser:
	infra/browser

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench

constraints: $(VENV)/.dev
	$(PIP) freeze --exclude-editable | grep -v ' @ ' | sed 's/+cpu$$//' > infra/constraints.txt

clean:
	rm -rf $(VENV) .assay
