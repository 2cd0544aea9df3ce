# make demo       everything once: set-up, data, training, testing, pictures (CPU: minutes)
# make test       the test suite              make test-all   the long tests, too
# make lint       ruff                        make setup      only .venv
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: setup demo test test-all lint clean

setup: $(READY)

# The constraint is for building mmcv-full alone; pip understands it since 25.3, hence the upgrade.
$(READY): requirements.txt tests/requirements.txt tools/build_constraint.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.3'
	PIP_BUILD_CONSTRAINT=tools/build_constraint.txt \
	    $(BIN)/python -m pip install -r requirements.txt -r tests/requirements.txt
	touch $(READY)

demo: $(READY)
	$(BIN)/python -m demo.street_scenes

# Two processes of one thread each are faster than one of two.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not long'

test-all: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
