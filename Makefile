# Each habit is one command. Every target sets up what it needs in .venv; PYTHON chooses the interpreter (3.10 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test module-test lint bench clean help

help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Paint-to-brain in one go: a mask in, a synthetic T1w, its report and its picture in demo/
	$(BIN)/vcm generate --condition ventricles=VCMSlicer/Resources/DemoCase/ventricles.nii.gz \
	    --age 72 --sex F --seed 1 --uncontrolled --out demo
	@echo "Look at demo/montage.png; the volume is demo/sample-0.nii.gz."

test: $(VENV)/.development ## Run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

module-test: $(VENV)/.module ## Run the tests of the Slicer module, without Slicer (see Testing/README.md)
	OMP_NUM_THREADS=1 QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest --numprocesses auto Testing/module

lint: $(VENV)/.development ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.development ## Measure the engine beside the released way
	$(BIN)/vcm bench $(if $(shell command -v nvidia-smi),,--tiny)

clean: ## Remove the environment and what the commands left
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	$(PIP) --editable ".[train,test,reference,lint]"
	@touch $@

$(VENV)/.module: $(VENV)/.development
	$(PIP) --editable ".[slicer]"
	@touch $@
