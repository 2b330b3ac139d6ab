PYTHON ?= python3
PY := .venv/bin/python

.PHONY: setup train test slow lint clean

train: setup  ## set up, then train LeNet-5 on the bundled digits (no download)
	$(PY) -m src.train experiment=digits

test: setup  ## set up, then run the tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not slow" -n 2 --dist loadfile

slow: setup  ## whole commands, real MNIST where it is found
	OMP_NUM_THREADS=1 $(PY) -m pytest -m slow -n 2 --dist loadfile

lint: setup
	$(PY) -m ruff check . && $(PY) -m ruff format --check .
	$(PY) -m mypy

setup: .venv/ready
.venv/ready: pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --editable ".[dev,tune,export,serve]"
	touch .venv/ready

clean:
	rm -rf .venv
