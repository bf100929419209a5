# Each habit is one command. Every target sets up what it needs in .venv; PYTHON chooses the interpreter (3.10 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
MODULE_RUN := VCM_MODULE_TESTS=required OMP_NUM_THREADS=1 QT_QPA_PLATFORM=offscreen $(BIN)/python

.PHONY: demo test engine-test module-test module-test-slicer module-bench module-pictures lint bench train-default \
    train-meddiffusion train-micro kill-points release-tree fuzz clean help

help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Paint-to-brain in one go: a mask in, a synthetic T1w, its report and its picture in demo/
	$(BIN)/vcm generate --condition ventricles=VCMSlicer/Resources/DemoCase/ventricles.nii.gz \
	    --age 72 --sex F --seed 1 --uncontrolled --out demo
	@echo "Look at demo/montage.png; the volume is demo/sample-0.nii.gz."

test: engine-test module-test ## Run all tests

engine-test: $(VENV)/.development ## Run the tests of the engine
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto Testing/engine Testing/fuzz VCMSlicer/vcm

module-test: $(VENV)/.module ## Run the tests of the Slicer module, without Slicer (see Testing/README.md)
	$(MODULE_RUN) -m pytest --numprocesses auto Testing/module

# A folder Base/Python/slicer of Slicer's sources, of any version.
SLICER_PYTHON ?=

module-test-slicer: $(VENV)/.module ## Run them with Slicer's own Python files: SLICER_PYTHON=folder
	@test -n "$(SLICER_PYTHON)" || { echo "Name Slicer's folder: make $@ SLICER_PYTHON=…/Base/Python/slicer"; exit 2; }
	SLICER_PYTHON="$(abspath $(SLICER_PYTHON))" $(MODULE_RUN) -B -m pytest --numprocesses auto Testing/module

module-bench: $(VENV)/.module ## Measure how long the panel keeps its user waiting
	$(MODULE_RUN) Testing/module/panelBenchmark.py

module-pictures: $(VENV)/.module ## Take the screenshots of docs/slicer.md anew from the running module
	$(MODULE_RUN) Testing/module/pictures.py

fuzz: $(VENV)/.development ## Try the program with hostile input from outside, for some minutes
	OMP_NUM_THREADS=1 $(BIN)/python Testing/fuzz --minutes 10

lint: $(VENV)/.development ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.development ## Measure the engine beside the released way
	$(BIN)/python tools/bench.py $(if $(shell command -v nvidia-smi),,--tiny)

# The label maps' folder (labels.json and labelmaps/), where trainings and their packs are kept, and the machine in words.
LABELMAPS ?=
WORK ?= train-work
HARDWARE ?= a CPU

define RECIPE
@test -n "$(LABELMAPS)" || { echo "Name the folder of the label maps: make $@ LABELMAPS=folder"; exit 2; }
$(BIN)/python tools/train_recipe.py training/recipes/$(1).toml \
    --labelmaps "$(LABELMAPS)" --work "$(WORK)" --hardware "$(HARDWARE)"
endef

train-default: $(VENV)/.development ## Train the packs that ship from label maps: LABELMAPS=folder
	$(call RECIPE,default)

train-meddiffusion: $(VENV)/.development ## Train the small model of three contrasts and its control: LABELMAPS=folder
	$(call RECIPE,meddiffusion-mini)

train-micro: $(VENV)/.development ## Train the tests' micro packs, minutes on one core: LABELMAPS=folder
	$(call RECIPE,micro)

kill-points: $(VENV)/.development ## Kill generate, batch, train, teach, import and export at many points and run each again
	OMP_NUM_THREADS=1 $(BIN)/python Testing/engine/faults/interruptions.py --points 50

release-tree: $(VENV)/.runtime ## Write the tree that is published, one commit of a new history: OUT=folder
	@test -n "$(OUT)" || { echo "Name the folder to write: make release-tree OUT=folder"; exit 2; }
	$(BIN)/python tools/release_tree.py $(OUT)

clean: ## Remove the environment and what the commands left
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	$(PIP) --editable ".[train,sign,test,reference,lint]"
	@touch $@

$(VENV)/.module: $(VENV)/.development
	$(PIP) --editable ".[slicer]"
	@touch $@
