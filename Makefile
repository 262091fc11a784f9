# Two commands for a fresh machine: `make demo` and `make test`. PYTHON is any Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin

.PHONY: demo test lint types wheel clean

demo: $(VENV)/.base
	$(BIN)/hgrt demo

test: $(VENV)/.test lint types
	$(BIN)/python -m pytest --numprocesses auto --dist loadscope

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy does not follow the editable install's folder mapping, so it is shown the package as it is installed.
types: $(VENV)/.test
	rm -rf build/types && mkdir -p build/types/hgrt
	ln -s $(CURDIR)/hgrt/* build/types/hgrt/
	ln -s $(CURDIR)/train build/types/hgrt/train
	ln -s $(CURDIR)/assets build/types/hgrt/assets
	cd build/types && MYPYPATH=. $(BIN)/mypy --config-file ../../pyproject.toml -p hgrt

wheel: $(VENV)/.test
	$(BIN)/python -m build --wheel

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --constraint constraints.txt
	touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --editable ".[train,test]" --constraint constraints.txt
	touch $@ $(VENV)/.base

clean:
	rm -rf $(VENV) build dist *.egg-info
