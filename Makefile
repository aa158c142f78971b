# make book | test | test-browser | lint | bench | clean
PROFILE ?= quick
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/ready
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: book test test-browser lint bench clean

book: $(READY)
	$(PY) -m xraylib.book --profile $(PROFILE)

test: $(READY)
	$(PY) -m pytest

test-browser: $(READY)
	$(PY) -m pytest -m browser

lint: $(READY)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

# these two variables, where set, halve the speed of NumPy's own matrix product
bench: $(READY)
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(PY) tests/benchmarks/run.py $(ONLY)

clean:
	rm -rf book/_build book/notebooks book/results/quick .pytest_cache .ruff_cache

# The marker file is written last: an installation that was cut off is done again.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[book,dev]"
	@# opencv-python wants libGL, which a machine without a screen may lack; its twin does not
	$(PY) -c "import cv2" 2>/dev/null || { \
	  $(PY) -m pip uninstall --quiet --yes opencv-python && \
	  $(PY) -m pip install --quiet --constraint constraints.txt opencv-python-headless; }
	touch $@
