# make sample   prompts to layers with the shipped model, into out/beach
# make test     lint, then every test, in WORKERS=2 processes
# make parity   the networks at Stable Diffusion 1.5's size against PyTorch: 10 GiB of memory, 5 GiB of disk, minutes
# make kills    a training run killed 20 times at random moments, and each time exactly resumed: minutes
# make lint     ruff alone: rules and format
#
# Each makes .venv for itself, and again when setup.cfg changes. Needs Python 3.11+, make and git.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    ?= out/beach
WORKERS ?= 2

.PHONY: sample test parity kills lint clean

sample: $(VENV)/.ready-sample
	$(BIN)/python -m sample generate --background "a sandy beach" --foreground "a red apple" --foreground "a dog" \
	    --seed 0 --out $(OUT) --overwrite

test: lint
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

parity: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m slow --log-cli-level=INFO tests/parity

kills: $(VENV)/.ready-test
	KILLS=20 $(BIN)/python -m pytest --log-cli-level=INFO tests/train/test_kills.py

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf build dist out *.egg-info .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is %s; try make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready-sample: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) …"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.ready-test: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV), with what training and tests need (PyTorch and TensorFlow: a few minutes) …"
	$(BIN)/python -m pip install --quiet --editable '.[train,test]'
	touch $@ $(VENV)/.ready-sample
