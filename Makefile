# Each habit is one command. Every target sets up what it needs in .venv; PYTHON chooses the interpreter (3.10 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
MODULE_RUN := VCM_MODULE_TESTS=required OMP_NUM_THREADS=1 QT_QPA_PLATFORM=offscreen $(BIN)/python

.PHONY: demo test engine-test module-test module-test-slicer module-bench module-pictures lint bench train-default \
    train-heads train-micro kill-points release-tree fuzz clean help

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

# The label maps' folder (labels.json and labelmaps/), and where trainings and their packs are kept.
LABELMAPS ?=
WORK ?= train-work
VCM := VCM_PACKS=$(WORK)/packs $(BIN)/vcm
DATA := "Images made from the training label maps of SynthSeg (Billot et al., Medical Image Analysis 2023, Apache-2.0)."
HARDWARE ?= a CPU
CONTROLS := ventricles anatomy semantics
EXPORT = $(VCM) train export --hardware "$(HARDWARE)" --data $(DATA) --licence Apache-2.0 --command "make $@ LABELMAPS=…"

TRAIN = $(VCM) train $(1) --cases $(WORK)/$(or $(3),cohort) --held-out $(WORK)/$(or $(4),unseen) --out $(WORK)/runs/$(2)
FRESH := $(WORK)/packs/fresh

train-default: train-heads $(WORK)/.cohort ## Train the networks of the packs that ship, from label maps: LABELMAPS=folder
	$(call TRAIN,denoiser,denoiser) --config training/denoiser.toml
	$(EXPORT) --run $(WORK)/runs/denoiser --out $(FRESH)/brainldm-mini
	$(foreach name,$(CONTROLS),$(call CONTROL,$(name)))
	@echo "The packs are in $(FRESH); copy them to VCMSlicer/vcm/packs/embedded to ship them."

# Autoencoder and segmenter for whole heads with lesions. The denoiser and the controls that ship are on another grid and
# another autoencoder, and are trained on heads of their own.
HEADS := whole-heads
train-heads: $(VENV)/.development $(WORK)/.heads ## Train autoencoder and segmenter on whole heads: LABELMAPS=folder
	$(call TRAIN,autoencoder,autoencoder,$(HEADS),$(HEADS)-unseen) --config training/autoencoder.toml
	$(EXPORT) --run $(WORK)/runs/autoencoder --out $(WORK)/packs/default-autoencoder
	$(call TRAIN,segmenter,segmenter,$(HEADS),$(HEADS)-unseen) --config training/segmenter.toml
	$(EXPORT) --run $(WORK)/runs/segmenter --out $(WORK)/packs/default-segmenter
	@echo "The packs are $(WORK)/packs/default-autoencoder and default-segmenter; they wait for a denoiser."

# How many of the cohort's cases each part learns from; a control that has a second part goes on in it.
CASES.anatomy := 2146
CASES.anatomy-second := 2146
CASES := 1169
SECOND = $(if $(wildcard training/$(1)-second.toml),$(1)-second)
LAST = $(WORK)/runs/$(or $(call SECOND,$(1)),$(1))
PART = $(call TRAIN,control,$(1)) --config training/$(1).toml --backbone $(FRESH)/brainldm-mini \
	    --first-cases $(or $(CASES.$(1)),$(CASES))

define CONTROL
$(call PART,$(1))
	$(if $(call SECOND,$(1)),$(call PART,$(call SECOND,$(1))) --start $(WORK)/runs/$(1))
	$(EXPORT) --run $(call LAST,$(1)) --out $(FRESH)/brainldm-mini-$(1)
	$(VCM) evaluate $(FRESH)/brainldm-mini-$(1) --backbone $(FRESH)/brainldm-mini --cases $(WORK)/unseen \
	    --out $(call LAST,$(1))/evaluated
	$(EXPORT) --run $(call LAST,$(1)) --out $(FRESH)/brainldm-mini-$(1) --figures $(call LAST,$(1))/evaluated/summary.md
	
endef

kill-points: $(VENV)/.development ## Kill generate, batch, train, teach, import and export at many points and run each again
	OMP_NUM_THREADS=1 $(BIN)/python Testing/engine/faults/interruptions.py --points 50

train-micro: $(VENV)/.development $(WORK)/.cohort ## Train the tests' micro packs, minutes on one core: LABELMAPS=folder
	$(call MICRO,autoencoder,autoencoder,micro-autoencoder)
	$(call MICRO,segmenter,segmenter,micro-segmenter)
	$(call MICRO,denoiser,denoiser,micro)
	$(call MICRO,control,ventricles,micro-ventricles)
	@echo "The packs are $(WORK)/packs/micro and micro-ventricles; the tests' copies lie in Testing/packs."

define MICRO
$(call TRAIN,$(1),micro-$(2)) --config training/micro/$(2).toml --first-cases 96 --threads 1 --device cpu
	$(EXPORT) --run $(WORK)/runs/micro-$(2) --out $(WORK)/packs/$(3)
endef

$(WORK)/.cohort: | $(VENV)/bin/python
	@test -n "$(LABELMAPS)" || { echo "Name the folder of the label maps: make train-default LABELMAPS=folder"; exit 2; }
	$(call MAKE_HEADS,1-16,$(CASES.anatomy),1,cohort) --grid brainldm-mini --lesions 0
	$(call MAKE_HEADS,17-18,40,1001,unseen) --grid brainldm-mini --lesions 0
	@touch $@

$(WORK)/.heads: | $(VENV)/bin/python
	@test -n "$(LABELMAPS)" || { echo "Name the folder of the label maps: make train-default LABELMAPS=folder"; exit 2; }
	$(call MAKE_HEADS,1-16,800,1,$(HEADS))
	$(call MAKE_HEADS,17-18,40,1001,$(HEADS)-unseen)
	$(VCM) cohort check $(WORK)/$(HEADS)
	@touch $@

MAKE_HEADS = $(VCM) cohort make --labelmaps $(LABELMAPS) --heads $(1) --count $(2) --seed $(3) --out $(WORK)/$(4)

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
