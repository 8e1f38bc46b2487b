# make sample   prompts to layers with the shipped model, into out/beach
# make test     lint, then every test, in WORKERS=2 processes
# make parity   the networks at Stable Diffusion 1.5's size against PyTorch: 10 GiB of memory, 5 GiB of disk, minutes
# make notebooks      every notebook run, its outputs written anew: a quarter of an hour
# make test-notebooks the same with few steps, nothing written: minutes
# make kills    a training run, and pictures being taken apart, killed 20 times each at random moments and exactly resumed: minutes
# make test-oldest     a core of the tests with the oldest releases that setup.cfg allows, in .venv-oldest
# make test-optimized  the same core as XLA compiles it for users; all other tests leave XLA's optimisations out
# make fuzz     100,000 damaged pictures, scenes, models, sentences and command lines: an hour or so
# make tpu      the paper's training and sampling steps compiled for TPU pods, without a TPU: an hour and more
# make test-tpu the small version of it, a test: two minutes
# make processes  a training of two processes, one of them killed: as on one machine, minutes
# make test-beam  what Apache Beam does, in .venv-beam: an extra of its own
# make lint     ruff alone: rules and format
#
# Each makes .venv for itself, and again when setup.cfg changes. Needs Python 3.11+, make and git.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    ?= out/beach
WORKERS ?= 2

CORE := tests/test_imports.py tests/test_layer_axis.py tests/diffusion/test_predict.py tests/diffusion/test_generate.py tests/data/test_loader.py \
    tests/weights/formats/test_orbax_folder.py tests/weights/formats/test_trained.py tests/export/test_psd.py tests/export/test_openraster.py \
    tests/train/test_loop.py::test_what_a_run_starts_from_is_still_its_owners_afterwards tests/test_wheel.py

.PHONY: sample test notebooks test-notebooks test-beam test-oldest test-optimized parity kills fuzz tpu test-tpu processes lint clean

sample: $(VENV)/.ready-sample
	$(BIN)/python -m sample generate --background "a sandy beach" --foreground "a pineapple" --foreground "a dog" \
	    --seed 0 --out $(OUT) --overwrite

test: lint
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test-oldest: .venv-oldest/.ready
	.venv-oldest/bin/python -m pytest $(CORE)

test-beam: .venv-beam/.ready
	.venv-beam/bin/python -m pytest tests/data/test_engine.py

test-optimized: $(VENV)/.ready-test
	DREAMLAYER_OPTIMIZED=1 $(BIN)/python -m pytest $(CORE)

parity: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m slow --log-cli-level=INFO tests/parity

notebooks: $(VENV)/.ready-test
	$(BIN)/python -m notebooks

test-notebooks: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m slow tests/notebooks

kills: $(VENV)/.ready-test
	KILLS=20 $(BIN)/python -m pytest --log-cli-level=INFO tests/train/test_kills.py
	KILLS=20 $(BIN)/python -m pytest --log-cli-level=INFO tests/data/peel/test_kills.py
	KILLS=200 $(BIN)/python -m pytest --log-cli-level=INFO tests/sample/test_kills.py

fuzz: $(VENV)/.ready-test
	FUZZ=100000 $(BIN)/python -m pytest --log-cli-level=INFO --numprocesses $(WORKERS) tests/fuzz

# Google's TPU compiler lies beside the environment, not in it: where JAX finds it, JAX looks for a TPU at every start.
WITH_TPU := JAX_PLATFORMS=cpu PYTHONPATH=$(VENV)/tpu

tpu: $(VENV)/.ready-tpu
	$(WITH_TPU) $(BIN)/python -m benchmarks.pod --out out/pod.jsonl

test-tpu: $(VENV)/.ready-tpu
	$(WITH_TPU) $(BIN)/python -m pytest tests/benchmarks/test_pod.py

processes: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m slow tests/train

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
	$(BIN)/python -m pip install --quiet --editable '.[studio]'
	touch $@

$(VENV)/.ready-test: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV), with what training and tests need (PyTorch and TensorFlow: a few minutes) …"
	$(BIN)/python -m pip install --quiet --editable '.[train,test,parity]'
	touch $@ $(VENV)/.ready-sample

.venv-oldest/.ready: setup.cfg tests/oldest.py
	@echo "installing the oldest releases into .venv-oldest …"
	$(PYTHON) -m venv --clear .venv-oldest
	$(PYTHON) tests/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet --constraint .venv-oldest/constraints.txt --editable '.[train,test]'
	touch $@

.venv-beam/.ready: setup.cfg
	$(PYTHON) -m venv --clear .venv-beam
	.venv-beam/bin/python -m pip install --quiet --editable '.[train,test,beam]'
	touch $@

$(VENV)/.ready-tpu: $(VENV)/.ready-test
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/tpu \
	    "$$($(BIN)/python -c 'from importlib.metadata import requires; print(next(r.split(";")[0] for r in requires("jax") if r.startswith("libtpu")))')"
	touch $@
