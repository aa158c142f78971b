# make book | test | test-quick | test-browser | test-oldest | lint | bench | measure | slides | cover | times
# make pretrained | clean
PROFILE ?= quick
ONLY ?=
TABLE ?=
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/ready
TOOL := PYTHONPATH=book $(PY) -m tools
export TF_CPP_MIN_LOG_LEVEL ?= 3

AXE := node_modules/axe-core/axe.min.js
OLDEST := .venv-oldest

.PHONY: book test test-quick test-browser test-oldest lint bench measure pretrained slides cover times clean

book: $(READY)
	$(TOOL).build --profile $(PROFILE) $(if $(ONLY),--only $(ONLY))

# what opens a browser or reads the built book runs in test-browser, after make book
test: $(READY)
	$(PY) -m pytest -n auto --dist worksteal -m "not browser and not built"

# without what starts kernels, clusters and kills
test-quick: $(READY)
	$(PY) -m pytest -n auto --dist worksteal -m "not browser and not built and not slow"

test-browser: $(READY) $(AXE)
	$(PY) -m pytest -m "browser or built"

# tests and chapters with the oldest series of every library that pyproject.toml allows, on 3.12
test-oldest: PYTHON = python3.12
test-oldest:
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(PYTHON) tests/oldest.py > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --requirement $(OLDEST)/oldest.txt --editable ".[book,dev]"
	$(OLDEST)/bin/python -m pytest
	for chapter in notebooks/*.ipynb; do \
	  $(OLDEST)/bin/python -m papermill --no-progress-bar --cwd notebooks $$chapter $(OLDEST)/chapter.ipynb || exit 1; \
	done

lint: $(READY)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/nbstripout --keep-id --verify notebooks/*.ipynb
	$(VENV)/bin/codespell -L carin README.md .github book/*.md book/api notebooks/*.ipynb book/tools tests xraylib
	$(PY) -m pytest --quiet tests/book/test_internal_links.py

# these two variables, where set, halve the speed of NumPy's own matrix product
bench: $(READY)
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE PYTHONPATH=book XRAYLIB_OFFLINE=1 $(PY) tests/benchmarks/run.py $(ONLY)

# a table of book/results that takes too long for a chapter: make measure TABLE=repeats PROFILE=real
measure: $(READY)
	$(TOOL).measure $(TABLE) --profile $(PROFILE)

# the weights that come with the package, on the real data: make pretrained ONLY=head
pretrained: $(READY)
	$(TOOL).pretrained $(if $(ONLY),--only $(ONLY))

# the chapters' figures as slides: make book first
slides: $(READY)
	$(TOOL).slides $(ONLY)

cover: $(READY)
	$(TOOL).cover

times: $(READY)
	$(TOOL).times

# the accessibility checker that the browser tests put into a page; without npm they skip it
$(AXE):
	npm install --silent --no-save --no-package-lock axe-core@4.14.1 || echo "npm failed: no axe-core"

clean:
	rm -rf $(OLDEST) node_modules book/_build book/notebooks book/results/quick book/results/smoke .pytest_cache .ruff_cache

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
