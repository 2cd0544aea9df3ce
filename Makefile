# make demo       everything once: set-up, data, training, testing, pictures (CPU: minutes)
# make test       the test suite              make test-all   the long tests, too
# make lint       ruff                        make setup      only .venv
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
READY_TO_TEST := .venv/ready-to-test

.PHONY: setup demo test test-all lint clean

setup: $(READY)

# mmcv-full comes first: tools/mmcv_build says what its build needs.
$(READY): requirements.txt tools/mmcv_build/pkg_resources.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 14) or sys.exit("This is Python %d.%d; 3.11 to 3.14 were tried. Name one of them: make PYTHON=python3.13 ..." % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools
	PYTHONPATH="$(CURDIR)/tools/mmcv_build" $(BIN)/python -m pip install --no-build-isolation --no-deps -c requirements.txt mmcv-full
	$(BIN)/python -m pip install -r requirements.txt
	touch $(READY)

$(READY_TO_TEST): $(READY) tests/requirements.txt
	$(BIN)/python -m pip install -r requirements.txt -r tests/requirements.txt
	touch $(READY_TO_TEST)

demo: $(READY)
	$(BIN)/python -m demo.street_scenes

# Two processes of one thread each are faster than one of two.
test: $(READY_TO_TEST)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not long'

test-all: $(READY_TO_TEST)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY_TO_TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
