# make setup | demo | test | lint

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test lint

setup: $(READY)

demo: $(READY)
	$(BIN)/landmeta demo

# One thread a worker: two workers with as many threads as cores would only wait for each other.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# uv finds or fetches a Python that fits; without it, python3 has to be 3.11 to 3.13.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || \
	if command -v uv >/dev/null; then uv venv --seed --python '>=3.11,<3.14' $(VENV); \
	else python3 -m venv $(VENV); fi
	command -v uv >/dev/null || $(BIN)/python -m pip install --quiet uv
	PATH="$(CURDIR)/$(BIN):$$PATH" \
	uv pip install --python $(BIN)/python -c constraints.txt -e '.[dev]'
	touch $@
